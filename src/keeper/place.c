/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

#define BACKLOG    1024
#define END_MS_MAX 10000 /* an executor whose keeper is gone needs milliseconds */

/* There is room for path in ret_directory. */
static void directory_of(const char *path, char *ret_directory)
{
	char *slash;

	strcpy(ret_directory, path);
	slash = strrchr(ret_directory, '/');
	if (slash)
		*(slash == ret_directory ? slash + 1 : slash) = '\0';
	else
		strcpy(ret_directory, ".");
}

static int make_directory(const char *directory, bool is_open, char *error, size_t n_error)
{
	mode_t mode = is_open || geteuid() == 0 ? 0755 : 0700;
	struct stat st;

	/* Whatever the umask: who is admitted must be able to get there. */
	if (mkdir(directory, mode) == 0)
		chmod(directory, mode);
	else if (errno != EEXIST) {
		snprintf(error, n_error, "cannot make %s: %s", directory, strerror(errno));
		return -errno;
	}
	/* In /tmp anybody could have made it before us. */
	if (lstat(directory, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
	    (st.st_mode & 022)) {
		snprintf(
			error, n_error,
			"%s is not a directory of ours that only we can write to: remove it, or choose "
			"another place with --socket",
			directory);
		return -EPERM;
	}
	return 0;
}

/*
 * The socket's peer is the keeper, who called listen(). If that was killed, its executor listens a
 * moment longer, and its end is our hang-up. 1: it has ended; 0: nobody is ending.
 */
static int wait_for_end(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};
	struct ucred peer;
	socklen_t n = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0 || peer.pid <= 0 ||
	    kill(peer.pid, 0) == 0 || errno != ESRCH)
		return 0;
	return poll(&p, 1, END_MS_MAX) == 1;
}

static bool is_alive(const struct sockaddr_un *address)
{
	int ended = 1;

	while (ended) {
		_cleanup_(cleanup_close) int fd =
			socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (fd < 0)
			return false;
		/* Refused: nobody listens. Anything else, a full backlog for one, is somebody. */
		if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
			return errno != ECONNREFUSED && errno != ENOENT;
		ended = wait_for_end(fd);
	}
	return true;
}

static int bind_socket(const struct sockaddr_un *address, bool is_open, char *error, size_t n_error)
{
	_cleanup_(cleanup_close) int fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const char *path = address->sun_path;
	struct stat st;
	mode_t mask;
	int r;

	if (fd < 0)
		return -errno;
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
		snprintf(error, n_error, "%s exists and is no socket", path);
		return -EEXIST;
	}
	if (is_alive(address)) {
		snprintf(error, n_error, "a toolringd is running at %s already", path);
		return -EADDRINUSE;
	}
	unlink(path);
	mask = umask(is_open ? 0111 : 0177);
	r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
	umask(mask);
	if (r == 0 && listen(fd, BACKLOG) < 0)
		r = -errno;
	if (r < 0) {
		snprintf(error, n_error, "cannot listen at %s: %s", path, strerror(-r));
		return r;
	}
	return fd_steal(&fd);
}

int place_listen(const char *path, bool own_directory, bool is_open, char *error, size_t n_error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_(cleanup_close) int lock = -1;
	char directory[sizeof(address.sun_path)];
	int r;

	if (strlen(path) >= sizeof(address.sun_path)) {
		snprintf(error, n_error, "the socket's path is too long: %s", path);
		return -ENAMETOOLONG;
	}
	strcpy(address.sun_path, path);
	directory_of(path, directory);
	if (own_directory) {
		r = make_directory(directory, is_open, error, n_error);
		if (r < 0)
			return r;
	}
	/* Locked while we look and bind, so that of two starts at a time one finds the other. */
	lock = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX) < 0) {
		snprintf(error, n_error, "cannot open %s: %s", directory, strerror(errno));
		return -errno;
	}
	return bind_socket(&address, is_open, error, n_error);
}

void place_remove_directory(const char *path)
{
	char directory[sizeof(((struct sockaddr_un *)0)->sun_path)];

	if (strlen(path) >= sizeof(directory))
		return;
	directory_of(path, directory);
	rmdir(directory);
}

void place_sweep(const char *shm_prefix)
{
	DIR *d = opendir("/dev/shm");
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)))
		if (strncmp(e->d_name, shm_prefix, strlen(shm_prefix)) == 0)
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
}
