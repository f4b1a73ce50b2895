/* SPDX-License-Identifier: Apache-2.0 */
/* Making and mapping segments: a client maps what an executor made, and nothing malformed. */
#include "pair.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/guard.h"
#include "shm/segment.h"

static const struct segment_sizes sizes = {
	.submission_bytes = 8192,
	.completion_bytes = 16384,
	.n_calls = 64,
};

static const struct segment_identity identity = {
	.features = 0,
	.session_id = 0x1234567890,
	.generation = 3,
	.executor_pid = 77,
	.call_bytes_max = 1 << 20,
	.result_bytes_max = 1 << 21,
};

static char prefix[64];

static int set_prefix(void **state)
{
	(void)state;
	snprintf(prefix, sizeof(prefix), "toolring-test-%d-", (int)getpid());
	return 0;
}

static unsigned n_names(const char *begin)
{
	struct dirent *e;
	DIR *d = opendir("/dev/shm");
	unsigned n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += strncmp(e->d_name, begin, strlen(begin)) == 0;
	closedir(d);
	return n;
}

static void create(struct segment *s)
{
	assert_int_equal(segment_create(s, prefix, &sizes, &identity), 0);
}

/* Maps it as the client, over a descriptor of its own. */
static int map(struct segment *client, const struct segment *executor)
{
	int fd = fcntl(executor->fd, F_DUPFD_CLOEXEC, 0);

	assert_true(fd >= 0);
	return segment_map(client, fd, executor->bytes);
}

static void send_one(struct ring_tx *tx, struct ring_rx *rx, uint64_t id)
{
	struct ring_record record = {0};

	assert_int_equal(ring_tx_put(tx, TR_KIND_PING, 0, id, NULL, 0, "payload", 7), 1);
	ring_tx_publish(tx);
	assert_int_equal(ring_rx_next(rx, &record), 1);
	assert_int_equal(record.call_id, id);
	ring_rx_consume(rx, &record);
	ring_rx_release(rx);
	assert_int_equal(ring_tx_refresh(tx), 0);
}

/* What the executor wrote is what the client reads, and records go both ways, laps on end. */
static void test_round_trip(void **state)
{
	struct ring_tx client_tx, executor_tx;
	struct ring_rx client_rx, executor_rx;
	struct segment executor, client;

	(void)state;
	create(&executor);
	assert_int_equal(map(&client, &executor), 0);
	assert_int_equal(client.sizes.submission_bytes, sizes.submission_bytes);
	assert_int_equal(client.sizes.completion_bytes, sizes.completion_bytes);
	assert_int_equal(client.sizes.n_calls, sizes.n_calls);
	assert_int_equal(client.call_bytes_max, identity.call_bytes_max);
	assert_int_equal(client.result_bytes_max, identity.result_bytes_max);
	assert_int_equal(client.session_id, identity.session_id);
	assert_int_equal(client.generation, identity.generation);
	assert_ptr_not_equal(client.base, executor.base);

	segment_client_rings(&client, &client_tx, &client_rx);
	segment_executor_rings(&executor, &executor_tx, &executor_rx);
	assert_int_equal(client_tx.bytes, sizes.submission_bytes);
	assert_int_equal(client_rx.bytes, sizes.completion_bytes);
	assert_int_equal(executor_tx.bytes, sizes.completion_bytes);
	assert_int_equal(executor_rx.bytes, sizes.submission_bytes);
	for (uint64_t id = 1; id < 2000; id++) {
		send_one(&client_tx, &executor_rx, id);
		send_one(&executor_tx, &client_rx, id);
	}
	for (uint32_t i = 0; i < sizes.n_calls; i++)
		executor.calls[i] = i + 1;
	for (uint32_t i = 0; i < sizes.n_calls; i++)
		assert_int_equal(client.calls[i], i + 1);
	segment_deinit(&client);
	segment_deinit(&executor);
	assert_int_equal(executor.fd, -1);
	segment_deinit(&executor);
}

/* The object has no name any more, is the owner's alone, closed on exec, and all of it is there. */
static void test_object(void **state)
{
	struct segment s;
	struct stat st;

	(void)state;
	create(&s);
	assert_int_equal(n_names(prefix), 0);
	assert_int_equal(fstat(s.fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, s.bytes);
	assert_true((uint64_t)st.st_blocks * 512 >= s.bytes);
	assert_int_equal(fcntl(s.fd, F_GETFD), FD_CLOEXEC);
	segment_deinit(&s);
}

/* A name that cannot be made is an error, and nothing is left of the attempt. */
static void test_create_fails(void **state)
{
	char name[300];
	struct segment s;

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	assert_int_equal(segment_create(&s, name, &sizes, &identity), -ENAMETOOLONG);
	assert_null(s.base);
	assert_int_equal(s.fd, -1);
	assert_true(segment_create(&s, "a/b", &sizes, &identity) < 0);
	assert_null(s.base);
}

struct field {
	const char *name;
	size_t offset;
	size_t bytes;
	bool is_checked; /* some values are refused */
};

#define FIELD(name, checked)                                                                       \
	{                                                                                          \
#name, offsetof(struct tr_segment, name), sizeof(((struct tr_segment *)0)->name),  \
			checked                                                                    \
	}

static const struct field fields[] = {
	FIELD(magic, true),
	FIELD(layout_version, true),
	FIELD(header_bytes, true),
	FIELD(segment_bytes, true),
	FIELD(features, false),
	FIELD(session_id, false),
	FIELD(generation, false),
	FIELD(submission.offset, true),
	FIELD(submission.bytes, true),
	FIELD(completion.offset, true),
	FIELD(completion.bytes, true),
	FIELD(calls_offset, true),
	FIELD(n_calls, true),
	FIELD(executor_pid, false),
	FIELD(call_bytes_max, true),
	FIELD(result_bytes_max, true),
};

/* Reads the ends of all that the mapped segment says it has. */
static void touch(const struct segment *s)
{
	const volatile uint8_t *base = (const uint8_t *)s->base;
	const volatile uint64_t *calls = s->calls;

	(void)base[s->submission_offset];
	(void)base[s->submission_offset + s->sizes.submission_bytes - 1];
	(void)base[s->completion_offset];
	(void)base[s->completion_offset + s->sizes.completion_bytes - 1];
	(void)calls[0];
	(void)calls[s->sizes.n_calls - 1];
}

/* Puts a value into a field; true if the segment is then refused. */
static bool is_refused(struct segment *executor, const struct field *f, uint64_t value)
{
	uint8_t *at = (uint8_t *)executor->base + f->offset;
	struct segment client;
	uint64_t good = 0;
	int r;

	memcpy(&good, at, f->bytes);
	memcpy(at, &value, f->bytes);
	r = map(&client, executor);
	memcpy(at, &good, f->bytes);
	assert_true(r == 0 || r == -EPROTO);
	if (r == 0)
		touch(&client);
	else
		assert_null(client.base);
	segment_deinit(&client);
	return r < 0;
}

/*
 * Each field of the header with each value that is near a limit or random: either refused, or all
 * that the client would use lies inside the segment.
 */
static void test_every_field(void **state)
{
	uint64_t seed = 0x13198a2e03707344;
	struct segment s;

	(void)state;
	create(&s);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const struct field *f = &fields[i];
		unsigned n_refused = 0;
		uint64_t good = 0;

		memcpy(&good, (uint8_t *)s.base + f->offset, f->bytes);
		for (unsigned bit = 0; bit < 64; bit++)
			for (uint64_t add = 0; add < 3; add++)
				n_refused += is_refused(&s, f, (UINT64_C(1) << bit) + add - 1);
		for (uint64_t add = 0; add < 512; add++) {
			n_refused += is_refused(&s, f, good + add - 256);
			n_refused += is_refused(&s, f, s.bytes + add - 256);
			n_refused += is_refused(&s, f, random_next(&seed));
			n_refused += is_refused(&s, f, random_next(&seed) % s.bytes);
		}
		assert_false(is_refused(&s, f, good));
		if (!!n_refused != f->is_checked)
			fail_msg("%s: %u refused", f->name, n_refused);
	}
	segment_deinit(&s);
}

struct bad {
	const char *name;
	uint64_t value;
};

/* The nearest wrong value of each field, by what is wrong. */
static void test_bad_values(void **state)
{
	struct segment s;

	(void)state;
	create(&s);
	{
		const struct bad bads[] = {
			{"magic", TR_MAGIC + 1},
			{"magic", 0},
			{"layout_version", 0}, /* not ready */
			{"layout_version", TR_LAYOUT_VERSION + 1},
			{"header_bytes", sizeof(struct tr_segment) - 1},
			{"segment_bytes", s.bytes - 1},
			{"segment_bytes", s.bytes + 1},
			{"submission.offset", s.bytes}, /* outside */
			{"submission.offset", s.bytes - sizes.submission_bytes + TR_LINE},
			{"submission.offset", s.submission_offset + 8}, /* not on a line */
			{"submission.offset",
			 sizeof(struct tr_segment) - TR_LINE}, /* in the header */
			{"submission.offset", 0},
			{"submission.offset", UINT64_MAX - TR_LINE + 1}, /* would overflow */
			{"submission.bytes", sizes.submission_bytes + 8},
			{"submission.bytes", SEGMENT_RING_MIN / 2},
			{"submission.bytes", 0},
			{"submission.bytes", UINT64_C(1) << 63},
			{"completion.offset", s.bytes},
			{"completion.offset", s.completion_offset + TR_LINE}, /* ends outside */
			{"completion.offset", sizeof(struct tr_segment) - TR_LINE},
			{"completion.bytes", sizes.completion_bytes * 2},
			{"completion.bytes", sizes.completion_bytes - 1},
			{"completion.bytes", 0},
			{"calls_offset", s.bytes},
			{"calls_offset", s.bytes - sizes.n_calls * 8 + 8},
			{"calls_offset", sizeof(struct tr_segment) - 8},
			{"calls_offset", sizeof(struct tr_segment) + 4},
			{"calls_offset", UINT64_MAX - 7},
			{"n_calls", 0},
			{"n_calls", 63},
			{"n_calls", UINT32_C(1) << 31},
			{"call_bytes_max", 0},
			{"result_bytes_max", 0},
		};

		for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
			const struct field *f = fields;

			while (strcmp(f->name, bads[i].name) != 0)
				f++;
			if (!is_refused(&s, f, bads[i].value))
				fail_msg("%s: %llu is taken", f->name,
					 (unsigned long long)bads[i].value);
		}
	}
	segment_deinit(&s);
}

/* What is no segment, or shorter than was said, is refused; the descriptor is closed anyway. */
static void test_bad_descriptors(void **state)
{
	struct segment executor, client;
	int fds[2], fd;

	(void)state;
	create(&executor);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(segment_map(&client, fds[0], executor.bytes), -EPROTO);
	assert_int_equal(fcntl(fds[0], F_GETFD), -1);
	close(fds[1]);

	assert_int_equal(segment_map(&client, -1, executor.bytes), -EBADF);

	fd = fcntl(executor.fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(segment_map(&client, fd, executor.bytes + 4096), -EPROTO);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	fd = fcntl(executor.fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(segment_map(&client, fd, sizeof(struct tr_segment) - 1), -EPROTO);
	fd = fcntl(executor.fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(segment_map(&client, fd, UINT64_MAX), -EPROTO);
	fd = fcntl(executor.fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(segment_map(&client, fd, 0), -EPROTO);
	fd = memfd_create("empty", MFD_CLOEXEC);
	assert_int_equal(segment_map(&client, fd, executor.bytes), -EPROTO);
	fd = memfd_create("zero", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)executor.bytes), 0);
	assert_int_equal(segment_map(&client, fd, executor.bytes), -EPROTO);
	segment_deinit(&executor);
}

static void test_round_up(void **state)
{
	(void)state;
	assert_int_equal(segment_round_up(0), 1);
	assert_int_equal(segment_round_up(1), 1);
	assert_int_equal(segment_round_up(4096), 4096);
	assert_int_equal(segment_round_up(4097), 8192);
	assert_int_equal(segment_round_up(UINT32_C(1) << 31), UINT32_C(1) << 31);
	assert_int_equal(segment_round_up(UINT32_MAX), UINT32_C(1) << 31);
}

/*
 * A client that truncates its segment: the executor reads zeros, learns of it, can go on writing to
 * its mapping, and another client's segment is what it was.
 */
static void test_truncated(void **state)
{
	struct segment s, other;
	struct ring_record record = {0};
	struct ring_tx tx;
	struct ring_rx rx;
	int number, other_number;

	(void)state;
	create(&s);
	create(&other);
	assert_int_equal(guard_init(2), 0);
	number = guard_add(s.base, s.bytes);
	other_number = guard_add(other.base, other.bytes);
	assert_true(number >= 0 && other_number >= 0);
	assert_int_equal(guard_add(s.base, s.bytes), -ENOSPC);
	segment_executor_rings(&s, &tx, &rx);

	assert_int_equal(ftruncate(s.fd, 0), 0);
	assert_false(guard_is_hit(number));
	assert_int_equal(ring_rx_next(&rx, &record), 0);
	assert_int_equal(ring_tx_put(&tx, TR_KIND_PING, 0, 1, NULL, 0, "x", 1), 1);
	ring_tx_publish(&tx);
	assert_true(guard_is_hit(number));
	assert_false(guard_is_hit(other_number));
	assert_int_equal(guard_n_hits(), 1);
	assert_int_equal(other.base->magic, TR_MAGIC);

	guard_remove(number);
	assert_int_equal(guard_add(s.base, s.bytes), number);
	assert_false(guard_is_hit(number));
	guard_deinit();
	segment_deinit(&s);
	segment_deinit(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_object),
		cmocka_unit_test(test_create_fails), cmocka_unit_test(test_every_field),
		cmocka_unit_test(test_bad_values),   cmocka_unit_test(test_bad_descriptors),
		cmocka_unit_test(test_round_up),     cmocka_unit_test(test_truncated),
	};

	return cmocka_run_group_tests_name("segment", tests, set_prefix, NULL);
}
