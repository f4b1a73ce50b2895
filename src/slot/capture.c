/* SPDX-License-Identifier: Apache-2.0 */
/* What comes out of a stream: kept up to a cap, and past it read and dropped, so that no writer ever
 * waits for us. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "slot/slot.h"

#define READ_BYTES 65536
/* From so many bytes on a stream gets a larger pipe. */
#define LARGE_BYTES      (256 << 10)
#define LARGE_PIPE_BYTES (1 << 20)
/* Four bytes are enough for any character. */
#define BYTES_PER_CHARACTER 4

/*
 * How many more bytes are worth keeping. Of text so many characters are wanted, and one more, which
 * shows that it goes on: each is at least a byte, and each byte that continues none is one.
 */
static size_t capture_room(const struct capture *c)
{
	uint64_t room = c->n_max - c->bytes.n;

	if (c->n_characters_max && c->n_characters_max + 1 - c->n_characters < room)
		room = c->n_characters_max + 1 - c->n_characters;
	return room < READ_BYTES ? (size_t)room : READ_BYTES;
}

static void capture_count(struct capture *c, size_t n)
{
	const uint8_t *new = c->bytes.data + c->bytes.n;

	for (size_t i = 0; c->n_characters_max && i < n; i++)
		c->n_characters += (new[i] & 0xc0) != 0x80;
	c->bytes.n += n;
}

/* Reads what there is, up to about n_turn_max bytes. Closes at the end. */
void capture_read(struct slot *s, struct capture *c, int *fd, size_t n_turn_max)
{
	static uint8_t scratch[READ_BYTES]; /* not every kernel splices from a terminal */
	size_t n_turn = 0;

	while (*fd >= 0 && n_turn < n_turn_max) {
		size_t want = capture_room(c);
		bool keeps = want && buf_reserve(&c->bytes, want) == 0;
		ssize_t n;

		if (keeps)
			n = read(*fd, c->bytes.data + c->bytes.n, want);
		else if (*fd == s->shell.master)
			n = read(*fd, scratch, sizeof(scratch));
		else
			n = splice(*fd, NULL, s->null, NULL, CAPTURE_TURN_BYTES, SPLICE_F_NONBLOCK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			fd_close(fd);
			return;
		}
		if (keeps)
			capture_count(c, (size_t)n);
		c->n_total += (uint64_t)n;
		n_turn += (size_t)n;
		/* Who writes a lot is woken for a lot. */
		if (c->n_total >= LARGE_BYTES && !c->is_large) {
			c->is_large = true;
			fcntl(*fd, F_SETPIPE_SZ, LARGE_PIPE_BYTES);
		}
	}
}

/*
 * What is in the pipe now, and no more: who is kept, or was handed the pipe by somebody, may go on
 * writing, or hold it open.
 */
void capture_rest(struct slot *s, struct capture *c, int *fd)
{
	int n = 0;

	if (*fd >= 0 && ioctl(*fd, FIONREAD, &n) == 0 && n > 0)
		capture_read(s, c, fd, (size_t)n);
}

void capture_begin(struct capture *c, uint64_t n_max, bool is_text)
{
	uint64_t n_bytes = is_text ? n_max * BYTES_PER_CHARACTER : n_max;

	buf_clear(&c->bytes);
	c->n_total = 0;
	c->n_characters = 0;
	c->is_large = false;
	c->n_characters_max = is_text ? n_max : 0;
	c->n_max = n_bytes < CAPTURE_MAX - READ_BYTES ? n_bytes : CAPTURE_MAX - READ_BYTES;
}
