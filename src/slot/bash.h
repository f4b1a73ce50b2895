/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLOT_BASH_H
#define SLOT_BASH_H

/*
 * What toolring-zygote.so knows of bash and of the kernel, without a header of either's C library.
 * What not every bash has is weak, and looked at before use.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <asm/unistd.h>
#include <linux/close_range.h>
#include <linux/errno.h>

#include "slot/zygote_kernel.h"

/* ---- What the kernel takes ---------------------------------------------------------------------- */

/* As the kernel has them on 64 bits; a C library's differ. */
struct kernel_iovec {
	void *base;
	size_t n;
};

struct kernel_msghdr {
	void *name;
	int32_t n_name;
	struct kernel_iovec *iov;
	size_t n_iov;
	void *control;
	size_t n_control;
	uint32_t flags;
};

struct kernel_cmsghdr {
	size_t n;
	int32_t level;
	int32_t type;
};

struct kernel_timeval {
	int64_t sec;
	int64_t usec;
};

#define KERNEL_SOL_SOCKET    1
#define KERNEL_SCM_RIGHTS    1
#define KERNEL_RLIMIT_NOFILE 7

/* ---- bash -------------------------------------------------------------------------------------- */

struct bash_word {
	char *word;
	int flags;
};

struct bash_word_list {
	struct bash_word_list *next;
	struct bash_word *word;
};

struct bash_builtin {
	const char *name;
	int (*function)(struct bash_word_list *);
	int flags;
	const char *const *long_doc;
	const char *short_doc;
	char *handle;
};

#define BASH_BUILTIN_ENABLED 1

/* parse_and_execute() */
#define BASH_SEVAL_NONINT    0x01
#define BASH_SEVAL_NOHIST    0x04
#define BASH_SEVAL_NOFREE    0x08
#define BASH_SEVAL_RESETLINE 0x10

#define WEAK __attribute__((weak))

extern int last_command_exit_value;
extern int num_shell_builtins;
extern struct bash_builtin *shell_builtins;
extern struct bash_builtin static_shell_builtins[];
extern char *this_command_name;
extern char *command_execution_string;
extern char *dollar_vars[10];
extern char **shell_environment;
extern int dollar_dollar_pid;
extern int64_t shell_start_time;
extern const char *const dist_version;

extern void *bind_variable(const char *name, const char *value, int flags);
extern int unbind_variable(const char *name);
extern int parse_and_execute(char *text, const char *from, int flags);
extern void exit_shell(int code) __attribute__((noreturn));
extern void set_ppid(void);
extern void top_level_cleanup(void);
extern void *xmalloc(size_t n);
extern int interactive;
extern int parse_and_execute_level;

extern struct kernel_timeval shellstart WEAK; /* from 5.1 on */
extern void seedrand(void) WEAK;              /* exported from 5.1 on */
extern void seedrand32(void) WEAK;            /* from 5.1 on */
extern void restore_token_state(int *state) WEAK;
extern int shell_pgrp WEAK; /* with job control */
extern int (*this_shell_builtin)(struct bash_word_list *) WEAK;
extern int (*last_shell_builtin)(struct bash_word_list *) WEAK;
extern char *the_printed_command_except_trap WEAK;

/* ---- Both halves' helpers ---------------------------------------------------------------------- */

static inline void close_from(unsigned first, unsigned last)
{
	uint64_t limit[2] = {1024, 0};

	if (call3(__NR_close_range, first, last, 0) != -ENOSYS)
		return;
	call6(__NR_prlimit64, 0, KERNEL_RLIMIT_NOFILE, 0, (long)limit, 0, 0);
	for (unsigned fd = first; fd <= last && fd < limit[0]; fd++)
		call3(__NR_close, fd, 0, 0);
}

static inline bool bash_before_5_1(void)
{
	const char *v = dist_version;

	return v[0] < '5' || (v[0] == '5' && v[1] == '.' && v[2] == '0');
}

/* Decimal, of one digit or more; -1 if it is not. */
static inline long number_of(const char *text)
{
	long number = 0;

	for (const char *at = text; *at; at++) {
		if (*at < '0' || *at > '9' || number > 65536)
			return -1;
		number = number * 10 + (*at - '0');
	}
	return *text ? number : -1;
}

#endif
