/* SPDX-License-Identifier: Apache-2.0 */
/* Artifacts: what a slot is asked, and what its reply becomes. */
#include "local_world.h"

#include <stdlib.h>
#include <string.h>

#include "../wire/pack.h"
#include "backend/local_mime.h"
#include "base/clock.h"

#define MIB (1 << 20)

static void refuse(struct world *w, enum tr_verdict verdict, const char *error, uint8_t *options,
		   struct backend_op *op)
{
	assert_int_equal(op->state, BACKEND_OP_DONE);
	assert_int_equal(op->answer.verdict, verdict);
	assert_text(op->answer.error, error);
	assert_int_equal(op->answer.n_more, 0);
	world_take(w, op);
	free(options);
}

/* What is wrong is said by name, in the contract's words where it has some; the slot hears nothing. */
static void test_refused(void **state)
{
	struct world *w = *state;
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct slot_request q;
	struct backend_op op;
	uint32_t seat = world_begin(w);

#define REFUSED(kind, error, ...)                                                                  \
	refuse(w, TR_INVALID, error,                                                               \
	       world_artifact(w, &op, TR_KIND_ARTIFACT_##kind, "p", __VA_ARGS__), &op)
	REFUSED(READ, "Unsupported encoding: hex", "m1 ss", "encoding", "hex");
	REFUSED(READ, "encoding must be a string", "m1 si", "encoding", 5);
	REFUSED(ARCHIVE, "Unsupported encoding: text", "m1 ss", "encoding", "text");
	REFUSED(ARCHIVE, "Unsupported archive format: rar", "m1 ss", "format", "rar");
	REFUSED(UNPACK, "Unsupported archive format: zip", "m2 sb ss", "archive", "x", (size_t)1,
		"format", "zip");
	REFUSED(READ, "max_bytes must be a number of bytes above 0", "m1 si", "max_bytes", -1);
	REFUSED(READ, "include_sha256 must be true or false", "m1 si", "include_sha256", 1);
	REFUSED(LIST, "max_entries must be a number above 0", "m1 ss", "max_entries", "3");
	REFUSED(LIST, "recursive must be true or false", "m1 ss", "recursive", "yes");
	REFUSED(LIST,
		"unknown key \"encoding\" in ARTIFACT_LIST; allowed: trajectory_id path timeout_s "
		"anywhere recursive max_entries",
		"m1 ss", "encoding", "text");
	REFUSED(READ, "anywhere must be true or false", "m1 ss", "anywhere", "/");
	REFUSED(WRITE, "content must be a string or binary", "m0");
	REFUSED(WRITE, "content must be a string or binary", "m1 sa0", "content");
	REFUSED(UNPACK, "archive must be binary", "m1 ss", "archive", "x");
#undef REFUSED
	assert_false(slot_next(w, seat, &q, parts));
	world_check(w, seat);
}

/* More than may be put there is refused by its size, before it goes anywhere. */
static void test_too_large(void **state)
{
	struct world *w = *state;
	struct backend_op op;
	struct slot_request q;
	struct span parts[SLOT_N_REQUEST_PARTS];
	char *bytes = calloc(1, 11);
	uint8_t *a;
	uint32_t seat;

	w->options.artifact_bytes_max = 10;
	w->options.anywhere_bytes_max = 11;
	seat = world_begin(w);
	a = world_artifact(w, &op, TR_KIND_ARTIFACT_WRITE, "p", "m1 sb", "content", bytes,
			   (size_t)11);
	refuse(w, TR_LIMIT, "Content too large: 11 bytes (max 10, limit artifact_bytes_max)", a,
	       &op);
	a = world_artifact(w, &op, TR_KIND_ARTIFACT_WRITE, "p", "m2 sb st", "content", bytes,
			   (size_t)11, "anywhere");
	slot_expect(w, seat, SLOT_ARTIFACT_WRITE, &q, parts);
	assert_int_equal(q.flags, SLOT_ANYWHERE);
	assert_int_equal(parts[SLOT_STDIN].n, 11);
	slot_answer(w, seat, slot_reply_to(&q), "", "");
	world_wait(w, &op);
	world_take(w, &op);
	free(a);
	free(bytes);
}

static struct slot_request ask(struct world *w, uint32_t seat, enum slot_op slot_op, uint8_t *a,
			       struct backend_op *op)
{
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct slot_request q;

	slot_expect(w, seat, slot_op, &q, parts);
	assert_text(parts[SLOT_PATH], "a/b");
	slot_answer(w, seat, slot_reply_to(&q), "", "");
	world_wait(w, op);
	assert_int_equal(op->answer.verdict, TR_OK);
	assert_text(op->answer.output, "");
	world_take(w, op);
	free(a);
	return q;
}

#define ASK(kind, ...)                                                                             \
	ask(w, seat, SLOT_ARTIFACT_##kind,                                                         \
	    world_artifact(w, &op, TR_KIND_ARTIFACT_##kind, "a/b", __VA_ARGS__), &op)

/* Every option arrives, and what every call has may stand among them. */
static void test_requests(void **state)
{
	struct world *w = *state;
	uint32_t seat = world_begin(w);
	struct backend_op op;
	struct slot_request q;

	q = ASK(READ, "m3 ss ss si", "trajectory_id", "t", "path", "a/b", "timeout_s", 3);
	assert_true(q.encoding == SLOT_TEXT && q.flags == 0 && q.stdout_max == 5000000);
	assert_int_equal(q.timeout_ns, 5 * NS_PER_S);
	q = ASK(READ, "m3 ss st sd", "encoding", "bytes", "include_sha256", "max_bytes", 7.0);
	assert_true(q.encoding == SLOT_BYTES && q.flags == SLOT_SHA256 && q.stdout_max == 7);
	/* A cap above the operator's is that, and so is none. */
	q = ASK(READ, "m2 ss si", "encoding", "base64", "max_bytes", 100 * MIB);
	assert_true(q.encoding == SLOT_BASE64 && q.stdout_max == 5000000);
	q = ASK(READ, "m2 si st", "max_bytes", 100 * MIB, "anywhere");
	assert_true(q.flags == SLOT_ANYWHERE && q.stdout_max == 64 * MIB);
	q = ASK(READ, "m1 st", "anywhere");
	assert_true(q.stdout_max == 64 * MIB);
	q = ASK(LIST, "m2 st si", "recursive", "max_entries", 3);
	assert_true(q.flags == SLOT_ALL && q.n_entries_max == 3);
	q = ASK(LIST, "m2 sf si", "recursive", "max_entries", 1000000);
	assert_true(q.flags == 0 && q.n_entries_max == 5000);
	q = ASK(LIST, "m2 st si", "anywhere", "max_entries", 1000000);
	assert_int_equal(q.n_entries_max, 50000);
	q = ASK(ARCHIVE, "m2 sn sn", "format", "max_bytes");
	assert_true(q.format == SLOT_TAR_GZ && q.encoding == SLOT_BASE64);
	assert_true(q.stdout_max == 5000000 && q.n_entries_max == 5000);
	q = ASK(ARCHIVE, "m4 ss ss si si", "format", "tgz", "encoding", "bytes", "max_bytes", 9,
		"max_entries", 2);
	assert_true(q.format == SLOT_TAR_GZ && q.encoding == SLOT_BYTES);
	assert_true(q.stdout_max == 9 && q.n_entries_max == 2);
	assert_int_equal(ASK(ARCHIVE, "m1 ss", "format", "tar.zst").format, SLOT_TAR_ZST);
	assert_int_equal(ASK(ARCHIVE, "m1 ss", "format", "tar").format, SLOT_TAR);
	q = ASK(WRITE, "m1 ss", "content", "text");
	assert_true(q.n[SLOT_STDIN] == 4 && q.stdout_max == 5000000);
	q = ASK(UNPACK, "m1 sb", "archive", "\x1f\x8b", (size_t)2);
	assert_true(q.format == 0 && q.stdout_max == 5000000 && q.n_entries_max == 5000);
	q = ASK(UNPACK, "m3 sb ss st", "archive", "x", (size_t)1, "format", "tar.gz", "anywhere");
	assert_true(q.format == SLOT_TAR_GZ && q.stdout_max == 64 * MIB);
	assert_int_equal(q.n_entries_max, 50000);
}

/* ---- answers -------------------------------------------------------------------------------------- */

static void answer(struct world *w, uint32_t seat, enum slot_op slot_op, struct backend_op *op,
		   struct slot_reply with, struct span output)
{
	struct span parts[SLOT_N_REQUEST_PARTS], said[SLOT_N_REPLY_PARTS] = {{0}};
	struct slot_request q;
	struct slot_reply reply;

	slot_expect(w, seat, slot_op, &q, parts);
	reply = slot_reply_to(&q);
	with.generation = reply.generation;
	with.id = reply.id;
	with.op = reply.op;
	with.started_ns = reply.started_ns;
	with.ended_ns = reply.ended_ns;
	said[SLOT_OUTPUT] = output;
	assert_int_equal(slot_reply_send(w->slots[seat], &with, said, 0), 0);
	world_wait(w, op);
}

static void test_read(void **state)
{
	struct world *w = *state;
	uint32_t seat = world_begin(w);
	struct backend_op op;
	struct span map;
	uint8_t *a = world_artifact(w, &op, TR_KIND_ARTIFACT_READ, "d/r.txt", "m0");

	answer(w, seat, SLOT_ARTIFACT_READ, &op,
	       (struct slot_reply){.size = 8, .file_size = 10, .flags = SLOT_TRUNCATED},
	       span_string("artifact"));
	map = more_map(&op);
	assert_text(meta_member(map, "content"), "\xa8"
						 "artifact");
	assert_text(meta_member(map, "encoding"), "\xa4text");
	assert_text(meta_member(map, "path"), "\xa7"
					      "d/r.txt");
	assert_text(meta_member(map, "mime"), "\xaatext/plain");
	assert_text(meta_member(map, "sha256"), "\xc0");
	assert_int_equal(meta_int(map, "bytes"), 8);
	assert_int_equal(meta_int(map, "file_size"), 10);
	assert_true(meta_is_true(map, "truncated"));
	assert_text(op.answer.output, "");
	assert_int_equal(meta_int(op.answer.metadata, "processes_left"), 0);
	world_take(w, &op);
	free(a);
	a = world_artifact(w, &op, TR_KIND_ARTIFACT_READ, "b.png", "m2 ss st", "encoding", "bytes",
			   "include_sha256");
	answer(w, seat, SLOT_ARTIFACT_READ, &op, (struct slot_reply){.sha256 = {0xab, 0x01}},
	       span_of("\xff\0", 2));
	map = more_map(&op);
	assert_int_equal(meta_member(map, "content").n, 4);
	assert_memory_equal(meta_member(map, "content").data, "\xc4\x02\xff\0", 4);
	assert_int_equal(meta_member(map, "sha256").n, 2 + 64);
	assert_memory_equal(meta_member(map, "sha256").data,
			    "\xd9\x40"
			    "ab0100",
			    8);
	world_take(w, &op);
	free(a);
}

/* Large content stays where it came. */
static void test_read_large(void **state)
{
	struct world *w = *state;
	uint32_t seat = world_begin(w);
	size_t n = 300000;
	char *bytes = malloc(n);
	struct backend_op op;
	struct span content;
	uint8_t *a =
		world_artifact(w, &op, TR_KIND_ARTIFACT_READ, "x", "m1 ss", "encoding", "bytes");

	assert_non_null(bytes);
	memset(bytes, 0xf0, n);
	answer(w, seat, SLOT_ARTIFACT_READ, &op, (struct slot_reply){.size = n}, span_of(bytes, n));
	assert_int_equal(op.answer.body.n, n);
	assert_true(op.answer.more.n < 200);
	content = meta_member(more_map(&op), "content");
	assert_int_equal(content.n, 5 + n);
	assert_memory_equal(content.data + 5, bytes, n);
	world_take(w, &op);
	free(a);
	free(bytes);
}

static size_t add(uint8_t *row, struct slot_entry entry, const char *path)
{
	entry.n_path = (uint16_t)strlen(path);
	memcpy(row, &entry, sizeof(entry));
	memcpy(row + sizeof(entry), path, entry.n_path);
	return sizeof(entry) + entry.n_path;
}

static void test_list(void **state)
{
	struct world *w = *state;
	uint32_t seat = world_begin(w);
	uint8_t row[128];
	struct backend_op op;
	struct span map;
	uint8_t *a = world_artifact(w, &op, TR_KIND_ARTIFACT_LIST, ".", "m0");
	size_t n = add(row, (struct slot_entry){.size = 4096, .is_dir = 1}, "x");

	n += add(row + n, (struct slot_entry){.size = 2, .mtime_ns = 1500 * NS_PER_MS}, "x/y");
	answer(w, seat, SLOT_ARTIFACT_LIST, &op, (struct slot_reply){.n_entries = 2},
	       span_of(row, n));
	map = more_map(&op);
	assert_false(meta_is_true(map, "truncated"));
	map = meta_member(map, "entries");
	assert_int_equal(map.n, 1 + (1 + 7 + 8 + 15) + (1 + 9 + 8 + 6 + 15));
	assert_memory_equal(map.data,
			    "\x92\x83\xa4path\xa1x\xa6is_dir\xc3\xa5mtime\xcb\0\0\0\0\0\0\0\0"
			    "\x84\xa4path\xa3x/y\xa6is_dir\xc2\xa4size\x02\xa5mtime\xcb\x3f\xf8\0\0"
			    "\0\0\0\0",
			    map.n);
	world_take(w, &op);
	free(a);
	/* Paths of anywhere begin at the root. */
	a = world_artifact(w, &op, TR_KIND_ARTIFACT_LIST, "/", "m1 st", "anywhere");
	answer(w, seat, SLOT_ARTIFACT_LIST, &op, (struct slot_reply){.n_entries = 2},
	       span_of(row, n));
	map = meta_member(more_map(&op), "entries");
	assert_non_null(memmem(map.data, map.n, "\xa2/x\xa6is_dir", 10));
	assert_non_null(memmem(map.data, map.n, "\xa4/x/y\xa6is_dir", 12));
	world_take(w, &op);
	free(a);
	a = world_artifact(w, &op, TR_KIND_ARTIFACT_LIST, ".", "m0");
	answer(w, seat, SLOT_ARTIFACT_LIST, &op, (struct slot_reply){.flags = SLOT_TRUNCATED},
	       span_of(NULL, 0));
	map = more_map(&op);
	assert_text(meta_member(map, "entries"), "\x90");
	assert_true(meta_is_true(map, "truncated"));
	world_take(w, &op);
	free(a);
}

static void test_archive_and_put(void **state)
{
	struct world *w = *state;
	uint32_t seat = world_begin(w);
	struct backend_op op;
	struct span map;
	uint8_t *a =
		world_artifact(w, &op, TR_KIND_ARTIFACT_ARCHIVE, ".", "m1 ss", "format", "tgz");

	answer(w, seat, SLOT_ARTIFACT_ARCHIVE, &op, (struct slot_reply){.n_entries = 2},
	       span_string("H4sIAA=="));
	map = more_map(&op);
	assert_text(meta_member(map, "content"), "\xa8H4sIAA==");
	assert_text(meta_member(map, "encoding"), "\xa6"
						  "base64");
	assert_text(meta_member(map, "format"), "\xa6tar.gz");
	assert_int_equal(meta_int(map, "entry_count"), 2);
	assert_int_equal(meta_int(map, "bytes"), 4);
	world_take(w, &op);
	free(a);
	a = world_artifact(w, &op, TR_KIND_ARTIFACT_WRITE, "w", "m1 ss", "content", "abc");
	answer(w, seat, SLOT_ARTIFACT_WRITE, &op, (struct slot_reply){.size = 3}, span_of(NULL, 0));
	map = more_map(&op);
	assert_text(meta_member(map, "path"), "\xa1w");
	assert_int_equal(meta_int(map, "bytes"), 3);
	assert_int_equal(meta_member(map, "entry_count").n, 0);
	world_take(w, &op);
	free(a);
	a = world_artifact(w, &op, TR_KIND_ARTIFACT_UNPACK, "w", "m1 sb", "archive", "x",
			   (size_t)1);
	answer(w, seat, SLOT_ARTIFACT_UNPACK, &op, (struct slot_reply){.size = 30, .n_entries = 4},
	       span_of(NULL, 0));
	map = more_map(&op);
	assert_int_equal(meta_int(map, "entry_count"), 4);
	assert_int_equal(meta_int(map, "bytes"), 30);
	world_take(w, &op);
	free(a);
}

/* What went wrong has its error, its verdict, and nothing of an artifact. */
static void test_errors(void **state)
{
	static const struct {
		uint32_t verdict, flags;
		const char *said, *error;
	} rows[] = {
		{TR_FAILED, SLOT_NOT_FOUND, "Not found: x", "Not found: x"},
		{TR_INVALID, SLOT_MISUSED, "Not a file: x", "Not a file: x"},
		{TR_DENIED, 0, "Access denied: path outside workspace",
		 "Access denied: path outside workspace"},
		{TR_TIMEOUT, SLOT_TIMED_OUT, "", "timed out after 5.0s"},
	};
	struct world *w = *state;
	uint32_t seat = world_begin(w);

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct span parts[SLOT_N_REQUEST_PARTS];
		struct slot_request q;
		struct slot_reply reply;
		struct backend_op op;
		uint8_t *a = world_artifact(w, &op, TR_KIND_ARTIFACT_READ, "x", "m0");

		slot_expect(w, seat, SLOT_ARTIFACT_READ, &q, parts);
		reply = slot_reply_to(&q);
		reply.verdict = rows[i].verdict;
		reply.flags = rows[i].flags;
		slot_answer(w, seat, reply, "", rows[i].said);
		world_wait(w, &op);
		assert_int_equal(op.answer.verdict, rows[i].verdict);
		assert_text(op.answer.error, rows[i].error);
		assert_int_equal(op.answer.n_more, 0);
		assert_int_equal(meta_member(op.answer.metadata, "not_found").n != 0,
				 rows[i].flags == SLOT_NOT_FOUND);
		world_take(w, &op);
		free(a);
	}
}

/* Content in another encoding than was asked for, or more of it, costs the slot. */
static void test_hostile(void **state)
{
	static const struct {
		enum tr_kind kind;
		const char *option, *value;
		const char *output;
		size_t n;
	} rows[] = {
		{TR_KIND_ARTIFACT_READ, "encoding", "text", "\xff", 1},
		{TR_KIND_ARTIFACT_READ, "encoding", "base64", "\xff", 1},
		{TR_KIND_ARTIFACT_READ, "encoding", "bytes", "12345", 5},
		{TR_KIND_ARTIFACT_ARCHIVE, "encoding", "base64", "\xff", 1},
		{TR_KIND_ARTIFACT_LIST, NULL, NULL, "entry", 5},
	};
	struct world *w = *state;
	uint32_t seat = world_begin(w);

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct span parts[SLOT_N_REQUEST_PARTS], said[SLOT_N_REPLY_PARTS] = {{0}};
		struct slot_request q;
		struct slot_reply reply;
		struct backend_op op;
		uint8_t *a = rows[i].option
				     ? world_artifact(w, &op, rows[i].kind, "x", "m2 ss si",
						      rows[i].option, rows[i].value, "max_bytes", 4)
				     : world_artifact(w, &op, rows[i].kind, "x", "m0");

		while (slot_next(w, seat, &q, parts) && q.op == SLOT_WARM)
			continue;
		reply = slot_reply_to(&q);
		said[SLOT_OUTPUT] = span_of(rows[i].output, rows[i].n);
		assert_int_equal(slot_reply_send(w->slots[seat], &reply, said, 0), 0);
		world_wait(w, &op);
		assert_int_equal(op.answer.verdict, TR_UNKNOWN);
		assert_true(op.answer.slot_lost);
		world_take(w, &op);
		free(a);
		world_settle(w);
		seat = world_acquire(w, 0);
	}
	world_check(w, seat);
}

static void test_mime(void **state)
{
	static const char *const rows[][2] = {
		{"a.txt", "text/plain"},
		{"p.png", "image/png"},
		{"d/p.JSON", "application/json"},
		{"a.tar.gz", "application/x-tar"},
		{"a.TGZ", "application/x-tar"},
		{"a.json.gz", "application/json"},
		{"a.gz", "application/octet-stream"},
		{"b.bin", "application/octet-stream"},
		{"none", "application/octet-stream"},
		{"d.txt/none", "application/octet-stream"},
		{".txt", "application/octet-stream"},
		{"..txt", "application/octet-stream"},
		{".a.txt", "text/plain"},
		{"a.", "application/octet-stream"},
		{"", "application/octet-stream"},
		{"/", "application/octet-stream"},
		{"a.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "application/octet-stream"},
		{"x.webmanifest", "application/manifest+json"},
		{"x.3g2", "audio/3gpp2"},
		{"x.zip", "application/zip"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_string_equal(local_mime(span_string(rows[i][0])), rows[i][1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_refused),         TEST(test_too_large),
		TEST(test_requests),        TEST(test_read),
		TEST(test_read_large),      TEST(test_list),
		TEST(test_archive_and_put), TEST(test_errors),
		TEST(test_hostile),         cmocka_unit_test(test_mime),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
