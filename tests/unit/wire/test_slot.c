/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to a slot and its replies: what is sent arrives as it was, small or large; what is not
 * well-formed is refused, whatever a slot sends, and no descriptor of it is left open.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "wire/slot.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

struct world {
	int a, b;
	unsigned n_open; /* descriptors when it began */
	uint64_t buffer[(SLOT_MESSAGE_MAX + 7) / 8];
	struct slot_request request;
	struct span asked[SLOT_N_REQUEST_PARTS];
	struct slot_reply reply;
	struct span got[SLOT_N_REPLY_PARTS];
	struct slot_message m;
};

static unsigned n_open(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	int pair[2];

	if (!w || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	w->a = pair[0];
	w->b = pair[1];
	w->n_open = n_open();
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	assert_int_equal(n_open(), w->n_open);
	close(w->a);
	close(w->b);
	free(w);
	return 0;
}

static int receive_request(struct world *w)
{
	return slot_request_receive(w->b, w->buffer, &w->request, w->asked, &w->m, MSG_DONTWAIT);
}

static int receive_reply(struct world *w)
{
	return slot_reply_receive(w->b, w->buffer, &w->reply, w->got, &w->m, MSG_DONTWAIT);
}

static uint8_t *filled(size_t n, uint8_t c)
{
	uint8_t *bytes = malloc(n);

	assert_non_null(bytes);
	memset(bytes, c, n);
	return bytes;
}

/* Every field and every part of a request comes through, in the message itself. */
static void test_request_small(void **state)
{
	static const struct span parts[SLOT_N_REQUEST_PARTS] = {
		[SLOT_ARGV] = {(const uint8_t *)"ls\0-l", 6},
		[SLOT_STDIN] = {(const uint8_t *)"\xff\0\x01", 3},
		[SLOT_CWD] = {(const uint8_t *)"/tmp", 4},
		[SLOT_ENV] = {(const uint8_t *)"A=1", 4},
	};
	struct world *w = *state;
	struct slot_request header = {
		.generation = 3,
		.id = 77,
		.op = SLOT_EXEC,
		.flags = SLOT_KEEP | SLOT_IN_FILE,
		.timeout_ns = 5,
		.stdout_max = 6,
		.stderr_max = UINT64_MAX,
	};

	assert_int_equal(slot_request_send(w->a, &header, parts, 0), 0);
	assert_int_equal(receive_request(w), 1);
	assert_memory_equal(&w->request, &header, sizeof(header));
	assert_int_equal(header.flags, SLOT_KEEP);
	assert_int_equal(header.magic, SLOT_MAGIC);
	for (size_t i = 0; i < SLOT_N_REQUEST_PARTS; i++)
		assert_true(span_equal(w->asked[i], parts[i]));
	assert_null(w->m.map);
	slot_message_done(&w->m);
}

/* The same of a reply; -EAGAIN where there is none yet. */
static void test_reply_small(void **state)
{
	static const struct span parts[SLOT_N_REPLY_PARTS] = {
		[SLOT_OUTPUT] = {(const uint8_t *)"h\xc3\xa9llo\0", 7},
		[SLOT_ERROR] = {(const uint8_t *)"Exit code: 1", 12},
	};
	struct world *w = *state;
	struct slot_reply header = {
		.generation = 3,
		.id = 77,
		.op = SLOT_BASH,
		.flags = SLOT_STUCK,
		.verdict = TR_FAILED,
		.exit_code = 255,
		.signal = 64,
		.n_killed = 9,
		.n_left = 1,
		.had_zygote = 2,
		.started_ns = 10,
		.ended_ns = 11,
		.size = UINT64_MAX,
	};

	assert_int_equal(receive_reply(w), -EAGAIN);
	assert_int_equal(slot_reply_send(w->a, &header, parts, 0), 0);
	assert_int_equal(receive_reply(w), 1);
	assert_memory_equal(&w->reply, &header, sizeof(header));
	for (size_t i = 0; i < SLOT_N_REPLY_PARTS; i++)
		assert_true(span_equal(w->got[i], parts[i]));
	slot_message_done(&w->m);
}

/* The largest that goes in the message, and one byte more, which goes by a file. */
static void test_inline_or_file(void **state)
{
	struct world *w = *state;

	for (size_t more = 0; more < 2; more++) {
		size_t n = SLOT_INLINE_MAX - 3 + more;
		uint8_t *bytes = filled(n, 'x');
		struct span parts[SLOT_N_REPLY_PARTS] = {
			[SLOT_OUTPUT] = span_of(bytes, n),
			[SLOT_FILE] = span_string("/ab"),
		};
		struct slot_reply header = {.op = SLOT_READ_FILE};

		assert_int_equal(slot_reply_send(w->a, &header, parts, 0), 0);
		assert_int_equal(receive_reply(w), 1);
		assert_int_equal(w->reply.flags, more ? SLOT_IN_FILE : 0);
		assert_true(!!w->m.map == (more == 1));
		assert_true(span_equal(w->got[SLOT_OUTPUT], parts[SLOT_OUTPUT]));
		assert_true(span_equal(w->got[SLOT_FILE], parts[SLOT_FILE]));
		slot_message_done(&w->m);
		assert_null(w->m.map);
		free(bytes);
	}
}

/* Many megabytes both ways, no page of them aligned with a part; larger than all is refused. */
static void test_large(void **state)
{
	struct world *w = *state;
	size_t n = (8 << 20) + 5;
	uint8_t *bytes = filled(n, 0xee);
	struct span asked[SLOT_N_REQUEST_PARTS] = {
		[SLOT_PATH] = span_string("a/b"),
		[SLOT_STDIN] = span_of(bytes, n),
	};
	struct span got[SLOT_N_REPLY_PARTS] = {
		[SLOT_OUTPUT] = span_of(bytes, 11),
		[SLOT_STDERR] = span_of(bytes, n - 1),
	};
	struct slot_request request = {.op = SLOT_WRITE_FILE};
	struct slot_reply reply = {.op = SLOT_EXEC};

	assert_int_equal(slot_request_send(w->a, &request, asked, 0), 0);
	assert_int_equal(receive_request(w), 1);
	assert_true(span_equal(w->asked[SLOT_STDIN], asked[SLOT_STDIN]));
	assert_true(span_is(w->asked[SLOT_PATH], "a/b"));
	slot_message_done(&w->m);
	assert_int_equal(slot_reply_send(w->a, &reply, got, 0), 0);
	assert_int_equal(receive_reply(w), 1);
	assert_true(span_equal(w->got[SLOT_OUTPUT], got[SLOT_OUTPUT]));
	assert_true(span_equal(w->got[SLOT_STDERR], got[SLOT_STDERR]));
	slot_message_done(&w->m);
	asked[SLOT_STDIN].n = SLOT_FILE_MAX;
	assert_int_equal(slot_request_send(w->a, &request, asked, 0), -EMSGSIZE);
	asked[SLOT_STDIN].n = SIZE_MAX;
	assert_int_equal(slot_request_send(w->a, &request, asked, 0), -EMSGSIZE);
	free(bytes);
}

/* An output that stands in a file already is sent as it is, and cannot change any more; not while somebody
 * may write to it. */
static void test_file_of_ones_own(void **state)
{
	struct world *w = *state;
	struct slot_reply reply = {.op = SLOT_ARTIFACT_ARCHIVE, .verdict = TR_OK};
	int fd = memfd_create("output", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *map;

	assert_int_equal(write(fd, "content", 7), 7);
	map = mmap(NULL, 7, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(slot_reply_send_file(w->a, &reply, fd, 0), -EBUSY);
	assert_int_equal(receive_reply(w), -EAGAIN);
	munmap(map, 7);
	assert_int_equal(slot_reply_send_file(w->a, &reply, fd, 0), 0);
	assert_int_equal(write(fd, "more", 4), -1);
	assert_int_equal(receive_reply(w), 1);
	assert_true(span_is(w->got[SLOT_OUTPUT], "content"));
	assert_int_equal(w->got[SLOT_ERROR].n, 0);
	slot_message_done(&w->m);
	close(fd);
}

/* A socket that is full says so, and one whose other side is gone, before or after it spoke. */
static void test_full_and_gone(void **state)
{
	static const struct span none[SLOT_N_REQUEST_PARTS];
	struct world *w = *state;
	struct slot_request request = {.op = SLOT_WARM};
	int r, pair[2];

	do {
		r = slot_request_send(w->a, &request, none, MSG_DONTWAIT);
	} while (r == 0);
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(slot_request_send(pair[0], &request, none, 0), 0);
	close(pair[0]);
	r = slot_request_receive(pair[1], w->buffer, &w->request, w->asked, &w->m, 0);
	assert_int_equal(r, 1);
	slot_message_done(&w->m);
	r = slot_request_receive(pair[1], w->buffer, &w->request, w->asked, &w->m, 0);
	assert_int_equal(r, 0);
	assert_int_equal(slot_request_send(pair[1], &request, none, 0), -EPIPE);
	close(pair[1]);
	/* It went without reading what we said: a reset, which is no other thing. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(slot_request_send(pair[1], &request, none, 0), 0);
	close(pair[0]);
	r = slot_request_receive(pair[1], w->buffer, &w->request, w->asked, &w->m, 0);
	assert_int_equal(r, 0);
	close(pair[1]);
}

/* ---- hostile replies --------------------------------------------------------------------------- */

static const struct slot_reply sound = {
	.magic = SLOT_MAGIC,
	.op = SLOT_READ_FILE,
	.n = {[SLOT_OUTPUT] = 4, [SLOT_ERROR] = 2},
};
static const char sound_parts[] = "textno";

static void send_raw(struct world *w, const struct slot_reply *header, const void *rest, size_t n,
		     const int *fds, size_t n_fds)
{
	uint8_t *bytes = malloc(sizeof(*header) + n);

	assert_non_null(bytes);
	memcpy(bytes, header, sizeof(*header));
	if (n)
		memcpy(bytes + sizeof(*header), rest, n);
	assert_true(fdpass_send(w->a, bytes, sizeof(*header) + n, fds, n_fds, 0) > 0);
	free(bytes);
}

static void check_header(struct world *w, const struct slot_reply *header, int expected)
{
	memset(&w->reply, 0x55, sizeof(w->reply));
	send_raw(w, header, sound_parts, 6, NULL, 0);
	assert_int_equal(receive_reply(w), expected);
	if (expected == 1)
		slot_message_done(&w->m);
	else
		assert_int_equal(w->reply.magic, 0x55555555);
}

#define CHECK_FIELD(field, value, expected)                                                        \
	do {                                                                                       \
		struct slot_reply h_ = sound;                                                      \
		h_.field = (value);                                                                \
		check_header(w, &h_, expected);                                                    \
	} while (0)

/* Each number at its edges. */
static void test_numbers(void **state)
{
	struct world *w = *state;
	struct slot_reply stuck = sound;

	check_header(w, &sound, 1);
	CHECK_FIELD(magic, SLOT_MAGIC + 1, -EBADMSG);
	CHECK_FIELD(op, 0, -EBADMSG);
	CHECK_FIELD(op, SLOT_ARTIFACT_UNPACK, 1);
	CHECK_FIELD(op, SLOT_N_OPS, -EBADMSG);
	CHECK_FIELD(op, UINT32_MAX, -EBADMSG);
	CHECK_FIELD(flags, SLOT_KEEP, -EBADMSG);
	CHECK_FIELD(flags, UINT32_C(1) << 31, -EBADMSG);
	CHECK_FIELD(verdict, TR_UNKNOWN, 1);
	CHECK_FIELD(verdict, TR_N_VERDICTS, -EBADMSG);
	CHECK_FIELD(verdict, UINT32_MAX, -EBADMSG);
	CHECK_FIELD(exit_code, -1, 1);
	CHECK_FIELD(exit_code, -2, -EBADMSG);
	CHECK_FIELD(exit_code, 255, 1);
	CHECK_FIELD(exit_code, 256, -EBADMSG);
	CHECK_FIELD(signal, -1, -EBADMSG);
	CHECK_FIELD(signal, 65, -EBADMSG);
	CHECK_FIELD(n_killed, UINT32_MAX, -EBADMSG);
	CHECK_FIELD(n_left, 1, -EBADMSG);
	stuck.n_left = 1;
	stuck.flags = SLOT_STUCK;
	check_header(w, &stuck, 1);
	CHECK_FIELD(had_zygote, 3, -EBADMSG);
	CHECK_FIELD(started_ns, 1, -EBADMSG); /* it ended before */
}

/* Sizes of parts that do not add up to what came, one of them only in 64 bits. */
static void test_sizes(void **state)
{
	struct world *w = *state;

	CHECK_FIELD(n[SLOT_OUTPUT], 3, -EBADMSG);
	CHECK_FIELD(n[SLOT_OUTPUT], 5, -EBADMSG);
	CHECK_FIELD(n[SLOT_OUTPUT], UINT64_MAX, -EBADMSG);
	CHECK_FIELD(n[SLOT_STDERR], 1, -EBADMSG);
	for (size_t i = 0; i < SLOT_N_REPLY_PARTS; i++) {
		struct slot_reply h = sound;

		h.op = SLOT_EXEC;
		h.n[i] += UINT64_C(1) << 63;
		h.n[(i + 1) % SLOT_N_REPLY_PARTS] += UINT64_C(1) << 63;
		check_header(w, &h, -EBADMSG);
	}
	/* stderr apart is for exec alone */
	struct slot_reply h = {.magic = SLOT_MAGIC, .op = SLOT_BASH, .n = {[SLOT_STDERR] = 6}};
	check_header(w, &h, -EBADMSG);
	h.op = SLOT_EXEC;
	check_header(w, &h, 1);
}

/* Texts that are no UTF-8, but raw output may be anything; an error of any size is no error. */
static void test_texts(void **state)
{
	struct world *w = *state;
	size_t n = SLOT_TEXT_MAX + 1;
	uint8_t *bytes = filled(n, 'e');

	for (size_t i = 0; i < SLOT_N_REPLY_PARTS; i++) {
		struct slot_reply h = {.magic = SLOT_MAGIC, .op = SLOT_READ_FILE};
		bool raw = i == SLOT_OUTPUT || i == SLOT_STDERR;

		h.n[i] = 2;
		send_raw(w, &h, "\xc3(", 2, NULL, 0);
		assert_int_equal(receive_reply(w), -EBADMSG);
		h.op = SLOT_EXEC;
		send_raw(w, &h, "\xc3(", 2, NULL, 0);
		assert_int_equal(receive_reply(w), raw ? 1 : -EBADMSG);
		h.n[i] = n;
		send_raw(w, &h, bytes, n, NULL, 0);
		assert_int_equal(receive_reply(w), raw ? 1 : -EBADMSG);
		h.n[i] = n - 1;
		send_raw(w, &h, bytes, n - 1, NULL, 0);
		assert_int_equal(receive_reply(w), 1);
	}
	free(bytes);
}

/* Messages of any length: shorter than a header, and longer than the buffer. */
static void test_lengths(void **state)
{
	struct world *w = *state;
	size_t n = SLOT_MESSAGE_MAX + 1;
	uint8_t *bytes = filled(n, 0);

	memcpy(bytes, &sound, sizeof(sound));
	for (size_t i = 1; i < sizeof(sound); i++) {
		assert_int_equal(send(w->a, bytes, i, 0), (ssize_t)i);
		assert_int_equal(receive_reply(w), -EBADMSG);
	}
	assert_int_equal(send(w->a, bytes, n, 0), (ssize_t)n);
	assert_int_equal(receive_reply(w), -EBADMSG);
	check_header(w, &sound, 1);
	free(bytes);
}

/* ---- hostile files ----------------------------------------------------------------------------- */

static int memory_file(const char *content, size_t n, int seals)
{
	int fd = memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, n), (ssize_t)n);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* The descriptors are closed here. */
static void check_files(struct world *w, uint32_t flags, const int *fds, size_t n_fds, int expected)
{
	struct slot_reply h = sound;

	h.flags = flags;
	send_raw(w, &h, sound_parts, flags & SLOT_IN_FILE ? 0 : 6, fds, n_fds);
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
	assert_int_equal(receive_reply(w), expected);
	if (expected == 1) {
		assert_true(span_is(w->got[SLOT_OUTPUT], "text"));
		assert_true(span_is(w->got[SLOT_ERROR], "no"));
		slot_message_done(&w->m);
	}
}

/* No file, several, or one that nobody announced. */
static void test_number_of_files(void **state)
{
	struct world *w = *state;

	for (size_t n = 0; n <= FDPASS_MAX; n++) {
		int fds[FDPASS_MAX] = {0};

		for (size_t in_file = 0; in_file < 2; in_file++) {
			for (size_t i = 0; i < n; i++)
				fds[i] = memory_file("textno", 6, SEALS);
			check_files(w, in_file ? SLOT_IN_FILE : 0, fds, n,
				    n == in_file ? 1 : -EBADMSG);
		}
	}
	assert_int_equal(n_open(), w->n_open);
}

/* A file that could change or is not as long as it should be. */
static void test_seals_and_size(void **state)
{
	struct world *w = *state;
	int fd;

	for (int seals = 0; seals < 16; seals++) {
		fd = memory_file("textno", 6, seals);
		check_files(w, SLOT_IN_FILE, &fd, 1, (seals & SEALS) == SEALS ? 1 : -EBADMSG);
	}
	for (size_t n = 0; n <= 6; n++) {
		fd = memory_file("textno", n, SEALS);
		check_files(w, SLOT_IN_FILE, &fd, 1, n == 6 ? 1 : -EBADMSG);
	}
	fd = memory_file("textno\0", 7, SEALS);
	check_files(w, SLOT_IN_FILE, &fd, 1, -EBADMSG);
}

/* What is not a file of memory, and one with a hole, which would cost the reader memory. */
static void test_kinds_of_files(void **state)
{
	static const char *const paths[] = {"/dev/null", "/", "/proc/self/status"};
	struct world *w = *state;
	struct slot_reply h = sound;
	int fd, pair[2];

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		fd = open(paths[i], O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		check_files(w, SLOT_IN_FILE, &fd, 1, -EBADMSG);
	}
	assert_int_equal(pipe(pair), 0);
	check_files(w, SLOT_IN_FILE, &pair[0], 1, -EBADMSG);
	close(pair[1]);
	for (size_t hole = 0; hole < 2; hole++) {
		fd = memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		assert_true(fd >= 0);
		h.flags = SLOT_IN_FILE;
		h.n[SLOT_OUTPUT] = (1 << 20) - 2;
		assert_int_equal(ftruncate(fd, 1 << 20), 0);
		for (off_t at = hole ? 4096 : 0; at < 1 << 20; at += 4096)
			assert_int_equal(pwrite(fd, "a", 1, at), 1);
		assert_int_equal(fcntl(fd, F_ADD_SEALS, SEALS), 0);
		send_raw(w, &h, NULL, 0, &fd, 1);
		close(fd);
		assert_int_equal(receive_reply(w), hole ? -EBADMSG : 1);
		if (!hole)
			slot_message_done(&w->m);
	}
}

/* A request's strings are each ended, so that nobody runs past them; its flags and op are known. */
static void test_requests(void **state)
{
	struct world *w = *state;
	struct slot_request request = {.op = SLOT_EXEC};

	for (size_t i = 0; i < SLOT_N_REQUEST_PARTS; i++) {
		struct span parts[SLOT_N_REQUEST_PARTS] = {{.n = 0}};
		bool strings = i == SLOT_ARGV || i == SLOT_ENV;

		parts[i] = span_of("a\0b", 3);
		assert_int_equal(slot_request_send(w->a, &request, parts, 0), 0);
		assert_int_equal(receive_request(w), strings ? -EBADMSG : 1);
		parts[i].n = 2;
		assert_int_equal(slot_request_send(w->a, &request, parts, 0), 0);
		assert_int_equal(receive_request(w), 1);
		slot_message_done(&w->m);
		request.flags = SLOT_STUCK;
		assert_int_equal(slot_request_send(w->a, &request, parts, 0), 0);
		assert_int_equal(receive_request(w), -EBADMSG);
		request.flags = 0;
		request.op = SLOT_N_OPS;
		assert_int_equal(slot_request_send(w->a, &request, parts, 0), 0);
		assert_int_equal(receive_request(w), -EBADMSG);
		request.op = SLOT_EXEC;
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_request_small),  TEST(test_reply_small),
		TEST(test_inline_or_file), TEST(test_large),
		TEST(test_full_and_gone),  TEST(test_numbers),
		TEST(test_sizes),          TEST(test_texts),
		TEST(test_lengths),        TEST(test_number_of_files),
		TEST(test_seals_and_size), TEST(test_kinds_of_files),
		TEST(test_requests),       TEST(test_file_of_ones_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
