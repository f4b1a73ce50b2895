/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/slot/artifact.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/*
 * OpenSSL would have its EVP interface used, which looks algorithms up by name and brings megabytes
 * of them into a static program. These functions are the code behind it, and stay.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include "base/cleanup.h"
#include "tool/slot/artifact_say.h"
#include "tool/slot/base64.h"
#include "tool/slot/content.h"

#define N_PROBE 4096
#define N_PIECE 65536 /* at a time, of what turns out longer than it said */

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * Reads what the file says it has in one go. There may be more: it grows, or is of /proc, whose files
 * say nothing. How that is found out takes no room in out for the many that are as they say.
 */
static int load(int fd, uint64_t size, uint64_t n_max, struct buf *out)
{
	size_t from = out->n;
	uint8_t probe[N_PROBE];
	ssize_t n;
	int r = content_load(fd, (size_t)min(size, n_max), out);

	while (r == 0 && out->n - from < n_max) {
		n = read(fd, probe, (size_t)min(sizeof(probe), n_max - (out->n - from)));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		r = buf_append(out, probe, (size_t)n);
		if (r == 0 && out->n - from < n_max)
			r = content_load(fd, (size_t)min(N_PIECE, n_max - (out->n - from)), out);
	}
	return r;
}

/* One of /proc says nothing of what was cut off. */
static bool has_more(int fd)
{
	uint8_t byte;
	ssize_t n;

	do
		n = read(fd, &byte, sizeof(byte));
	while (n < 0 && errno == EINTR);
	return n > 0;
}

static void hash(struct span content, uint8_t ret_sha256[SHA256_DIGEST_LENGTH])
{
	SHA256_CTX context;

	SHA256_Init(&context);
	SHA256_Update(&context, content.data, content.n);
	SHA256_Final(ret_sha256, &context);
}

static int make_base64(struct buf *out, size_t from)
{
	size_t n = out->n - from;
	int r = buf_reserve(out, BASE64_BYTES(n) - n);

	if (r < 0)
		return r;
	base64_encode(out->data + from, n);
	out->n = from + BASE64_BYTES(n);
	return 0;
}

static int encode(struct buf *out, size_t from, enum slot_encoding encoding)
{
	switch (encoding) {
	case SLOT_TEXT:
		return content_make_text(out, from);
	case SLOT_BASE64:
		return make_base64(out, from);
	default:
		return 0;
	}
}

int artifact_read(const struct workspace *w, struct span path, const struct artifact_options *o,
		  struct buf *out, struct artifact_result *ret)
{
	_cleanup_(cleanup_close) int fd = -1;
	struct workspace_file file;
	size_t from = out->n, n;
	int r;

	memset(ret, 0, sizeof(*ret));
	fd = workspace_open(w, path, false, &file);
	/* For who reads, a file below a file is just not there. */
	r = fd == -ENOTDIR ? -ENOENT : fd;
	if (fd >= 0)
		r = load(fd, (uint64_t)file.st.st_size, o->n_bytes_max, out);
	if (r < 0) {
		out->n = from;
		return artifact_refuse(ret, r, path);
	}
	n = out->n - from;
	ret->size = n;
	ret->file_size = (uint64_t)file.st.st_size > n ? (uint64_t)file.st.st_size : n;
	/* One that has shrunk meanwhile is whole. */
	if (n < o->n_bytes_max)
		ret->file_size = n;
	if (ret->file_size > n || (n == o->n_bytes_max && has_more(fd)))
		ret->flags |= SLOT_TRUNCATED;
	if (o->with_sha256)
		hash(n ? span_of(out->data + from, n) : span_of("", 0), ret->sha256);
	return n ? encode(out, from, o->encoding) : 0;
}
