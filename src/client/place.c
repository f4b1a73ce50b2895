/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Anybody may make a directory in /tmp: ours must be ours, or the executor behind it may be anyone. */
static int directory_check(const char *directory, char *message, size_t n_message)
{
	struct stat st;

	if (lstat(directory, &st) < 0)
		return 0; /* connecting will say that it is not there */
	if (S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022))
		return 0;
	snprintf(message, n_message, "%s is not a directory that only we can write to", directory);
	return -EACCES;
}

int client_place(const char *name, char ret_path[CLIENT_PATH_MAX], char *message, size_t n_message)
{
	char directory[CLIENT_PATH_MAX];
	const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
	bool shared = false;
	int n;

	if (!name)
		name = secure_getenv("TOOLRING_NAME");
	if (!name)
		name = "default";
	if (!*name) {
		snprintf(message, n_message, "the instance's name is empty");
		return -EINVAL;
	}
	if (strchr(name, '/')) {
		n = snprintf(ret_path, CLIENT_PATH_MAX, "%s", name);
	} else {
		if (runtime && *runtime) {
			n = snprintf(directory, sizeof(directory), "%s/toolring", runtime);
		} else if (geteuid() == 0) {
			n = snprintf(directory, sizeof(directory), "/run/toolring");
		} else {
			n = snprintf(directory, sizeof(directory), "/tmp/toolring-%u", geteuid());
			shared = true;
		}
		if (n >= 0 && (size_t)n < sizeof(directory))
			n = snprintf(ret_path, CLIENT_PATH_MAX, "%.*s/%s.sock", n, directory, name);
	}
	if (n < 0 || n >= CLIENT_PATH_MAX) {
		snprintf(message, n_message, "the path of socket \"%.64s\" is longer than %d bytes",
			 name, CLIENT_PATH_MAX - 1);
		return -ENAMETOOLONG;
	}
	return shared ? directory_check(directory, message, n_message) : 0;
}
