/* SPDX-License-Identifier: Apache-2.0 */
/* The pairs of a result that only some kinds have: exec's streams as bytes, and artifacts. */
#include "backend/local_answer_parts.h"

#include "backend/local_mime.h"
#include "backend/local_pairs.h"
#include "base/clock.h"

/* The packed keys, numbers and names of one artifact; path and content aside. */
#define PAIRS_BYTES 512
/* The same of one entry of a list, its path aside. */
#define ENTRY_BYTES 56

static const char *const encodings[SLOT_N_ENCODINGS] = {
	[SLOT_TEXT] = "text",
	[SLOT_BASE64] = "base64",
	[SLOT_BYTES] = "bytes",
};

static const char *const formats[SLOT_N_FORMATS] = {
	[SLOT_TAR_GZ] = "tar.gz",
	[SLOT_TAR_ZST] = "tar.zst",
	[SLOT_TAR] = "tar",
};

static int begin(struct local_answer *a, size_t n, struct local_pairs *pairs)
{
	buf_clear(&a->more);
	local_pairs_init(pairs, &a->more);
	return wire_reserve(&a->more, PAIRS_BYTES + n);
}

static void finish(struct backend_op *op, const struct local_pairs *pairs)
{
	op->answer.more = span_of(pairs->b->data, pairs->b->n);
	op->answer.n_more = pairs->n;
}

/* exec's streams, as bytes, each apart. */
static int write_streams(struct local_answer *a, struct backend_op *op,
			 const struct span parts[SLOT_N_REPLY_PARTS])
{
	struct local_pairs pairs;
	int r = begin(a, parts[SLOT_OUTPUT].n + parts[SLOT_STDERR].n, &pairs);

	if (r < 0)
		return r;
	local_pair_key(&pairs, "stdout");
	msgpack_pack_bin(&pairs.p, parts[SLOT_OUTPUT].n);
	wire_write_packed(pairs.b, parts[SLOT_OUTPUT]);
	local_pair_key(&pairs, "stderr");
	msgpack_pack_bin(&pairs.p, parts[SLOT_STDERR].n);
	wire_write_packed(pairs.b, parts[SLOT_STDERR]);
	finish(op, &pairs);
	return 0;
}

/* ---- content -------------------------------------------------------------------------------------- */

/* The last pair. What came in a file is not copied. */
static void write_content(struct local_answer *a, struct backend_op *op, struct local_pairs *pairs,
			  struct span content, uint32_t encoding)
{
	local_pair_text(pairs, "encoding", encodings[encoding]);
	local_pair_key(pairs, "content");
	if (encoding == SLOT_BYTES)
		msgpack_pack_bin(&pairs->p, content.n);
	else
		msgpack_pack_str(&pairs->p, content.n);
	if (a->message.map)
		op->answer.body = content;
	else
		wire_write_packed(pairs->b, content);
	finish(op, pairs);
}

static void write_sha256(struct local_pairs *pairs, const struct slot_request *asked,
			 const struct slot_reply *reply)
{
	static const char digits[] = "0123456789abcdef";
	char text[2 * sizeof(reply->sha256) + 1] = "";

	for (size_t i = 0; i < sizeof(reply->sha256); i++) {
		text[2 * i] = digits[reply->sha256[i] >> 4];
		text[2 * i + 1] = digits[reply->sha256[i] & 15];
	}
	local_pair_text(pairs, "sha256", asked->flags & SLOT_SHA256 ? text : NULL);
}

static int write_read(struct local_answer *a, struct backend_op *op,
		      const struct slot_request *asked, const struct slot_reply *reply,
		      struct span content)
{
	struct local_pairs pairs;
	int r = begin(a, op->path.n + (a->message.map ? 0 : content.n), &pairs);

	if (r < 0)
		return r;
	local_pair_span(&pairs, "path", op->path);
	local_pair_text(&pairs, "mime", local_mime(op->path));
	local_pair_uint(&pairs, "bytes", reply->size);
	local_pair_uint(&pairs, "file_size", reply->file_size);
	local_pair_bool(&pairs, "truncated", reply->flags & SLOT_TRUNCATED);
	write_sha256(&pairs, asked, reply);
	write_content(a, op, &pairs, content, asked->encoding);
	return 0;
}

/* Of the archive itself, whatever it is sent as. */
static uint64_t archive_bytes(struct span content, uint32_t encoding)
{
	uint64_t n = content.n;

	if (encoding != SLOT_BASE64)
		return n;
	for (int i = 0; i < 2 && n && content.data[n - 1] == '='; i++)
		n--;
	return n * 3 / 4;
}

static int write_archive(struct local_answer *a, struct backend_op *op,
			 const struct slot_request *asked, const struct slot_reply *reply,
			 struct span content)
{
	struct local_pairs pairs;
	int r = begin(a, op->path.n + (a->message.map ? 0 : content.n), &pairs);

	if (r < 0)
		return r;
	local_pair_span(&pairs, "path", op->path);
	local_pair_text(&pairs, "format", formats[asked->format]);
	local_pair_uint(&pairs, "entry_count", reply->n_entries);
	local_pair_uint(&pairs, "bytes", archive_bytes(content, asked->encoding));
	local_pair_bool(&pairs, "truncated", reply->flags & SLOT_TRUNCATED);
	write_content(a, op, &pairs, content, asked->encoding);
	return 0;
}

/* ---- lists ---------------------------------------------------------------------------------------- */

/* root: what paths begin with, which slots leave out. */
static void write_entry(struct local_pairs *pairs, const struct slot_entry *entry, struct span root,
			struct span path)
{
	struct buf *b = pairs->b;

	msgpack_pack_map(&pairs->p, entry->is_dir ? 3 : 4);
	wire_write_key(b, "path");
	msgpack_pack_str(&pairs->p, root.n + path.n);
	wire_write_packed(b, root);
	wire_write_packed(b, path);
	wire_write_key(b, "is_dir");
	local_pack_bool(pairs, entry->is_dir);
	if (!entry->is_dir) {
		wire_write_key(b, "size");
		msgpack_pack_uint64(&pairs->p, entry->size);
	}
	wire_write_key(b, "mtime");
	msgpack_pack_double(&pairs->p, (double)entry->mtime_ns / (double)NS_PER_S);
}

static int write_list(struct local_answer *a, struct backend_op *op,
		      const struct slot_request *asked, const struct slot_reply *reply,
		      struct span row)
{
	struct span root = span_of("/", asked->flags & SLOT_ANYWHERE ? 1 : 0);
	struct local_pairs pairs;
	struct slot_entry entry;
	struct span at = row, path;
	size_t n = 0, n_paths = 0;
	int r;

	for (; slot_entry_next(&at, &entry, &path) == 1; n++)
		n_paths += path.n;
	r = begin(a, n * (ENTRY_BYTES + root.n) + n_paths, &pairs);
	if (r < 0)
		return r;
	local_pair_bool(&pairs, "truncated", reply->flags & SLOT_TRUNCATED);
	local_pair_key(&pairs, "entries");
	msgpack_pack_array(&pairs.p, n);
	for (at = row; slot_entry_next(&at, &entry, &path) == 1;)
		write_entry(&pairs, &entry, root, path);
	finish(op, &pairs);
	return 0;
}

/* ---- what was put there --------------------------------------------------------------------------- */

static int write_put(struct local_answer *a, struct backend_op *op, const struct slot_reply *reply)
{
	struct local_pairs pairs;
	int r = begin(a, op->path.n, &pairs);

	if (r < 0)
		return r;
	local_pair_span(&pairs, "path", op->path);
	local_pair_uint(&pairs, "bytes", reply->size);
	if (reply->op == SLOT_ARTIFACT_UNPACK)
		local_pair_uint(&pairs, "entry_count", reply->n_entries);
	finish(op, &pairs);
	return 0;
}

int local_answer_more(struct local_answer *a, struct backend_op *op,
		      const struct slot_request *asked, const struct slot_reply *reply,
		      const struct span parts[SLOT_N_REPLY_PARTS])
{
	if (reply->op == SLOT_EXEC)
		return write_streams(a, op, parts);
	if (reply->verdict != TR_OK)
		return 0;
	switch ((enum slot_op)reply->op) {
	case SLOT_ARTIFACT_READ:
		return write_read(a, op, asked, reply, parts[SLOT_OUTPUT]);
	case SLOT_ARTIFACT_ARCHIVE:
		return write_archive(a, op, asked, reply, parts[SLOT_OUTPUT]);
	case SLOT_ARTIFACT_LIST:
		return write_list(a, op, asked, reply, parts[SLOT_OUTPUT]);
	case SLOT_ARTIFACT_WRITE:
	case SLOT_ARTIFACT_UNPACK:
		return write_put(a, op, reply);
	default:
		return 0;
	}
}
