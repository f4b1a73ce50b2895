/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows who is let in and what the others are told: hellos of other versions, of unknown features, of
 * a wrong shape, too many sessions, users that are not admitted; and the same from the client's side
 * against a server of another version.
 */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define STRANGER 12345

static struct sockaddr_un address_of(const struct world *w)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", w->socket);
	return address;
}

static int raw_connect(const struct world *w)
{
	struct sockaddr_un address = address_of(w);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static struct tr_hello good_hello(void)
{
	return (struct tr_hello){
		.magic = TR_MAGIC,
		.bytes = sizeof(struct tr_hello),
		.layout_version = TR_LAYOUT_VERSION,
		.label = "raw",
	};
}

/* The welcome that n bytes of hello get. */
static struct tr_welcome answer_to(const struct world *w, const void *hello, size_t n)
{
	struct tr_welcome welcome = {0};
	int fd = raw_connect(w);

	assert_int_equal(send(fd, hello, n, MSG_NOSIGNAL), (ssize_t)n);
	assert_int_equal(recv(fd, &welcome, sizeof(welcome), MSG_WAITALL), sizeof(welcome));
	assert_int_equal(welcome.magic, TR_MAGIC);
	assert_int_equal(welcome.bytes, sizeof(welcome));
	assert_int_equal(welcome.layout_version, TR_LAYOUT_VERSION);
	assert_non_null(memchr(welcome.message, 0, sizeof(welcome.message)));
	/* A refusal hangs up, be it with some of the hello unread. */
	if (welcome.status != TR_WELCOME_OK)
		assert_true(recv(fd, &(char){0}, 1, 0) == 0 || errno == ECONNRESET);
	close(fd);
	return welcome;
}

static void refused(const struct world *w, const struct tr_hello *hello, uint32_t as,
		    const char *text)
{
	struct tr_welcome welcome = answer_to(w, hello, sizeof(*hello));

	if (welcome.status != as || !strstr(welcome.message, text))
		print_error("%u: %s\n", welcome.status, welcome.message);
	assert_int_equal(welcome.status, as);
	assert_non_null(strstr(welcome.message, text));
}

/* ---- toolringd's side ----------------------------------------------------------------------------- */

/* Another layout version is refused, naming both; the right one is welcome. */
static void other_version_is_refused(void **state)
{
	static const uint32_t others[] = {0, TR_LAYOUT_VERSION + 1, UINT32_MAX};
	struct world *w = *state;
	struct tr_hello hello = good_hello();
	char text[64];

	world_start(w, NULL);
	for (size_t i = 0; i < 3; i++) {
		hello.layout_version = others[i];
		snprintf(text, sizeof(text), "layout version %u is not spoken here", others[i]);
		refused(w, &hello, TR_WELCOME_VERSION, text);
		refused(w, &hello, TR_WELCOME_VERSION, "speaks 1");
	}
	hello = good_hello();
	assert_int_equal(answer_to(w, &hello, sizeof(hello)).status, TR_WELCOME_OK);
}

/* A feature that is required and not there is refused; one that is only wanted is not agreed on. */
static void features_are_negotiated(void **state)
{
	struct world *w = *state;
	struct tr_hello hello = good_hello();
	struct tr_welcome welcome;

	world_start(w, NULL);
	hello.features_required = UINT64_C(1) << 40;
	refused(w, &hello, TR_WELCOME_FEATURE, "0x10000000000");
	hello = good_hello();
	hello.features_wanted = UINT64_C(1) << 40;
	welcome = answer_to(w, &hello, sizeof(hello));
	assert_int_equal(welcome.status, TR_WELCOME_OK);
	assert_int_equal(welcome.features, 0);
}

/* What is no hello is refused as such. */
static void malformed_hello_is_refused(void **state)
{
	struct world *w = *state;
	struct tr_hello hello = good_hello();

	world_start(w, NULL);
	hello.magic ^= 1;
	refused(w, &hello, TR_WELCOME_MALFORMED, "no hello");
	hello = good_hello();
	hello.bytes = 15;
	refused(w, &hello, TR_WELCOME_MALFORMED, "no hello");
	hello.bytes = 1 << 20;
	refused(w, &hello, TR_WELCOME_MALFORMED, "no hello");
}

/* Sizes over the limit are refused by their name, and the limit by its number. */
static void sizes_are_limited(void **state)
{
	struct world *w = *state;
	struct tr_hello hello = good_hello();

	world_start(w, "--limit", "ring_bytes_max=1048576", NULL);
	hello.submission_bytes = (1 << 20) + 1;
	refused(w, &hello, TR_WELCOME_SIZE, "submission ring");
	hello = good_hello();
	hello.completion_bytes = UINT32_MAX;
	refused(w, &hello, TR_WELCOME_SIZE, "1048576");
	hello = good_hello();
	hello.n_calls = UINT32_MAX;
	refused(w, &hello, TR_WELCOME_SIZE, "table of calls");
	hello = good_hello();
	hello.submission_bytes = hello.completion_bytes = 1 << 20;
	assert_int_equal(answer_to(w, &hello, sizeof(hello)).status, TR_WELCOME_OK);
}

/* A hello may be longer than ours, shorter, and come in pieces. */
static void hello_of_other_lengths(void **state)
{
	struct world *w = *state;
	struct tr_hello hello = good_hello();
	struct tr_welcome welcome;
	uint8_t longer[4096] = {0};
	int fd;

	world_start(w, NULL);
	hello.bytes = sizeof(longer);
	memcpy(longer, &hello, sizeof(hello));
	memset(longer + sizeof(hello), 0xaa, sizeof(longer) - sizeof(hello));
	assert_int_equal(answer_to(w, longer, sizeof(longer)).status, TR_WELCOME_OK);
	hello.bytes = 16;
	assert_int_equal(answer_to(w, &hello, 16).status, TR_WELCOME_OK);
	hello = good_hello();
	fd = raw_connect(w);
	for (size_t i = 0; i < sizeof(hello); i++)
		assert_int_equal(send(fd, (uint8_t *)&hello + i, 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(fd, &welcome, sizeof(welcome), MSG_WAITALL), sizeof(welcome));
	assert_int_equal(welcome.status, TR_WELCOME_OK);
	close(fd);
}

/* Who connects and says nothing, or only half of it, is hung up on. */
static void silent_client_is_hung_up_on(void **state)
{
	struct world *w = *state;
	struct tr_hello hello = good_hello();

	world_start(w, "--limit", "handshake_ms=100", NULL);
	for (size_t n = 0; n < sizeof(hello); n += sizeof(hello) / 2) {
		int fd = raw_connect(w);

		/* On a busy machine the time may be over before this is said, or while nobody reads it. */
		if (send(fd, &hello, n, MSG_NOSIGNAL) < 0)
			assert_int_equal(errno, EPIPE);
		if (recv(fd, &(char){0}, 1, 0) != 0)
			assert_int_equal(errno, ECONNRESET);
		close(fd);
	}
	expect(world_client(w), "a", NULL, TR_OK);
}

static void full(struct world *w, const char *limit, const char *name)
{
	struct tr_client *first, *c = NULL;
	char message[256] = "";
	int r;

	world_start(w, "--limit", limit, NULL);
	world_client(w);
	first = world_client(w);
	assert_int_equal(world_open(w, &c, message, sizeof(message)), -EUSERS);
	assert_non_null(strstr(message, name));
	world_close(w, first);
	/* Until the executor has seen it. */
	while ((r = world_open(w, &c, message, sizeof(message))) == -EUSERS)
		look_again_soon();
	assert_int_equal(r, 0);
	tr_close(c);
}

/* Only so many sessions are let in; when one ends there is room again. */
static void sessions_max(void **state)
{
	full(*state, "sessions_max=2", "sessions_max");
}

static void sessions_per_uid_max(void **state)
{
	full(*state, "sessions_per_uid_max=2", "sessions_per_uid_max");
}

/* ---- users ---------------------------------------------------------------------------------------- */

/* As another user: 0 if a call works, 1 if we are not admitted, 2 otherwise; the message on error. */
static int try_as(struct world *w, uid_t uid, char *message, size_t n)
{
	int to[2], status;
	pid_t pid;

	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	pid = world_fork(w);
	if (pid == 0) {
		char text[256] = "";
		struct tr_client *c = NULL;
		int r;

		if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 ||
		    setresuid(uid, uid, uid) < 0)
			_exit(2);
		r = world_open(w, &c, text, sizeof(text));
		if (r == 0)
			r = tr_ping(c, LONG_MS, NULL);
		tr_close(c);
		if (write(to[1], text, strlen(text)) < 0)
			_exit(2);
		_exit(r == 0 ? 0 : r == -EACCES ? 1 : 2);
	}
	close(to[1]);
	memset(message, 0, n);
	status = world_wait_child(w, pid);
	assert_true(read(to[0], message, n - 1) >= 0);
	close(to[0]);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Another user is not admitted unless named: here the socket itself keeps him out. */
static void stranger_is_kept_out(void **state)
{
	struct world *w = *state;
	char message[256];

	if (geteuid() != 0)
		skip();
	world_start(w, NULL);
	assert_int_equal(try_as(w, STRANGER, message, sizeof(message)), 1);
	expect(world_client(w), "a", NULL, TR_OK);
}

/* The twin: named, he is; and whoever is not named is told who could let him in. */
static void named_user_is_let_in(void **state)
{
	struct world *w = *state;
	char message[256];

	if (geteuid() != 0)
		skip();
	world_start(w, "--allow-uid", "0,12345", NULL);
	assert_int_equal(try_as(w, STRANGER, message, sizeof(message)), 0);
	assert_int_equal(try_as(w, STRANGER + 1, message, sizeof(message)), 1);
	assert_non_null(strstr(message, "uid 12346 is not admitted"));
	assert_non_null(strstr(message, "--allow-uid"));
	expect(world_client(w), "a", NULL, TR_OK);
}

/* Not even the user that started toolringd, if only others are named. */
static void own_user_can_be_left_out(void **state)
{
	struct world *w = *state;
	struct tr_client *c = NULL;
	char message[256] = "";

	world_start(w, "--allow-uid", "12345", NULL);
	assert_int_equal(world_open(w, &c, message, sizeof(message)), -EACCES);
	assert_non_null(strstr(message, "is not admitted"));
}

/* Two users' trajectories of the same id are two. */
static void trajectories_belong_to_their_user(void **state)
{
	struct world *w = *state;
	struct tr_client *c;
	char mine[64], theirs[64] = "";
	int to[2];
	pid_t pid;

	if (geteuid() != 0)
		skip();
	world_start(w, "--allow-uid", "0,12345", NULL);
	c = world_client(w);
	snprintf(mine, sizeof(mine), "%s", slot_of(c, "a", NULL));
	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	pid = world_fork(w);
	if (pid == 0) {
		struct tr_result result = {0};
		struct tr_client *own;

		if (setgroups(0, NULL) < 0 || setresgid(STRANGER, STRANGER, STRANGER) < 0 ||
		    setresuid(STRANGER, STRANGER, STRANGER) < 0 ||
		    world_open(w, &own, NULL, 0) < 0 ||
		    tr_acquire(own, "a", NULL, &result, LONG_MS) < 0 ||
		    write(to[1], result.slot_id.data, result.slot_id.n) < 0)
			_exit(2);
		_exit(0);
	}
	assert_int_equal(world_wait_child(w, pid), 0);
	assert_true(read(to[0], theirs, sizeof(theirs) - 1) > 0);
	assert_string_not_equal(theirs, mine);
	close(to[0]);
	close(to[1]);
}

/* ---- the client's side ---------------------------------------------------------------------------- */

static _Noreturn void serve(int listener, const struct tr_welcome *welcome, size_t n)
{
	for (;;) {
		struct tr_hello hello;
		int fd = accept(listener, NULL, NULL);

		if (fd < 0 || recv(fd, &hello, sizeof(hello), MSG_WAITALL) < 0 ||
		    send(fd, welcome, n, MSG_NOSIGNAL) < 0)
			_exit(1);
		close(fd);
	}
}

/* A server of another version, even if only the start of its welcome is as ours, is told apart. */
static void server_of_another_version(void **state)
{
	struct world *w = *state;
	struct tr_welcome welcome = {
		.magic = TR_MAGIC,
		.bytes = 16,
		.layout_version = TR_LAYOUT_VERSION + 1,
	};
	struct sockaddr_un address;
	struct tr_client *c = NULL;
	char message[256] = "";
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	world_place(w);
	address = address_of(w);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 8), 0);
	if (world_fork(w) == 0)
		serve(listener, &welcome, welcome.bytes);
	assert_int_equal(world_open(w, &c, message, sizeof(message)), -EPROTONOSUPPORT);
	assert_non_null(strstr(message, "layout version 2"));
	assert_non_null(strstr(message, "this library 1"));
	assert_null(c);
	close(listener);
	w->forsaken = true;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		world_test(other_version_is_refused),
		world_test(features_are_negotiated),
		world_test(malformed_hello_is_refused),
		world_test(sizes_are_limited),
		world_test(hello_of_other_lengths),
		world_test(silent_client_is_hung_up_on),
		world_test(sessions_max),
		world_test(sessions_per_uid_max),
		world_test(stranger_is_kept_out),
		world_test(named_user_is_let_in),
		world_test(own_user_can_be_left_out),
		world_test(trajectories_belong_to_their_user),
		world_test(server_of_another_version),
	};

	world_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
