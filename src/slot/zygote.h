/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLOT_ZYGOTE_H
#define SLOT_ZYGOTE_H

/*
 * Between a slot's init and the zygotes of its rooms. A zygote is a process that has everything
 * behind it (namespaces, ids, Landlock, seccomp, and, if it is a shell, that shell's start) and forks
 * on demand. There are two kinds: bash with toolring-zygote.so loaded, and toolring-slot itself, whose
 * children exec.
 *
 * The zygote holds one SEQPACKET socket, ZYGOTE_FD. On it:
 *   zygote -> init   one byte ZYGOTE_READY, once
 *   init -> zygote   struct zygote_fork with ZYGOTE_N_FDS descriptors
 *   zygote -> init   int32_t: the child's pid as the zygote sees it, or -errno
 * The child is the init's child (CLONE_PARENT) in the room's pid namespace. It takes the descriptors
 * as its 0, 1, 2, closes everything else but the command's socket, and waits on that:
 *   init -> child    struct zygote_command, then n_bytes of text, on a SOCK_STREAM socket
 * A hang-up before all of it has come ends the child silently (exit code 0). So a child may be made
 * long before it is needed. Then it runs the command as `bash -c TEXT` does (bash), or execs
 * (toolring-slot).
 *
 * A hang-up of ZYGOTE_FD ends the zygote.
 */

#include <stdint.h>

#define ZYGOTE_FD    3
#define ZYGOTE_READY 'R'
#define ZYGOTE_MAGIC UINT32_C(0x6f67797a)
/* With n_args: it is the plan's shell that is run, by its path; argv[0] is only what it is called. */
#define ZYGOTE_SHELL_ARGS (UINT32_C(1) << 31)
/* In n_args' place: no program but the stateful shell (pty.h); the text is its struct winsize. */
#define ZYGOTE_PTY (UINT32_C(1) << 30)
/* The same of a job (job.c): the text is its struct slot_request, and the path; with it comes what it
 * is to write to. */
#define ZYGOTE_JOB (UINT32_C(1) << 29)

enum {
	ZYGOTE_STDIN,
	ZYGOTE_STDOUT,
	ZYGOTE_STDERR,
	ZYGOTE_COMMAND, /* the child's end of its command's socket */
	ZYGOTE_N_FDS
};

struct zygote_fork {
	uint32_t magic;
	uint32_t reserved;
};

struct zygote_command {
	uint32_t magic;
	uint32_t n_args; /* exec: strings of argv, in front, each ended by NUL; ZYGOTE_SHELL_ARGS */
	uint32_t n_env;  /* exec: NAME=VALUE after them: added to the environment */
	uint32_t n_cwd;  /* exec: bytes of the directory with its NUL, last; 0: /workspace */
	uint64_t
		n_bytes; /* of text behind this struct, without any NUL that is not counted above */
};

/* An exec'ing child writes this to its /proc/self/oom_score_adj, where it has one. */
#define ZYGOTE_OOM_SCORE "500"

/* What an exec'ing child leaves with when it cannot; the command's socket carries its errno first. */
#define ZYGOTE_EXIT_CANNOT 127

#endif
