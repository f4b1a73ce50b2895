/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdpass.h"

/* A listener that answers every hello with the same bytes and hangs up, or stays silent. */
struct script {
	struct peer *peer;
	const void *answer;
	size_t n;
	bool silent;
};

static void *script_main(void *data)
{
	struct script *s = data;
	struct tr_hello hello;
	char byte;
	int fd = accept(s->peer->listener, NULL, NULL);

	assert_int_equal(recv(fd, &hello, sizeof(hello), MSG_WAITALL), sizeof(hello));
	if (s->n)
		send(fd, s->answer, s->n, MSG_NOSIGNAL);
	if (s->silent)
		recv(fd, &byte, 1, 0); /* until the client gives up */
	close(fd);
	return NULL;
}

/* Opens against a scripted answer; message gets the words. */
static int open_scripted(struct peer *p, const void *answer, size_t n, bool silent, char *message)
{
	struct script s = {.peer = p, .answer = answer, .n = n, .silent = silent};
	struct tr_options o = {
		.size = sizeof(o),
		.name = p->path,
		.open_timeout_ms = silent ? 50 : LONG_MS,
		.message = message,
		.n_message = 256,
	};
	struct tr_client *c = NULL;
	pthread_t thread;
	int r;

	peer_listen(p);
	pthread_create(&thread, NULL, script_main, &s);
	r = tr_open_with(&c, &o);
	pthread_join(thread, NULL);
	close(p->listener);
	p->listener = -1;
	assert_null(c);
	return r;
}

/* Every refusal has its errno, and its words come through, made printable. */
static void test_refusals(void **state)
{
	static const struct {
		uint32_t status;
		int error;
	} cases[] = {
		{TR_WELCOME_VERSION, -EPROTONOSUPPORT},
		{TR_WELCOME_FEATURE, -EPROTONOSUPPORT},
		{TR_WELCOME_FORBIDDEN, -EACCES},
		{TR_WELCOME_FULL, -EUSERS},
		{TR_WELCOME_SIZE, -E2BIG},
		{TR_WELCOME_MALFORMED, -EPROTO},
		{TR_WELCOME_STOPPING, -ESHUTDOWN},
		{TR_WELCOME_NO_MEMORY, -ENOMEM},
		{99, -EPROTO},
	};
	struct fixture *f = *state;
	char message[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct tr_welcome w = {
			.magic = TR_MAGIC,
			.bytes = sizeof(w),
			.layout_version = TR_LAYOUT_VERSION,
			.status = cases[i].status,
			.message = "because\n\033[1m",
		};

		assert_int_equal(open_scripted(&f->peer, &w, sizeof(w), false, message),
				 cases[i].error);
		assert_non_null(strstr(message, "refused: because??[1m"));
	}
}

/* What answers wrongly is named: another version, another program, half an answer, none. */
static void test_bad_welcomes(void **state)
{
	struct fixture *f = *state;
	struct tr_welcome w = {
		.magic = TR_MAGIC,
		.bytes = sizeof(w),
		.layout_version = TR_LAYOUT_VERSION + 1,
	};
	char message[256];

	/* Of another version only the first 16 bytes are known. */
	assert_int_equal(open_scripted(&f->peer, &w, 16, false, message), -EPROTONOSUPPORT);
	assert_non_null(strstr(message, "layout version 2"));
	w.layout_version = TR_LAYOUT_VERSION;
	assert_int_equal(open_scripted(&f->peer, &w, sizeof(w), false, message), -EPROTO);
	assert_non_null(strstr(message, "descriptors"));
	assert_int_equal(open_scripted(&f->peer, &w, 100, false, message), -EPROTO);
	assert_int_equal(open_scripted(&f->peer, &w, 0, false, message), -ECONNREFUSED);
	assert_int_equal(open_scripted(&f->peer, &w, 0, true, message), -ETIMEDOUT);
	assert_int_equal(open_scripted(&f->peer, &w, 100, true, message), -ETIMEDOUT);
	w.bytes = 20;
	assert_int_equal(open_scripted(&f->peer, &w, sizeof(w), false, message), -EPROTO);
	w.bytes = UINT32_MAX;
	assert_int_equal(open_scripted(&f->peer, &w, sizeof(w), false, message), -EPROTO);
	assert_int_equal(
		open_scripted(&f->peer, "HTTP/1.1 400 Bad Request\r\n\r\n", 28, false, message),
		-EPROTO);
	assert_non_null(strstr(message, "no toolringd"));
}

/* Nobody there: the error and the words say so. */
static void test_nobody(void **state)
{
	struct fixture *f = *state;
	char message[256];
	struct tr_options o = {
		.name = f->peer.path,
		.message = message,
		.n_message = sizeof(message),
	};
	struct tr_client *c;

	assert_int_equal(tr_open_with(&c, &o), -ENOENT);
	assert_non_null(strstr(message, "is it running?"));
	close(peer_listen(&f->peer));
	f->peer.listener = -1;
	assert_int_equal(tr_open_with(&c, &o), -ECONNREFUSED);
	assert_non_null(strstr(message, "is it running?"));
	unlink(f->peer.path);
}

/* The path comes from the name, the environment and the default, in this order. */
static void test_place(void **state)
{
	struct fixture *f = *state;
	char message[256], directory[100], path[200], long_name[200];
	struct tr_options o = {.size = sizeof(o), .message = message, .n_message = sizeof(message)};
	struct tr_client *c;

	setenv("XDG_RUNTIME_DIR", f->peer.directory, 1);
	unsetenv("TOOLRING_NAME");
	assert_int_equal(tr_open_with(&c, &o), -ENOENT);
	assert_non_null(strstr(message, "/toolring/default.sock"));
	setenv("TOOLRING_NAME", "other", 1);
	assert_int_equal(tr_open_with(&c, &o), -ENOENT);
	assert_non_null(strstr(message, "/toolring/other.sock"));
	setenv("TOOLRING_NAME", "", 1);
	assert_int_equal(tr_open_with(&c, &o), -EINVAL);
	memset(long_name, 'x', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = 0;
	o.name = long_name;
	assert_int_equal(tr_open_with(&c, &o), -ENAMETOOLONG);

	snprintf(directory, sizeof(directory), "%s/toolring", f->peer.directory);
	snprintf(path, sizeof(path), "%s/mine.sock", directory);
	assert_int_equal(mkdir(directory, 0700), 0);
	peer_start(&f->peer);
	assert_int_equal(rename(f->peer.path, path), 0);
	assert_int_equal(tr_open(&c, "mine"), 0);
	assert_int_equal(tr_ping(c, LONG_MS, NULL), 0);
	tr_close(c);
	unlink(path);
	rmdir(directory);
	unsetenv("XDG_RUNTIME_DIR");
	unsetenv("TOOLRING_NAME");
}

/* Options: sizes of older and newer callers, unknown flags, a label too long. */
static void test_options(void **state)
{
	struct fixture *f = *state;
	struct {
		struct tr_options o;
		uint64_t newer;
	} big = {.o = {.size = sizeof(big), .name = f->peer.path}};
	struct tr_client *c;

	peer_start(&f->peer);
	assert_int_equal(tr_open_with(&c, &big.o), 0);
	tr_close(c);
	big.newer = 1;
	assert_int_equal(tr_open_with(&c, &big.o), -EINVAL);
	big.o.size = 8;
	assert_int_equal(tr_open_with(&c, &big.o), -EINVAL);
	big.o.size = 0;
	big.o.flags = 1u << 31;
	assert_int_equal(tr_open_with(&c, &big.o), -EINVAL);
	big.o.flags = TR_OPEN_IN_PLACE << 1;
	assert_int_equal(tr_open_with(&c, &big.o), -EINVAL);
	big.o.flags = TR_OPEN_RESUBMIT | TR_OPEN_NO_RECONNECT | TR_OPEN_IN_PLACE;
	assert_int_equal(tr_open_with(&c, &big.o), 0);
	tr_close(c);
	big.o.flags = 0;
	big.o.label = "12345678901234567890123456789012";
	assert_int_equal(tr_open_with(&c, &big.o), -EINVAL);
	big.o.label = "1234567890123456789012345678901";
	assert_int_equal(tr_open_with(&c, &big.o), 0);
	tr_close(c);
	assert_int_equal(tr_open_with(NULL, &big.o), -EINVAL);
}

/* A result over the caller's limit ends the session; one within it does not. */
static void test_result_limit(void **state)
{
	struct fixture *f = *state;
	struct tr_options o = {.name = f->peer.path, .result_bytes_max = 200000};
	struct tr_call call = call_of("big", "199000");
	struct tr_result r = {0};
	struct tr_client *c;

	peer_start(&f->peer);
	assert_int_equal(tr_open_with(&c, &o), 0);
	assert_int_equal(tr_call_wait(c, &call, &r, LONG_MS), 0);
	assert_int_equal(r.verdict, TR_OK);
	call.uniq_id = "200000";
	assert_int_equal(tr_call_wait(c, &call, &r, LONG_MS), 0);
	assert_int_equal(r.verdict, TR_UNKNOWN);
	tr_result_deinit(&r);
	tr_close(c);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_peer, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_refusals), TEST(test_bad_welcomes), TEST(test_nobody),
		TEST(test_place),    TEST(test_options),      TEST(test_result_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
