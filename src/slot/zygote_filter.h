/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLOT_ZYGOTE_FILTER_H
#define SLOT_ZYGOTE_FILTER_H

/*
 * What a zygote's child adds to the guest's filter: guests must not make children of the slot's init,
 * as zygotes do, whom the guest's filter has to let pass. System calls of other architectures are
 * that filter's to deny. Needs no C library.
 */

#include <stddef.h>
#include <stdint.h>

#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/errno.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#define X32_BIT  UINT32_C(0x40000000)
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#define X32_BIT  UINT32_C(0)
#else
#error "the zygotes' filter: this processor's number is not known here"
#endif

static const struct sock_filter zygote_filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 0, 6),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~X32_BIT),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone, 0, 3),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_PARENT, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

static inline struct sock_fprog zygote_filter_program(void)
{
	return (struct sock_fprog){sizeof(zygote_filter) / sizeof(zygote_filter[0]),
				   (struct sock_filter *)(uintptr_t)zygote_filter};
}

#endif
