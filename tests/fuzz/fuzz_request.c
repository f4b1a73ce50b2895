/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any map as the arguments of a tool or the options of an artifact. Shows: nothing is read outside of
 * it; a refusal has a text that may be shown and a verdict that is no fault of ours; what passes is a
 * request that a slot takes, since one that it does not take would cost the slot.
 *
 * An input is a byte of what is called, and the packed map.
 */

#include "backend/local_request.h"
#include "base/utf8.h"
#include "fuzz.h"
#include "wire/reader.h"
#include "wire/slot_sound.h"
#include "wire/writer.h"

static const char *const tools[] = {"bash", "bash_stateful", "read_file", "write_file",
				    "exec", "tmux",          "nano"};

#define N_TOOLS     (sizeof(tools) / sizeof(*tools))
#define N_ARTIFACTS (TR_KIND_ARTIFACT_UNPACK - TR_KIND_ARTIFACT_READ + 1)

/* ---- seeds ---------------------------------------------------------------------------------------- */

static const char *const actions[] = {"start",   "resize", "send_keys", "wait_for",
				      "capture", "stream", "stop",      "dance"};

#define N_ACTIONS (sizeof(actions) / sizeof(*actions))

static void write_numbers(msgpack_packer *p, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		wire_write_string(p, names[i]);
		if (i & 1)
			msgpack_pack_double(p, 30.0);
		else
			msgpack_pack_int(p, 30);
	}
}

static void write_flags(msgpack_packer *p, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		wire_write_string(p, names[i]);
		msgpack_pack_true(p);
	}
}

#define NAMES(...)                                                                                 \
	(const char *const[]){__VA_ARGS__},                                                        \
		sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)

static void write_tmux(msgpack_packer *p, const char *action)
{
	msgpack_pack_map(p, 12);
	wire_write_string(p, "action");
	wire_write_string(p, action);
	write_numbers(p,
		      NAMES("pane_width", "pane_height", "min_wait_s", "max_wait_s", "max_bytes"));
	write_flags(p, NAMES("block", "regex", "capture_entire", "reset"));
	wire_write_string(p, "keys");
	msgpack_pack_array(p, 2);
	wire_write_string(p, "ls");
	wire_write_string(p, "Enter");
	wire_write_string(p, "wait_for");
	wire_write_string(p, "[$] ");
}

static void write_tool(msgpack_packer *p, bool is_exec)
{
	msgpack_pack_map(p, is_exec ? 6 : 4);
	wire_write_string(p, is_exec ? "argv" : "command");
	if (is_exec)
		msgpack_pack_array(p, 1);
	wire_write_string(p, "ls");
	write_numbers(p, NAMES("idle_timeout_s"));
	if (is_exec) {
		write_numbers(p, NAMES("stdout_max", "stderr_max"));
		write_flags(p, NAMES("keep"));
		wire_write_string(p, "env");
		msgpack_pack_map(p, 1);
		wire_write_string(p, "A");
		wire_write_string(p, "x=y");
		return;
	}
	wire_write_string(p, "path");
	wire_write_string(p, "h\xc3\xa9");
	wire_write_string(p, "content");
	wire_write_string(p, "text");
}

static void write_artifact(msgpack_packer *p, enum tr_kind kind)
{
	bool is_archive = kind == TR_KIND_ARTIFACT_ARCHIVE || kind == TR_KIND_ARTIFACT_UNPACK;

	msgpack_pack_map(p, is_archive ? 5 : 4);
	write_flags(p, NAMES("anywhere"));
	write_numbers(p, NAMES("timeout_s"));
	if (kind == TR_KIND_ARTIFACT_LIST) {
		write_numbers(p, NAMES("max_entries"));
		write_flags(p, NAMES("recursive"));
		return;
	}
	if (kind == TR_KIND_ARTIFACT_WRITE) {
		write_numbers(p, NAMES("path"));
		wire_write_string(p, "content");
		wire_write_string(p, "text");
		return;
	}
	write_numbers(p, NAMES("max_bytes"));
	wire_write_string(p, kind == TR_KIND_ARTIFACT_UNPACK ? "archive" : "encoding");
	if (kind == TR_KIND_ARTIFACT_UNPACK)
		msgpack_pack_bin_with_body(p, "x", 1);
	else
		wire_write_string(p, "bytes");
	if (is_archive) {
		wire_write_string(p, "format");
		wire_write_string(p, "tar.zst");
	}
}

size_t fuzz_seed(unsigned number, uint8_t *data, size_t size)
{
	struct buf b;
	msgpack_packer p;
	size_t n;

	buf_init(&b, size - 1);
	wire_writer_init(&p, &b);
	data[0] = (uint8_t)number;
	if (number < N_TOOLS - 1) {
		write_tool(&p, number == 4);
	} else if (number < N_TOOLS + N_ARTIFACTS) {
		write_artifact(&p, (enum tr_kind)(TR_KIND_ARTIFACT_READ + number - N_TOOLS));
	} else if (number < N_TOOLS + N_ARTIFACTS + N_ACTIONS) {
		data[0] = 5;
		write_tmux(&p, actions[number - N_TOOLS - N_ARTIFACTS]);
	} else {
		return 0;
	}
	memcpy(data + 1, b.data, b.n);
	n = 1 + b.n;
	buf_deinit(&b);
	return n;
}

/* ---- the target ----------------------------------------------------------------------------------- */

/* As what comes in is, before a backend sees it. */
static bool is_one_map(const uint8_t *data, size_t n)
{
	struct wire_reader r;
	struct wire_token t;

	wire_reader_init(&r, data, n, 100000);
	if (wire_skip(&r, NULL) < 0 || r.at != r.end)
		return false;
	wire_reader_init(&r, data, n, 1);
	return wire_read(&r, &t) == 0 && t.type == WIRE_MAP;
}

static void check_request(struct local_request *q, const struct local_caps *caps)
{
	q->header.magic = SLOT_MAGIC;
	FUZZ_CHECK(slot_request_is_sound(&q->header));
	FUZZ_CHECK(slot_request_parts_are_sound(q->parts));
	FUZZ_CHECK(q->header.stdout_max <= caps->anywhere_bytes_max);
	FUZZ_CHECK(q->header.n_entries_max <= caps->anywhere_entries_max);
	FUZZ_CHECK(q->header.op != SLOT_SHELL || q->parts[SLOT_COMMAND].n);
	FUZZ_CHECK(q->header.action != SLOT_TERMINAL_WAIT || q->parts[SLOT_COMMAND].n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct local_caps caps = {
		.output_chars = 50,
		.file_chars = 60,
		.exec_output_bytes_max = 70,
		.artifact_bytes_max = 8,
		.artifact_entries_max = 9,
		.anywhere_bytes_max = 100,
		.anywhere_entries_max = 20,
	};
	struct backend_op op = {.timeout_ns = 1};
	struct local_request q;
	struct buf text;
	char error[384];
	uint8_t *map;
	size_t what;
	int r;

	if (n < 2 || !is_one_map(data + 1, n - 1))
		return 0;
	what = data[0] % (N_TOOLS + N_ARTIFACTS);
	map = fuzz_copy(data + 1, n - 1);
	op.kind = what < N_TOOLS ? BACKEND_EXECUTE : BACKEND_ARTIFACT;
	if (what < N_TOOLS)
		op.tool = span_string(tools[what]);
	else
		op.artifact = (enum tr_kind)(TR_KIND_ARTIFACT_READ + what - N_TOOLS);
	op.path = span_string("p");
	op.arguments = span_of(map, n - 1);
	buf_init(&text, 1 << 20);
	r = local_request_read(&q, &op, &caps, &text, error, sizeof(error));
	if (r == 0) {
		check_request(&q, &caps);
	} else {
		FUZZ_CHECK(r == TR_INVALID || r == TR_FAILED || r == TR_LIMIT);
		FUZZ_CHECK(memchr(error, 0, sizeof(error)) && error[0]);
		FUZZ_CHECK(utf8_valid(span_string(error)));
	}
	buf_deinit(&text);
	free(map);
	return 0;
}
