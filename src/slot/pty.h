/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLOT_PTY_H
#define SLOT_PTY_H

#include <sys/ioctl.h>

struct plan;

/* What the child sends on its command's socket with one byte. */
enum {
	PTY_MASTER,
	PTY_SLAVE,
	PTY_N_FDS
};

/*
 * In a child of the plain zygote, which leads a session: makes a pseudo-terminal of that size, sends it
 * (or an int32_t, -errno) to command, and becomes the shell. Its standard input is the shell's socket;
 * object is what bash is to load.
 */
_Noreturn void pty_main(const struct plan *p, int command, const struct winsize *size, int object);

#endif
