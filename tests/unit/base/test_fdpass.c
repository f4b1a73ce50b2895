/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors over a socket: all arrive, in order, close-on-exec; too many are closed, no leak. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdpass.h"

struct ends {
	int a, b;
};

static void ends_open(struct ends *e, int type)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
	e->a = pair[0];
	e->b = pair[1];
}

static void ends_close(struct ends *e)
{
	close(e->a);
	close(e->b);
}

/* Open descriptors of this process, among the first of them. */
static unsigned n_open(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static ino_t inode(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static void files_open(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fds[i] = memfd_create("file", 0);
		assert_true(fds[i] >= 0);
	}
}

static void files_close(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

/* Every number of descriptors that is allowed, over both kinds of socket. */
static void test_round_trip(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
	unsigned before = n_open();

	(void)state;
	for (size_t t = 0; t < 2; t++) {
		for (size_t n = 0; n <= FDPASS_MAX; n++) {
			int sent[FDPASS_MAX], got[FDPASS_MAX];
			struct ends e;
			char text[16];

			ends_open(&e, types[t]);
			files_open(sent, n);
			assert_int_equal(fdpass_send(e.a, "hello", 5, sent, n, 0), 5);
			assert_int_equal(fdpass_receive(e.b, text, sizeof(text), got, 0), 5);
			assert_memory_equal(text, "hello", 5);
			for (size_t i = 0; i < n; i++) {
				assert_int_equal(inode(got[i]), inode(sent[i]));
				assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
			}
			for (size_t i = n; i < FDPASS_MAX; i++)
				assert_int_equal(got[i], -1);
			files_close(sent, n);
			files_close(got, n);
			ends_close(&e);
		}
	}
	assert_int_equal(n_open(), before);
}

/* More descriptors than there is room for: an error, and none of them stays open. */
static void test_too_many(void **state)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE((FDPASS_MAX + 3) * sizeof(int))];
	} control;
	char x = 'x';
	struct iovec io = {.iov_base = &x, .iov_len = 1};
	struct msghdr m = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.space),
	};
	int sent[FDPASS_MAX + 3], got[FDPASS_MAX];
	struct ends e;
	unsigned before;
	char text[16];

	(void)state;
	ends_open(&e, SOCK_STREAM);
	files_open(sent, FDPASS_MAX + 3);
	assert_int_equal(fdpass_send(e.a, "x", 1, sent, FDPASS_MAX + 1, 0), -EINVAL);
	memset(&control, 0, sizeof(control));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(sent));
	memcpy(CMSG_DATA(&control.header), sent, sizeof(sent));
	assert_int_equal(sendmsg(e.a, &m, 0), 1);
	before = n_open();
	assert_int_equal(fdpass_receive(e.b, text, sizeof(text), got, 0), -EMSGSIZE);
	assert_int_equal(n_open(), before);
	for (size_t i = 0; i < FDPASS_MAX; i++)
		assert_int_equal(got[i], -1);
	files_close(sent, FDPASS_MAX + 3);
	ends_close(&e);
}

/* Bytes that came before the descriptors do not carry them; those after do not either. */
static void test_with_the_first_byte(void **state)
{
	int sent, got[FDPASS_MAX];
	struct ends e;
	char text[16];

	(void)state;
	ends_open(&e, SOCK_STREAM);
	files_open(&sent, 1);
	assert_int_equal(fdpass_send(e.a, "plain", 5, NULL, 0, 0), 5);
	assert_int_equal(fdpass_send(e.a, "with", 4, &sent, 1, 0), 4);
	assert_int_equal(fdpass_receive(e.b, text, 5, got, 0), 5);
	assert_int_equal(got[0], -1);
	assert_int_equal(fdpass_receive(e.b, text, 1, got, 0), 1);
	assert_true(got[0] >= 0);
	close(got[0]);
	assert_int_equal(fdpass_receive(e.b, text, sizeof(text), got, 0), 3);
	assert_int_equal(got[0], -1);
	files_close(&sent, 1);
	ends_close(&e);
}

/* The end of the stream is 0; an empty, a closed and a bad socket are errors, not signals. */
static void test_ends_and_errors(void **state)
{
	int got[FDPASS_MAX];
	struct ends e;
	char text[16];

	(void)state;
	ends_open(&e, SOCK_STREAM);
	assert_int_equal(fdpass_receive(e.b, text, sizeof(text), got, MSG_DONTWAIT), -EAGAIN);
	close(e.a);
	assert_int_equal(fdpass_receive(e.b, text, sizeof(text), got, 0), 0);
	assert_int_equal(got[0], -1);
	assert_int_equal(fdpass_send(e.b, "x", 1, NULL, 0, 0), -EPIPE);
	close(e.b);
	assert_int_equal(fdpass_send(-1, "x", 1, NULL, 0, 0), -EBADF);
	assert_int_equal(fdpass_receive(-1, text, sizeof(text), got, 0), -EBADF);
	assert_int_equal(got[0], -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_with_the_first_byte),
		cmocka_unit_test(test_ends_and_errors),
	};

	return cmocka_run_group_tests_name("fdpass", tests, NULL, NULL);
}
