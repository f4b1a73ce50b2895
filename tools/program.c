/* SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static int own_directory(char *ret_path, size_t n)
{
	ssize_t length = readlink("/proc/self/exe", ret_path, n - 1);
	char *slash;

	if (length < 0)
		return -errno;
	ret_path[length] = 0;
	slash = strrchr(ret_path, '/');
	if (slash)
		*slash = 0;
	return 0;
}

int program_find_beside(const char *const *places, size_t n_places, char *ret_path, size_t n)
{
	char directory[3072];

	if (own_directory(directory, sizeof(directory)) < 0)
		return -ENOENT;
	for (size_t i = 0; i < n_places; i++) {
		if (places[i][0] == '/')
			snprintf(ret_path, n, "%s", places[i]);
		else
			snprintf(ret_path, n, "%s/%s", directory, places[i]);
		if (access(ret_path, R_OK) == 0)
			return 0;
	}
	return -ENOENT;
}

void program_find_daemon(const char *given, char *ret_path, size_t n)
{
	/* Installed side by side; or in the build tree. */
	static const char *const places[] = {"toolringd", "../src/toolringd"};
	const char *environment = getenv("TOOLRINGD");

	if (!given && environment && *environment)
		given = environment;
	if (given) {
		snprintf(ret_path, n, "%s", given);
		return;
	}
	if (program_find_beside(places, N_ELEMENTS(places), ret_path, n) < 0)
		snprintf(ret_path, n, "toolringd");
}
