/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPPORT_DAEMON_H
#define TESTS_SUPPORT_DAEMON_H

/*
 * A toolringd of a test's own, over the fake backend, in a folder of its own; and what a test wants
 * to see of it from outside. Whatever goes wrong ends the test with a message, the daemon killed and
 * its folder removed: also when the test itself is killed.
 *
 * For tests that are one process with forked children (child_fork()), one daemon at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DAEMON_FLAGS_MAX 32

struct daemon {
	const char *program;
	const char *flags[DAEMON_FLAGS_MAX];
	size_t n_flags;
	char folder[64];
	char socket[96]; /* what tr_open() takes as its name */
	char log[96];    /* where its standard error goes */
	pid_t keeper;    /* 0: does not run */
	pid_t executor;  /* seen last */
};

/* The toolringd to test: argv[1], or else $TOOLRINGD. */
const char *daemon_program(int argc, char **argv);

/* Further flags, ended by NULL. Returns once clients are served. */
void daemon_start(struct daemon *d, const char *program, ...) __attribute__((sentinel));
/* The same once more at the same socket, after the keeper has ended. */
void daemon_start_again(struct daemon *d);

/* SIGTERM: it must end with exit code 0 and leave nothing behind. */
void daemon_stop(struct daemon *d);
/* It must end by itself with this exit code, and leave nothing behind. */
void daemon_ends(struct daemon *d, int code);
/* Kills the keeper with SIGKILL. Its executor is left to find out. */
void daemon_kill_keeper(struct daemon *d);

/* The executor's pid; waits for one, and for another than not. */
pid_t daemon_executor(struct daemon *d, pid_t not );
/* Kills the executor with SIGKILL. Returns the pid of the next one. */
pid_t daemon_kill_executor(struct daemon *d);

/* Does its log hold this text? */
bool daemon_said(const struct daemon *d, const char *text);
/* Names in /dev/shm that are this instance's. */
size_t daemon_n_shm(const struct daemon *d);
/* What those begin with. */
void daemon_shm_prefix(const struct daemon *d, char *ret_prefix, size_t n);

/* Waits until there is no such process; it may be a child of ours. */
void process_is_gone(pid_t pid);
/* Of any process. -1: we may not look. */
int64_t process_n_fds(pid_t pid);
int64_t process_private_bytes(pid_t pid);
/* Built with a sanitizer that has a shadow memory: sizes of memory say nothing then. */
bool process_is_sanitized(pid_t pid);

/* A child that does not outlive us; 0 in the child. */
pid_t child_fork(void);
/* Waits for it; it must end in seconds_max. Returns the status as waitpid does. */
int child_wait(pid_t pid, unsigned seconds_max);

/* Waits a moment between two looks at something; false once it has taken too long (60 s). */
struct patience {
	uint64_t until_ns;
	unsigned n_looks;
};
bool patience_look_again(struct patience *p);

uint64_t test_now_ns(void);
/* A number from the environment, or otherwise. */
unsigned long test_number(const char *variable, unsigned long otherwise);

/* xorshift64*: the same numbers from the same seed. */
struct dice {
	uint64_t state;
};
uint64_t dice_roll(struct dice *d);
uint64_t dice_below(struct dice *d, uint64_t n);
/* 0 to max, each order of magnitude as likely as the next. */
uint64_t dice_size(struct dice *d, uint64_t max);
void dice_fill(struct dice *d, void *data, size_t n);
/* From $TOOLRING_SEED or the clock; says which. */
struct dice dice_new(void);

/* Ends the process, and the test with it if this is a child. */
_Noreturn void check_failed(const char *file, int line, const char *what, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#define check(condition, ...)                                                                      \
	do {                                                                                       \
		if (!(condition))                                                                  \
			check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__);                 \
	} while (0)

#endif
