/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The screen from the init's side: its start and what it is handed (screen.h). What it says is taken
 * for hostile: it has read what a guest wrote. terminal_run.c has the calls.
 */
#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "slot/slot.h"
#include "slot/zygote.h"

/* So long may it keep us waiting, where nothing that was asked for can take long. */
#define PATIENCE_NS NS_PER_S
/* Of what a command wrote; of more than that the end is shown. */
#define FEED_BYTES_MAX (1u << 20)

static struct zygote *screen_of(struct slot *s)
{
	return &s->shell_room.zygotes[ZYGOTE_SCREEN];
}

void screen_end(struct slot *s)
{
	zygote_end(screen_of(s));
	s->screen = (struct screen_link){.serial = s->screen.serial};
}

int screen_start(struct slot *s, const char **ret_step)
{
	if (screen_of(s)->pid)
		return 0;
	*ret_step = "the terminal's screen";
	screen_end(s);
	return zygote_start(s, &s->shell_room, ZYGOTE_SCREEN, ret_step);
}

/* false: the time is over. */
static bool wait_for(int fd, short events, uint64_t until)
{
	struct pollfd fds = {.fd = fd, .events = events};
	uint64_t now = now_ns();
	struct timespec timeout = ns_to_timespec(until > now ? until - now : 0);

	/* A child's end interrupts it. */
	return ppoll(&fds, 1, &timeout, NULL) != 0 || now < until;
}

int screen_send(struct slot *s, enum screen_kind kind, uint64_t serial, struct span text)
{
	struct screen_message head = {.magic = SCREEN_MAGIC, .kind = kind, .serial = serial};
	struct iovec io[] = {
		{.iov_base = &head, .iov_len = sizeof(head)},
		{.iov_base = (void *)text.data, .iov_len = text.n},
	};
	struct msghdr m = {.msg_iov = io, .msg_iovlen = 2};
	uint64_t until = now_ns() + PATIENCE_NS;

	if (!screen_of(s)->pid)
		return -ESRCH;
	while (sendmsg(screen_of(s)->socket, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		int r = -errno;

		if (r == -EAGAIN && !wait_for(screen_of(s)->socket, POLLOUT, until))
			r = -ETIMEDOUT;
		if (r != -EAGAIN && r != -EINTR) {
			screen_end(s);
			return r;
		}
	}
	return 0;
}

int screen_hear(struct slot *s, struct screen_message *ret, struct span *ret_text)
{
	static _Alignas(8) uint8_t bytes[SCREEN_MESSAGE_MAX];
	ssize_t n = -1;

	errno = EPIPE;
	if (screen_of(s)->pid)
		n = recv(screen_of(s)->socket, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < (ssize_t)sizeof(*ret) || n > (ssize_t)sizeof(bytes))
		return -EPIPE;
	memcpy(ret, bytes, sizeof(*ret));
	if (ret->magic != SCREEN_MAGIC)
		return -EBADMSG;
	*ret_text = span_of(bytes + sizeof(*ret), (size_t)n - sizeof(*ret));
	return 1;
}

int screen_socket(const struct slot *s)
{
	const struct zygote *z = &s->shell_room.zygotes[ZYGOTE_SCREEN];

	return z->pid ? z->socket : -1;
}

int screen_attach(struct slot *s)
{
	const struct screen_message m = {.magic = SCREEN_MAGIC, .kind = SCREEN_ATTACH};
	int r;

	if (s->screen.has_master) {
		r = screen_send(s, SCREEN_ATTACH, 0, span_of(NULL, 0));
	} else {
		ssize_t n = -ESRCH;

		if (screen_of(s)->pid)
			n = fdpass_send(screen_of(s)->socket, &m, sizeof(m), &s->shell.master, 1,
					MSG_DONTWAIT);
		r = n == sizeof(m) ? 0 : n < 0 ? (int)n : -EPIPE;
	}
	if (r < 0) {
		screen_end(s);
		return r;
	}
	s->screen.has_master = s->screen.is_attached = true;
	return 0;
}

int screen_detach(struct slot *s)
{
	uint64_t until = now_ns() + PATIENCE_NS, serial = ++s->screen.serial;
	struct screen_message m;
	struct span text;
	int r;

	s->screen.is_attached = false;
	r = screen_send(s, SCREEN_DETACH, serial, span_of(NULL, 0));
	if (r < 0)
		return r;
	while ((r = screen_hear(s, &m, &text)) == 0)
		if (!wait_for(screen_socket(s), POLLIN, until))
			break;
	if (r == 1 && m.kind == SCREEN_DETACHED && m.serial == serial)
		return 0;
	screen_end(s);
	return r < 0 ? r : r == 0 ? -ETIMEDOUT : -EBADMSG;
}

void screen_feed(struct slot *s, struct span bytes)
{
	if (!screen_of(s)->pid)
		return;
	if (bytes.n > FEED_BYTES_MAX)
		bytes = span_of(bytes.data + bytes.n - FEED_BYTES_MAX, FEED_BYTES_MAX);
	while (bytes.n) {
		size_t n = SCREEN_MESSAGE_MAX - sizeof(struct screen_message);

		n = bytes.n < n ? bytes.n : n;
		if (screen_send(s, SCREEN_FEED, 0, span_of(bytes.data, n)) < 0)
			return;
		bytes = span_of(bytes.data + n, bytes.n - n);
	}
}
