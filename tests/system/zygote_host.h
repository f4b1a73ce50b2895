/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SYSTEM_ZYGOTE_HOST_H
#define TESTS_SYSTEM_ZYGOTE_HOST_H

/* Two zygotes and the room their children live in: see zygote_host.c. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "slot/zygote.h"

#define HOST_GUEST 1000 /* id of what runs in the room */

enum host_side {
	HOST_ZYGOTE, /* bash, which forks */
	HOST_EXEC,   /* `bash -c`, started by exec */
	HOST_N_SIDES
};

struct host {
	bool is_root;
	pid_t room;
	int room_control;
	pid_t zygote_pid[HOST_N_SIDES];
	int zygote[HOST_N_SIDES];
};

extern const char *const host_env[];

_Noreturn void host_die(const char *what);

/* Both zygotes run when it returns; exits with 77 where namespaces cannot be had. */
void host_start(struct host *h, const char *object, const char *bash);
void host_stop(struct host *h);
void host_start_zygote(struct host *h, enum host_side side);

/* 'C': kill what runs, make the directory new; 'P': process ids start again. */
void host_room(struct host *h, char op);

/* The child's pid, or -errno. */
int host_fork(struct host *h, enum host_side side, const int fds[ZYGOTE_N_FDS]);
bool host_send_command(int socket, const char *text, size_t n);

/* As toolring-zygote.so's children have it. */
void host_deny_clone_parent(void);

#endif
