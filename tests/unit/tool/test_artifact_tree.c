/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists and archives of trees: their order, what is left out and what is not, their limits, and each
 * thing a guest may put in one's way.
 */
#include "artifact_case.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#define N_MANY 3000

static void make_tree(struct scene *s)
{
	make_folder(s, "x");
	make_folder(s, "x/y");
	make_folder(s, "b");
	put_text(s, "x/1", "1");
	put_text(s, "x/y/2", "22");
	put_text(s, "x.t", "333");
	put_text(s, "a", "");
}

static void test_order(void **state)
{
	struct scene *s = *state;

	check_list(s, ".", true, "");
	check_list(s, ".", false, "");
	check_archive(s, ".", "");
	make_tree(s);
	check_list(s, ".", false, "a=0 b/ x/ x.t=3 ");
	check_list(s, ".", true, "b/ x/ a=0 x.t=3 x/y/ x/1=1 x/y/2=2 ");
	check_list(s, "x", false, "x/1=1 x/y/ ");
	check_list(s, "x/", true, "x/y/ x/1=1 x/y/2=2 ");
	check_list(s, "/workspace/x/../x/y", true, "x/y/2=2 ");
	check_list(s, "x/1", true, "x/1=1 ");
	check_list(s, "./a", false, "a=0 ");
	check_archive(s, ".", "b/ x/ a= x.t=333 x/y/ x/1=1 x/y/2=22 ");
	assert_int_equal(result.n_entries, 4);
	check_archive(s, "x/y", "x/y/2=22 ");
	check_archive(s, "x/1", "x/1=1 ");
	assert_int_equal(result.n_entries, 1);
}

static void test_refused(void **state)
{
	static const char *const denied[] = {"/etc", "..", "../..", "out", "out/f", "x/../.."};
	struct scene *s = *state;
	struct artifact_options o = options_of(1 << 20, 10);
	char line[N_LINE];
	int out = memory_file();

	make_tree(s);
	assert_int_equal(symlinkat(s->secret, s->w.fd, "out"), 0);
	assert_int_equal(mkfifoat(s->w.fd, "fifo", 0600), 0);
	for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++) {
		list_of(s, denied[i], true, 10, line);
		check_error(TR_DENIED, "Access denied: path outside workspace");
		archive_of(s, denied[i], o, out);
		check_error(TR_DENIED, "Access denied: path outside workspace");
	}
	list_of(s, "zz", true, 10, line);
	check_error(TR_FAILED, "Not found: zz");
	assert_int_equal(result.flags, SLOT_NOT_FOUND);
	archive_of(s, "a/below", o, out);
	check_error(TR_FAILED, "Not found: a/below");
	archive_of(s, "fifo", o, out);
	check_error(TR_INVALID, "Not a file: fifo");
	close(out);
}

static void make_socket(struct scene *s, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", s->workspace, name);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
}

/* Inside they stand for what they lead to, and are not gone into. Others are as if not there. */
static void test_symlinks_and_others(void **state)
{
	struct scene *s = *state;

	make_tree(s);
	assert_int_equal(symlinkat("x/y/2", s->w.fd, "l-file"), 0);
	assert_int_equal(symlinkat("/workspace/x", s->w.fd, "l-folder"), 0);
	assert_int_equal(symlinkat("..", s->w.fd, "x/l-up"), 0);
	assert_int_equal(symlinkat("nowhere", s->w.fd, "l-nowhere"), 0);
	assert_int_equal(symlinkat("l-self", s->w.fd, "l-self"), 0);
	assert_int_equal(symlinkat(s->secret, s->w.fd, "l-out"), 0);
	assert_int_equal(symlinkat("../secret/f", s->w.fd, "l-out-2"), 0);
	assert_int_equal(symlinkat("/proc/self/root/etc", s->w.fd, "l-proc"), 0);
	assert_int_equal(mkfifoat(s->w.fd, "fifo", 0600), 0);
	make_socket(s, "socket");
	check_list(s, ".", false, "a=0 b/ l-file=2 l-folder/ x/ x.t=3 ");
	check_list(s, ".", true, "b/ l-folder/ x/ a=0 l-file=2 x.t=3 x/l-up/ x/y/ x/1=1 x/y/2=2 ");
	check_archive(s, ".", "b/ x/ a= l-file=22 x.t=333 x/y/ x/1=1 x/y/2=22 ");
	check_list(s, "l-folder", false, "x/1=1 x/l-up/ x/y/ ");
	check_list(s, "l-file", false, "x/y/2=2 ");
	check_secret(s);
}

static void check_first(struct scene *s, uint64_t n_max, const char *expected, uint32_t flags)
{
	char line[N_LINE];

	assert_int_equal(list_of(s, ".", true, n_max, line), TR_OK);
	assert_string_equal(line, expected);
	assert_int_equal(result.flags, flags);
}

static void check_first_files(struct scene *s, uint64_t n_max, const char *expected, uint32_t flags)
{
	struct artifact_options o = options_of(1 << 20, n_max);
	char line[N_LINE];
	int out = memory_file();

	assert_int_equal(archive_of(s, ".", o, out), TR_OK);
	archive_as_line(out, line);
	assert_string_equal(line, expected);
	assert_int_equal(result.flags, flags);
	close(out);
}

static void test_entries_max(void **state)
{
	struct scene *s = *state;

	check_first(s, 0, "", 0);
	make_tree(s);
	check_first(s, 0, "", SLOT_TRUNCATED);
	check_first(s, 1, "b/ ", SLOT_TRUNCATED);
	check_first(s, 2, "b/ x/ ", SLOT_TRUNCATED);
	check_first(s, 3, "b/ x/ a=0 ", SLOT_TRUNCATED);
	check_first(s, 4, "b/ x/ a=0 x.t=3 ", SLOT_TRUNCATED);
	check_first(s, 6, "b/ x/ a=0 x.t=3 x/y/ x/1=1 ", SLOT_TRUNCATED);
	check_first(s, 7, "b/ x/ a=0 x.t=3 x/y/ x/1=1 x/y/2=2 ", 0);
	/* of an archive's, files count */
	check_first_files(s, 2, "b/ x/ a= x.t=333 x/y/ ", SLOT_TRUNCATED);
	check_first_files(s, 4, "b/ x/ a= x.t=333 x/y/ x/1=1 x/y/2=22 ", 0);
}

/* The first ones in order come, and only as much memory is taken as they need. */
static void test_many(void **state)
{
	struct scene *s = *state;
	char name[300], line[N_LINE];

	for (unsigned i = 0; i < N_MANY; i++) {
		/* in no order of their names */
		snprintf(name, sizeof(name), "%s%04u", i % 3 ? "" : "d", i * 7919 % N_MANY);
		if (i % 3)
			put_text(s, name, "");
		else
			make_folder(s, name);
	}
	assert_int_equal(list_of(s, ".", false, 5, line), TR_OK);
	assert_string_equal(line, "0001=0 0002=0 0004=0 0005=0 0007=0 ");
	assert_int_equal(result.flags, SLOT_TRUNCATED);
	assert_int_equal(list_of(s, ".", true, 3, line), TR_OK);
	assert_string_equal(line, "d0000/ d0003/ d0006/ ");
	assert_int_equal(list_of(s, ".", true, N_MANY, line), TR_OK);
	assert_int_equal(result.n_entries, N_MANY);
	assert_int_equal(result.flags, 0);
}

static void test_deep(void **state)
{
	struct scene *s = *state;
	struct artifact_options o = options_of(1 << 20, 10000);
	char name[101], line[N_LINE];
	int out = memory_file(), at = dup(s->w.fd), next;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	/* deeper than a path can say */
	for (unsigned i = 0; i < 60; i++) {
		assert_int_equal(mkdirat(at, name, 0755), 0);
		next = openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
	close(at);
	assert_int_equal(list_of(s, ".", true, 1000, line), TR_OK);
	assert_int_equal(result.n_entries, 40);
	assert_int_equal(result.flags, SLOT_TRUNCATED);
	assert_int_equal(archive_of(s, ".", o, out), TR_OK);
	assert_int_equal(result.flags, SLOT_TRUNCATED);
	close(out);
}

static void test_names(void **state)
{
	struct scene *s = *state;
	char name[256] = "", expected[300];

	put_text(s, "n\xff", "odd");
	put_text(s, "\xc3\xa9 \n", "x");
	check_list(s, ".", false, "n\xef\xbf\xbd=3 \xc3\xa9 \n=1 ");
	check_archive(s, ".", "n\xff=odd \xc3\xa9 \n=x ");
	assert_int_equal(unlinkat(s->w.fd, "n\xff", 0), 0);
	assert_int_equal(unlinkat(s->w.fd, "\xc3\xa9 \n", 0), 0);
	memset(name, 'l', 255);
	put_text(s, name, "long");
	snprintf(expected, sizeof(expected), "%s=long ", name);
	check_archive(s, ".", expected);
}

static void test_unreadable(void **state)
{
	struct scene *s = *state;
	struct artifact_options o = options_of(1 << 20, 10);
	char line[N_LINE];
	int out = memory_file();

	make_tree(s);
	assert_int_equal(fchmodat(s->w.fd, "x/y/2", 0, 0), 0);
	check_list(s, "x", true, "x/y/ x/1=1 x/y/2=2 ");
	archive_of(s, ".", o, out);
	check_error(TR_DENIED, "Permission denied: x/y/2");
	assert_int_equal(fchmodat(s->w.fd, "x/y", 0, 0), 0);
	check_list(s, "x", true, "x/y/ x/1=1 ");
	archive_of(s, ".", o, out);
	check_error(TR_DENIED, "Permission denied: x/y");
	list_of(s, "x/y", true, 10, line);
	check_error(TR_DENIED, "Permission denied: x/y");
	close(out);
}

static void test_too_large(void **state)
{
	struct scene *s = *state;
	struct artifact_options o = options_of(1000, 10);
	char bytes[20000];
	int out = memory_file();

	srandom(1);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)random();
	put(s, "r", bytes, sizeof(bytes));
	for (o.format = SLOT_TAR_GZ; o.format < SLOT_N_FORMATS; o.format++) {
		o.n_bytes_max = 1000;
		archive_of(s, ".", o, out);
		check_error_prefix(TR_LIMIT, "Archive too large: ");
		o.n_bytes_max = sizeof(bytes) + 4096;
		assert_int_equal(ftruncate(out, 0), 0);
		assert_int_equal(lseek(out, 0, SEEK_SET), 0);
		assert_int_equal(archive_of(s, ".", o, out), TR_OK);
		assert_int_equal(ftruncate(out, 0), 0);
		assert_int_equal(lseek(out, 0, SEEK_SET), 0);
	}
	close(out);
}

/* The same tree gives the same bytes, with times and modes as they were; set-id bits are not told. */
static void test_same_again(void **state)
{
	struct scene *s = *state;
	struct timespec times[2] = {{.tv_sec = MTIME}, {.tv_sec = MTIME}};
	int out = memory_file(), in, again;
	struct stat st;
	char bytes[2][4096];

	make_tree(s);
	assert_int_equal(fchmodat(s->w.fd, "x/1", 04751, 0), 0);
	assert_int_equal(utimensat(s->w.fd, "x/1", times, 0), 0);
	assert_int_equal(fchmodat(s->w.fd, "b", 01700, 0), 0);
	for (enum slot_format f = SLOT_TAR_GZ; f < SLOT_N_FORMATS; f++) {
		struct artifact_options o = options_of(1 << 20, 10);

		o.format = f;
		out = memory_file();
		again = memory_file();
		assert_int_equal(archive_of(s, ".", o, out), TR_OK);
		assert_int_equal(archive_of(s, ".", o, again), TR_OK);
		assert_true(pread(out, bytes[0], 4096, 0) == pread(again, bytes[1], 4096, 0));
		assert_memory_equal(bytes[0], bytes[1], result.size < 4096 ? result.size : 4096);
		in = out;
		assert_int_equal(unpack_fd(s, "unpacked", o, in), TR_OK);
		assert_int_equal(fstatat(s->w.fd, "unpacked/x/1", &st, 0), 0);
		assert_int_equal(st.st_mode & 07777, 0751);
		assert_int_equal(st.st_mtime, MTIME);
		assert_int_equal(fstatat(s->w.fd, "unpacked/b", &st, 0), 0);
		assert_int_equal(st.st_mode & 07777, 0700);
		check_content(s, "unpacked/x/y/2", "22");
		assert_int_equal(renameat(s->w.fd, "unpacked", AT_FDCWD, s->secret) < 0, 1);
		close(again);
		assert_int_equal(renameat2(s->w.fd, "unpacked", s->w.fd,
					   f == SLOT_TAR_GZ    ? "../u1"
					   : f == SLOT_TAR_ZST ? "../u2"
							       : "../u3",
					   0),
				 0);
	}
}

/* Where nothing can be written to, that is nobody's fault, and not the file's. */
static void test_broken_output(void **state)
{
	struct scene *s = *state;
	struct artifact_options o = options_of(1 << 20, 10);
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	make_tree(s);
	assert_int_equal(artifact_list(&s->w, span_string("."), &o, fd, &result), -ENOSPC);
	assert_int_equal(artifact_archive(&s->w, span_string("."), &o, fd, &result), -ENOSPC);
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, scene_open, scene_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_order),       TEST(test_refused),       TEST(test_symlinks_and_others),
		TEST(test_entries_max), TEST(test_many),          TEST(test_deep),
		TEST(test_names),       TEST(test_unreadable),    TEST(test_too_large),
		TEST(test_same_again),  TEST(test_broken_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
