/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/slot/content.h"
#include "base/write.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "tool/slot/text.h"

int content_load(int fd, size_t n, struct buf *out)
{
	size_t end = out->n + n;
	int r = buf_reserve(out, n);

	if (r < 0)
		return r;
	while (out->n < end) {
		ssize_t n_here = read(fd, out->data + out->n, end - out->n);

		if (n_here < 0 && errno == EINTR)
			continue;
		if (n_here < 0)
			return -errno;
		if (n_here == 0)
			break;
		out->n += (size_t)n_here;
	}
	return 0;
}

int content_make_text(struct buf *out, size_t from)
{
	size_t n = out->n - from, n_text;
	int r;

	if (utf8_valid(span_of(out->data + from, n)))
		return 0;
	/* The room first: what is read from must not move. */
	r = buf_reserve(out, TEXT_BYTES_MAX(n));
	if (r < 0)
		return r;
	r = text_decode(out, span_of(out->data + from, n));
	assert(r == 0);
	n_text = out->n - from - n;
	memmove(out->data + from, out->data + from + n, n_text);
	out->n = from + n_text;
	return 0;
}

static int reserve_space(int fd, size_t n)
{
	int r;

	if (n == 0)
		return 0;
	do {
		r = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)n);
	} while (r < 0 && errno == EINTR);
	return r < 0 && errno != EOPNOTSUPP && errno != ENOSYS ? -errno : 0;
}

int content_store(int fd, const struct stat *st, struct span content)
{
	int r = reserve_space(fd, content.n);

	if (r == 0)
		r = write_all(fd, content);
	if (r < 0)
		return r;
	if ((uint64_t)st->st_size > content.n && ftruncate(fd, (off_t)content.n) < 0)
		return -errno;
	return 0;
}
