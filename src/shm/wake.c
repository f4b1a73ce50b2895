/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/wake.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <toolring/abi.h>

#include "base/clock.h"

#define SPIN_NS_MIN  2000
#define SPIN_RETRIES 16

int wake_wait(uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
	struct timespec t = ns_to_timespec(timeout_ns);

	if (syscall(SYS_futex, word, FUTEX_WAIT, value, &t, NULL, 0) == 0 || errno == EAGAIN)
		return 0;
	return -errno;
}

int wake_send(uint32_t how, uint32_t *word, int socket)
{
	ssize_t r;

	switch (how) {
	case TR_WAIT_FUTEX:
		syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
		return 1;
	case TR_WAIT_SOCKET:
		/* EAGAIN: unread bytes are there, which wake as well. A hang-up shows elsewhere. */
		r = send(socket, "w", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		(void)r;
		return 1;
	default:
		/* Awake, or a number the other side made up: it harms only itself. */
		return 0;
	}
}

void spin_init(struct spin *s, uint32_t ns_max)
{
	*s = (struct spin){.ns_max = ns_max, .ns = ns_max};
}

uint32_t spin_begin(struct spin *s)
{
	if (s->ns || !s->ns_max)
		return s->ns;
	if (++s->n_idle < SPIN_RETRIES)
		return 0;
	s->n_idle = 0;
	return s->ns_max;
}

void spin_end(struct spin *s, uint32_t spun_ns, int rewarded)
{
	if (!spun_ns && !rewarded)
		return;
	if (rewarded) {
		s->ns = s->ns && s->ns <= s->ns_max / 2 ? s->ns * 2 : s->ns_max;
	} else {
		s->ns /= 2;
		if (s->ns < SPIN_NS_MIN)
			s->ns = 0;
	}
}
