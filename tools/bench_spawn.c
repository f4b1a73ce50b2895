/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_spawn.h"
#include "cli.h"

static int wait_success(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status == 0 ? 0 : -EPROTO;
}

int bench_spawn(void *data)
{
	const struct bench_words *words = data;
	pid_t pid;
	int r = posix_spawn(&pid, words->words[0], NULL, NULL,
			    (char *const *)(uintptr_t)words->words, environ);

	return r ? -r : wait_success(pid);
}

static void read_to_end(int fd, struct bench_spawn_read *s)
{
	char buffer[65536];
	ssize_t n;

	s->n_output = 0;
	do {
		size_t n_room = s->output ? s->n_output_max - s->n_output : 0;

		n = read(fd, buffer, sizeof(buffer));
		if (n > 0 && n_room > 0) {
			size_t n_kept = (size_t)n < n_room ? (size_t)n : n_room;

			memcpy(s->output + s->n_output, buffer, n_kept);
			s->n_output += n_kept;
		}
	} while (n > 0 || (n < 0 && errno == EINTR));
}

int bench_spawn_read(void *data)
{
	struct bench_spawn_read *s = data;
	posix_spawn_file_actions_t actions;
	int pipe[2];
	pid_t pid;
	int r;

	if (pipe2(pipe, O_CLOEXEC) < 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	r = posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
	if (r == 0 && s->cwd)
		r = posix_spawn_file_actions_addchdir_np(&actions, s->cwd);
	if (r == 0)
		r = posix_spawn(&pid, s->words.words[0], &actions, NULL,
				(char *const *)(uintptr_t)s->words.words, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(pipe[1]);
	if (r == 0)
		read_to_end(pipe[0], s);
	close(pipe[0]);
	return r ? -r : wait_success(pid);
}

static int leave(void *data)
{
	(void)data;
	_exit(0);
}

/*
 * The child shares our memory until it is gone (as posix_spawn does it), so that not the copying of
 * this program is measured, only the namespaces.
 */
int bench_bare_namespaces(void *data)
{
	alignas(16) static char stack[16384];
	pid_t pid = clone(leave, stack + sizeof(stack),
			  CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
				  CLONE_NEWNET | CLONE_VM | CLONE_VFORK | SIGCHLD,
			  data);

	return pid < 0 ? -errno : wait_success(pid);
}

void bench_words_add(struct bench_words *words, const char *const *more)
{
	for (size_t i = 0; more[i] && words->n + 1 < BENCH_N_WORDS; i++)
		words->words[words->n++] = more[i];
	words->words[words->n] = NULL;
}

bool bench_find_program(const char *name, char *ret_path, size_t n)
{
	const char *at = getenv("PATH");

	while (at && *at) {
		size_t length = strcspn(at, ":");

		snprintf(ret_path, n, "%.*s/%s", (int)length, at, name);
		if (access(ret_path, X_OK) == 0)
			return true;
		at += length + (at[length] == ':');
	}
	return false;
}

/* A folder of the host's root that may be a link into /usr, as it is here. */
static void add_folder(struct bench_words *words, const char *path, char target[64])
{
	ssize_t n = readlink(path, target, 63);
	struct stat st;

	if (n > 0) {
		target[n] = 0;
		bench_words_add(words, (const char *[]){"--symlink", target, path, NULL});
	} else if (stat(path, &st) == 0) {
		bench_words_add(words, (const char *[]){"--ro-bind", path, path, NULL});
	}
}

bool bench_bwrap_words(struct bench_words *ret_words)
{
	static const char *const folders[] = {"/bin", "/sbin", "/lib", "/lib32", "/lib64"};
	static char targets[N_ELEMENTS(folders)][64];
	static char path[4096];
	struct bench_words try;
	struct bench_words words = {0};

	if (!bench_find_program("bwrap", path, sizeof(path))) {
		cli_error("bubblewrap is not installed (bwrap): nothing to compare with");
		return false;
	}
	bench_words_add(&words, (const char *[]){path, "--unshare-user", "--unshare-pid",
						 "--unshare-ipc", "--unshare-uts", "--unshare-net",
						 "--ro-bind", "/usr", "/usr", NULL});
	for (size_t i = 0; i < N_ELEMENTS(folders); i++)
		add_folder(&words, folders[i], targets[i]);
	bench_words_add(&words, (const char *[]){"--ro-bind", "/etc", "/etc", "--proc", "/proc",
						 "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs",
						 "/workspace", "--chdir", "/workspace", NULL});
	try = words;
	bench_words_add(&try, (const char *[]){"true", NULL});
	if (bench_spawn(&try) < 0) {
		cli_error("bubblewrap does not work here (bwrap): nothing to compare with");
		return false;
	}
	*ret_words = words;
	return true;
}
