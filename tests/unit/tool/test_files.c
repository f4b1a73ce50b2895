/* SPDX-License-Identifier: Apache-2.0 */
/*
 * read_file and write_file in a folder that stands for the workspace, as a user who is not root: what
 * the contract says of them, each way out of the workspace refused, and nothing opened that is no
 * regular file. The folder's other name, /workspace, is only a text here as it is there.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "files_case.h"

/* ---- the contract ------------------------------------------------------------------------------ */

static void test_write_then_read(void **state)
{
	struct scene *s = *state;

	check_write(s, "f.txt", "hello\nworld\n", "/workspace/f.txt", 12);
	check_read(s, "f.txt", "hello\nworld\n", "/workspace/f.txt", 12);
	check_write(s, "x/y/z.txt", "deep", "/workspace/x/y/z.txt", 4);
	check_read(s, "/workspace/x//y/z.txt", "deep", "/workspace/x/y/z.txt", 4);
	assert_int_equal(mode_of(s, "x/y"), 0755);
	assert_int_equal(mode_of(s, "x/y/z.txt"), 0644);
	check_write(s, "f.txt", "s", "/workspace/f.txt", 1);
	check_read(s, "f.txt", "s", "/workspace/f.txt", 1);
	check_write(s, "f.txt", "", "/workspace/f.txt", 0);
	check_read(s, "f.txt", "", "/workspace/f.txt", 0);
	/* A slash at the end says nothing, as with Python's Path. */
	check_write(s, "f.txt/", "v", "/workspace/f.txt", 1);
	check_read(s, "./f.txt//", "v", "/workspace/f.txt", 1);
}

/* Characters are counted in what is written, bytes in what is read; nothing is translated. */
static void test_bytes(void **state)
{
	struct scene *s = *state;

	check_write(s, "u", "h\xc3\xa9llo \xe2\x9c\x93", "/workspace/u", 7);
	check_read(s, "u", "h\xc3\xa9llo \xe2\x9c\x93", "/workspace/u", 10);
	put(s, "bin", "x\xffy", 3);
	check_read(s, "bin", "x\xef\xbf\xbdy", "/workspace/bin", 3);
	put(s, "nul", " \0\r\n", 4);
	assert_int_equal(read_of(s, "nul", N_MAX), TR_OK);
	assert_int_equal(s->output.n, 4);
	assert_memory_equal(s->output.data, " \0\r\n", 4);
	/* A name that is no text is still a name. */
	put(s, "n\xff", "odd", 3);
	check_read(s, "n\xff", "odd", "/workspace/n\xef\xbf\xbd", 3);
}

/* All of it broken, as much as fits: what comes is three times as long. */
static void test_all_broken(void **state)
{
	struct scene *s = *state;
	char bytes[N_MAX];

	memset(bytes, 0xff, sizeof(bytes));
	put(s, "bin", bytes, sizeof(bytes));
	assert_int_equal(read_of(s, "bin", N_MAX), TR_OK);
	assert_int_equal(s->output.n, 3 * N_MAX);
	for (size_t i = 0; i < s->output.n; i += 3)
		assert_memory_equal(s->output.data + i, "\xef\xbf\xbd", 3);
	assert_int_equal(s->result.size, N_MAX);
}

static void test_limits(void **state)
{
	struct scene *s = *state;
	char content[N_MAX + 2] = {0};

	memset(content, 'b', N_MAX + 1);
	put(s, "big", content, N_MAX + 1);
	check_refused(s, read_of(s, "big", N_MAX), TR_LIMIT,
		      "File too large: 1001 bytes (max 1000)");
	put(s, "big", content, N_MAX);
	assert_int_equal(read_of(s, "big", N_MAX), TR_OK);
	check_refused(s, write_of(s, "big", content, N_MAX), TR_LIMIT,
		      "Content too large: 1001 bytes (max 1000)");
	content[N_MAX] = 0;
	check_write(s, "big", content, "/workspace/big", N_MAX);
	/* as many characters of several bytes */
	check_refused(s, write_of(s, "u", "\xc3\xa9\xc3\xa9", 1), TR_LIMIT,
		      "Content too large: 2 bytes (max 1)");
	assert_int_equal(write_of(s, "u", "\xc3\xa9\xc3\xa9", 2), TR_OK);
}

static void test_missing(void **state)
{
	struct scene *s = *state;

	put(s, "f", "x", 1);
	check_refused(s, read_of(s, "nope.txt", N_MAX), TR_FAILED, "File not found: nope.txt");
	check_refused(s, read_of(s, "a/b", N_MAX), TR_FAILED, "File not found: a/b");
	check_refused(s, read_of(s, "f/b", N_MAX), TR_FAILED, "File not found: f/b");
	check_refused(s, write_of(s, "f/b", "x", N_MAX), TR_FAILED, "Not a directory: f/b");
	check_refused(s, write_of(s, "f/b/c", "x", N_MAX), TR_FAILED, "Not a directory: f/b/c");
}

/* ---- ways out ---------------------------------------------------------------------------------- */

static const char *const outside[] = {
	"..",
	"/",
	"../../etc/passwd",
	"/etc/passwd",
	"../evil.txt",
	"/etc/evil",
	"a/../../evil",
	"/workspace/../etc/passwd",
	"/workspace2/f",
	"/workspac/f",
	"../secret/f",
	"/proc/self/root/workspace/f",
	"/proc/self/cwd/f",
	"/proc/self/fd/3",
	"/dev/null",
	"//etc/passwd",
	"/nope",
	"missing/../../nope",
	"d/nope", /* d leads to the folder outside, and so on */
	"d/f",
	"d",
	"l",
	"dd/f",
	"up/f",
	"up/../f",
	"self/f",
	"dangling",
};

static void test_outside(void **state)
{
	static const char denied[] = "Access denied: path outside workspace";
	struct scene *s = *state;

	assert_int_equal(symlinkat(s->secret, s->w.fd, "d"), 0);
	assert_int_equal(symlinkat("d", s->w.fd, "dd"), 0);
	assert_int_equal(symlinkat("d/f", s->w.fd, "l"), 0);
	assert_int_equal(symlinkat("..", s->w.fd, "up"), 0);
	assert_int_equal(symlinkat("/proc/self/cwd", s->w.fd, "self"), 0);
	assert_int_equal(symlinkat("/nope/nope", s->w.fd, "dangling"), 0);
	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		check_refused(s, read_of(s, outside[i], N_MAX), TR_DENIED, denied);
		check_refused(s, write_of(s, outside[i], "evil", N_MAX), TR_DENIED, denied);
	}
	check_secret(s);
}

/* The twin: what goes out and comes back by names alone is inside. */
static void test_inside_after_all(void **state)
{
	struct scene *s = *state;

	put(s, "f", "in", 2);
	assert_int_equal(mkdirat(s->w.fd, "a", 0755), 0);
	check_read(s, "../workspace/f", "in", "/workspace/f", 2);
	check_read(s, "/../../workspace/./f", "in", "/workspace/f", 2);
	check_read(s, "a/../a/.././f", "in", "/workspace/f", 2);
	check_read(s, "/workspace/../workspace/a/../f", "in", "/workspace/f", 2);
	check_read(s, "missing/../f", "in", "/workspace/f", 2);
	check_write(s, "missing/../f", "x", "/workspace/f", 1);
	assert_int_equal(faccessat(s->w.fd, "missing", F_OK, 0), -1);
	check_write(s, "a/../b/c", "x", "/workspace/b/c", 1);
}

/* Symlinks that stay inside lead to what they name; the answer names that. */
static void test_symlinks(void **state)
{
	struct scene *s = *state;

	check_write(s, "t", "in\n", "/workspace/t", 3);
	check_write(s, "a/b/f", "deep", "/workspace/a/b/f", 4);
	assert_int_equal(symlinkat("t", s->w.fd, "s"), 0);
	assert_int_equal(symlinkat("/workspace/s", s->w.fd, "s2"), 0);
	assert_int_equal(symlinkat("a/b", s->w.fd, "ab"), 0);
	assert_int_equal(symlinkat("../../t", s->w.fd, "a/b/t"), 0);
	assert_int_equal(symlinkat("new/n", s->w.fd, "dangling"), 0);
	check_read(s, "s", "in\n", "/workspace/t", 3);
	check_read(s, "s2", "in\n", "/workspace/t", 3);
	check_read(s, "ab/f", "deep", "/workspace/a/b/f", 4);
	check_read(s, "ab/t", "in\n", "/workspace/t", 3);
	/* above a symlink's folder is what is above its target */
	check_read(s, "ab/../b/f", "deep", "/workspace/a/b/f", 4);
	check_refused(s, read_of(s, "ab/../t", N_MAX), TR_FAILED, "File not found: ab/../t");
	check_write(s, "s2", "w", "/workspace/t", 1);
	check_read(s, "t", "w", "/workspace/t", 1);
	check_refused(s, read_of(s, "dangling", N_MAX), TR_FAILED, "File not found: dangling");
	check_write(s, "dangling", "new", "/workspace/new/n", 3);
	check_write(s, "ab/x/y", "z", "/workspace/a/b/x/y", 1);
}

/* Symlinks without end, or very many, end. */
static void test_loops(void **state)
{
	struct scene *s = *state;
	char name[16], text[16], path[PATH_MAX];

	put(s, "f", "x", 1);
	assert_int_equal(symlinkat("loop", s->w.fd, "loop"), 0);
	assert_int_equal(symlinkat("grow/grow/grow", s->w.fd, "grow"), 0);
	assert_int_equal(symlinkat("f", s->w.fd, "l0"), 0);
	for (int i = 1; i <= 40; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		snprintf(text, sizeof(text), "l%d", i - 1);
		assert_int_equal(symlinkat(text, s->w.fd, name), 0);
	}
	for (int writing = 0; writing < 2; writing++) {
		check_refused(s, do_it(s, writing, "loop"), TR_FAILED,
			      "Too many levels of symbolic links: loop");
		check_refused(s, do_it(s, writing, "grow"), TR_FAILED,
			      "Too many levels of symbolic links: grow");
		check_refused(s, do_it(s, writing, "l40"), TR_FAILED,
			      "Too many levels of symbolic links: l40");
		assert_int_equal(do_it(s, writing, "l39"), TR_OK);
	}
	memset(path, '/', sizeof(path));
	for (size_t i = 0; i + 3 < sizeof(path); i += 2)
		path[i] = i % 4 ? 'a' : 'b';
	strcpy(path + sizeof(path) - 4, "/..");
	check_refused(s, read_of(s, path, N_MAX), TR_FAILED, NULL);
}

/* ---- what is no regular file ------------------------------------------------------------------- */

/* What an inotify watch saw of name being opened by what. */
static bool was_opened(struct scene *s, const char *name, bool writing)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char events[4096], path[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", s->workspace, name);
	assert_true(fd >= 0);
	assert_true(inotify_add_watch(fd, path, IN_OPEN | IN_ACCESS | IN_MODIFY) >= 0);
	do_it(s, writing, name);
	n = read(fd, events, sizeof(events));
	close(fd);
	return n > 0;
}

/* A FIFO is not touched, let alone waited for: who waits at its other end would be woken. */
static void test_fifo(void **state)
{
	struct scene *s = *state;

	assert_int_equal(mkfifoat(s->w.fd, "ff", 0600), 0);
	put(s, "f", "x", 1);
	for (int writing = 0; writing < 2; writing++) {
		check_refused(s, do_it(s, writing, "ff"), TR_FAILED, "Not a file: ff");
		assert_false(was_opened(s, "ff", writing));
		assert_true(was_opened(s, "f", writing));
	}
}

static void test_other_kinds(void **state)
{
	struct scene *s = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(mkdirat(s->w.fd, "dd", 0755), 0);
	assert_true(snprintf(address.sun_path, sizeof(address.sun_path), "%s/sock", s->workspace) <
		    (int)sizeof(address.sun_path));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	for (int writing = 0; writing < 2; writing++) {
		check_refused(s, do_it(s, writing, "dd"), TR_FAILED, "Not a file: dd");
		check_refused(s, do_it(s, writing, "dd/"), TR_FAILED, "Not a file: dd/");
		check_refused(s, do_it(s, writing, "sock"), TR_FAILED, "Not a file: sock");
		check_refused(s, do_it(s, writing, ""), TR_FAILED, "Not a file: ");
		check_refused(s, do_it(s, writing, "."), TR_FAILED, "Not a file: .");
		check_refused(s, do_it(s, writing, "/workspace"), TR_FAILED,
			      "Not a file: /workspace");
	}
	close(fd);
	if (geteuid() != 0)
		return;
	setfsuid(0);
	assert_int_equal(mknodat(s->w.fd, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
	become_guest();
	for (int writing = 0; writing < 2; writing++)
		check_refused(s, do_it(s, writing, "null"), TR_FAILED, "Not a file: null");
}

/* ---- what cannot be ---------------------------------------------------------------------------- */

static void test_names(void **state)
{
	struct scene *s = *state;
	char name[PATH_MAX + 2] = {0}, error[2 * PATH_MAX];

	memset(name, 'n', sizeof(name) - 1);
	for (int writing = 0; writing < 2; writing++) {
		check_refused(s, do_it(s, writing, name), TR_INVALID,
			      "File name too long: (the path)");
	}
	name[256] = 0; /* one more than a name may have */
	snprintf(error, sizeof(error), "File name too long: %s", name);
	for (int writing = 0; writing < 2; writing++)
		check_refused(s, do_it(s, writing, name), TR_INVALID, error);
	strcpy(name + 256, "/x");
	check_refused(s, write_of(s, name, "x", N_MAX), TR_INVALID, NULL);
	name[255] = 0;
	assert_int_equal(write_of(s, name, "x", N_MAX), TR_OK);
	assert_int_equal(read_of(s, name, N_MAX), TR_OK);
	check_refused(s, read_bytes(s, "a\0b", 3), TR_INVALID, "Invalid path: it has a NUL byte");
}

/* A path of the longest kind, of names that are no text: its answers still fit. */
static void test_longest(void **state)
{
	struct scene *s = *state;
	char path[PATH_MAX];

	memset(path, 0xff, sizeof(path));
	path[sizeof(path) - 1] = 0;
	for (size_t i = 200; i < sizeof(path) - 1; i += 200)
		path[i] = '/';
	assert_int_equal(write_of(s, path + 300, "x", N_MAX), TR_OK);
	assert_true(s->resolved.n > 11000 && s->resolved.n <= 16384);
	assert_int_equal(read_of(s, path + 300, N_MAX), TR_OK);
	path[sizeof(path) - 2] = 'x';
	check_refused(s, read_of(s, path + 300, N_MAX), TR_FAILED, NULL);
	assert_true(s->error.n > 11000 && s->error.n <= 16384);
}

static void test_permissions(void **state)
{
	struct scene *s = *state;

	put(s, "f", "x", 1);
	assert_int_equal(mkdirat(s->w.fd, "d", 0555), 0);
	assert_int_equal(fchmodat(s->w.fd, "f", 0, 0), 0);
	check_refused(s, read_of(s, "f", N_MAX), TR_FAILED, "Permission denied: f");
	check_refused(s, write_of(s, "f", "y", N_MAX), TR_FAILED, "Permission denied: f");
	check_refused(s, write_of(s, "d/f", "y", N_MAX), TR_FAILED, "Permission denied: d/f");
	check_refused(s, write_of(s, "d/e/f", "y", N_MAX), TR_FAILED, "Permission denied: d/e/f");
	assert_int_equal(fchmodat(s->w.fd, "d", 0, 0), 0);
	check_refused(s, read_of(s, "d/f", N_MAX), TR_FAILED, "Permission denied: d/f");
	check_refused(s, read_of(s, "d/../d/f", N_MAX), TR_FAILED, "Permission denied: d/../d/f");
	assert_int_equal(fchmodat(s->w.fd, "f", 0600, 0), 0);
	check_read(s, "f", "x", "/workspace/f", 1);
}

/* Somebody holds a lease: opening would wait for as long as he likes. */
static void test_lease(void **state)
{
	struct scene *s = *state;
	int fd;

	put(s, "f", "x", 1);
	signal(SIGIO, SIG_IGN);
	fd = openat(s->w.fd, "f", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETLEASE, F_RDLCK), 0);
	check_read(s, "f", "x", "/workspace/f", 1);
	check_refused(s, write_of(s, "f", "y", N_MAX), TR_FAILED, "File is busy: f");
	assert_int_equal(fcntl(fd, F_SETLEASE, F_UNLCK), 0);
	close(fd);
	check_write(s, "f", "y", "/workspace/f", 1);
}

/* A write that stops in the middle is no success. */
static void test_size_limit(void **state)
{
	struct scene *s = *state;
	struct rlimit old, small;
	char content[N_MAX + 1] = {0};

	memset(content, 'c', N_MAX);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){.rlim_cur = 500, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	check_refused(s, write_of(s, "f", content, N_MAX), TR_LIMIT, "File larger than allowed: f");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	check_write(s, "f", content, "/workspace/f", N_MAX);
}

/* Two names of one file: writing one changes both, as an editor in place does. */
static void test_hard_link(void **state)
{
	struct scene *s = *state;

	put(s, "f", "long before", 11);
	assert_int_equal(linkat(s->w.fd, "f", s->w.fd, "g", 0), 0);
	check_write(s, "f", "now", "/workspace/f", 3);
	check_read(s, "g", "now", "/workspace/g", 3);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, scene_open, scene_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_write_then_read),
		TEST(test_bytes),
		TEST(test_all_broken),
		TEST(test_limits),
		TEST(test_missing),
		TEST(test_outside),
		TEST(test_inside_after_all),
		TEST(test_symlinks),
		TEST(test_loops),
		TEST(test_fifo),
		TEST(test_other_kinds),
		TEST(test_names),
		TEST(test_longest),
		TEST(test_permissions),
		TEST(test_lease),
		TEST(test_size_limit),
		TEST(test_hard_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
