/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLOT_ZYGOTE_KERNEL_H
#define SLOT_ZYGOTE_KERNEL_H

/* System calls for toolring-zygote.so, which has no C library. They return 0 or more, or -errno. */

#include <stddef.h>
#include <stdint.h>

#include <asm/unistd.h>

#if defined(__x86_64__)
static inline long call6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
static inline long call6(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "toolring-zygote.so: this processor's system calls are not known here"
#endif

/* The compiler calls these by name even where nothing else is at hand. */
__attribute__((visibility("hidden"))) void *memcpy(void *to, const void *from, size_t n);
__attribute__((visibility("hidden"))) void *memset(void *to, int byte, size_t n);

static inline long call3(long number, long a, long b, long c)
{
	return call6(number, a, b, c, 0, 0, 0);
}

static inline _Noreturn void leave(int code)
{
	for (;;)
		call3(__NR_exit_group, code, 0, 0);
}

#endif
