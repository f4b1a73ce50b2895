/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists, archives and unpacking while another thread swaps what lies on their way with symlinks to a
 * folder outside: never does one of them show it, read it or write to it, though plain system calls
 * on the same paths do so soon. And while files grow, shrink and come and go: archives stay whole.
 */
#include "artifact_case.h"

#include <pthread.h>
#include <stdatomic.h>

#define N_TRIES 1500

struct race {
	struct scene *s;
	const char *one, *other; /* are swapped */
	atomic_bool over;
	pthread_t thread;
};

static void *swap(void *data)
{
	struct race *race = data;

	become_guest();
	while (!atomic_load(&race->over))
		renameat2(race->s->w.fd, race->one, race->s->w.fd, race->other, RENAME_EXCHANGE);
	return NULL;
}

static void race_start(struct race *race, struct scene *s, void *(*run)(void *), const char *one,
		       const char *other)
{
	race->s = s;
	race->one = one;
	race->other = other;
	atomic_init(&race->over, false);
	assert_int_equal(pthread_create(&race->thread, NULL, run, race), 0);
}

static void race_end(struct race *race)
{
	atomic_store(&race->over, true);
	assert_int_equal(pthread_join(race->thread, NULL), 0);
}

/* w/d, a folder with the file g; w/l, a symlink to the folder outside, which has an f. */
static int race_open(void **state)
{
	struct scene *s;
	char path[128];

	scene_open(state);
	s = *state;
	make_folder(s, "d");
	make_folder(s, "d/below");
	put_text(s, "d/g", "inside");
	put_text(s, "d/below/f", "inside");
	put_text(s, "g", "inside");
	assert_int_equal(symlinkat(s->secret, s->w.fd, "l"), 0);
	snprintf(path, sizeof(path), "%s/f", s->secret);
	assert_int_equal(symlinkat(path, s->w.fd, "lf"), 0);
	return 0;
}

/* The twin: without our care the secret is seen, sooner or later. */
static void see_secret(struct scene *s, const char *path)
{
	char content[sizeof(SECRET)] = "";

	while (strcmp(content, SECRET) != 0) {
		int fd = openat(s->w.fd, path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, content, sizeof(content) - 1);

		content[n > 0 ? n : 0] = 0;
		if (fd >= 0)
			close(fd);
	}
}

/* The secret's size is that of nothing else. Both sides of the swap must have been met. */
static void list_in_race(struct scene *s, const char *one, const char *other, const char *secret,
			 const char *path, const char *inside)
{
	unsigned n_with = 0, n_without = 0;
	struct race race;
	char line[N_LINE];

	race_start(&race, s, swap, one, other);
	see_secret(s, secret);
	for (unsigned i = 0; i < N_TRIES || !n_with || !n_without; i++) {
		bool with;

		list_of(s, path, i & 1, 100, line);
		assert_null(strstr(line, "=10"));
		with = strstr(line, inside) != NULL;
		n_with += with;
		n_without += !with;
	}
	race_end(&race);
	check_secret(s);
}

static void test_list_folder(void **state)
{
	list_in_race(*state, "d", "l", "d/f", "d", "d/g=6");
}

static void test_list_above(void **state)
{
	list_in_race(*state, "d", "l", "d/f", ".", "d/g=6");
}

static void test_list_file(void **state)
{
	list_in_race(*state, "g", "lf", "g", ".", " g=6");
}

static void archive_in_race(struct scene *s, const char *one, const char *other, const char *secret,
			    const char *inside)
{
	unsigned n_with = 0, n_without = 0;
	struct artifact_options o = options_of(1 << 20, 100);
	struct race race;
	char line[N_LINE];
	int out = memory_file();

	o.format = SLOT_TAR;
	race_start(&race, s, swap, one, other);
	see_secret(s, secret);
	for (unsigned i = 0; i < N_TRIES || !n_with || !n_without; i++) {
		bool with;

		assert_int_equal(ftruncate(out, 0), 0);
		assert_int_equal(lseek(out, 0, SEEK_SET), 0);
		assert_int_equal(archive_of(s, ".", o, out), TR_OK);
		archive_as_line(out, line);
		assert_null(strstr(line, SECRET));
		with = strstr(line, inside) != NULL;
		n_with += with;
		n_without += !with;
	}
	race_end(&race);
	close(out);
	check_secret(s);
}

static void test_archive_folder(void **state)
{
	archive_in_race(*state, "d", "l", "d/f", "d/below/f=inside");
}

static void test_archive_file(void **state)
{
	archive_in_race(*state, "g", "lf", "g", " g=inside");
}

/* The folder outside has what it had: its file, and nothing else. */
static void unpack_in_race(struct scene *s, const char *one, const char *other, const char *secret,
			   const struct member *members, size_t n)
{
	struct artifact_options o = options_of(1 << 20, 100);
	unsigned n_unpacked = 0, n_other = 0;
	struct race race;
	int in = make_archive(members, n, SLOT_TAR);

	o.format = SLOT_TAR;
	race_start(&race, s, swap, one, other);
	see_secret(s, secret);
	for (unsigned i = 0; i < N_TRIES || !n_unpacked; i++) {
		bool ok = unpack_fd(s, ".", o, dup(in)) == TR_OK;

		n_unpacked += ok;
		n_other += !ok;
	}
	race_end(&race);
	print_message("%u unpacked, %u refused\n", n_unpacked, n_other);
	close(in);
	check_secret(s);
}

static void test_unpack_folder(void **state)
{
	static const struct member members[] = {
		{"d/", AE_IFDIR, NULL, 0755},    {"d/f", AE_IFREG, "evil", 0},
		{"d/new", AE_IFREG, "evil", 0},  {"d/n/e/w", AE_IFREG, "evil", 0},
		{"d/sym", AE_IFLNK, "f", 0},     {"d/hard", 0, "d/new", 0},
		{"d/below/x", AE_IFREG, "x", 0}, {"d/folder/", AE_IFDIR, NULL, 0700},
	};

	unpack_in_race(*state, "d", "l", "d/f", members, sizeof(members) / sizeof(members[0]));
}

/* What is replaced is a symlink to the secret at times. */
static void test_unpack_file(void **state)
{
	static const struct member members[] = {
		{"g", AE_IFREG, "evil", 0},
		{"d/h", 0, "g", 0},
		{"d/h", AE_IFREG, "evil", 0},
		{"g", AE_IFREG, "evil", 0666},
	};

	unpack_in_race(*state, "g", "lf", "g", members, sizeof(members) / sizeof(members[0]));
}

/* ---- files that change ------------------------------------------------------------------------- */

static void *change(void *data)
{
	struct race *race = data;
	struct scene *s = race->s;
	char bytes[3000];

	become_guest();
	memset(bytes, 'b', sizeof(bytes));
	for (unsigned i = 0; !atomic_load(&race->over); i++) {
		int fd = openat(s->w.fd, i % 2 ? "c1" : "c2", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

		if (fd < 0)
			continue;
		if (pwrite(fd, bytes, sizeof(bytes), i % 100000) < 0 || ftruncate(fd, i % 7000) < 0)
			print_message("no space\n");
		close(fd);
		if (i % 5 == 0)
			unlinkat(s->w.fd, "c1", 0);
		if (i % 7 == 0 && mkdirat(s->w.fd, "c3", 0755) < 0)
			unlinkat(s->w.fd, "c3", AT_REMOVEDIR);
	}
	return NULL;
}

static void test_changing_files(void **state)
{
	struct scene *s = *state;
	unsigned n_with = 0, n_without = 0;
	struct artifact_options o = options_of(1 << 20, 100);
	struct race race;
	char line[N_LINE];
	int out = memory_file();

	put_text(s, "last", "last");
	race_start(&race, s, change, NULL, NULL);
	for (unsigned i = 0; i < N_TRIES || !n_with || !n_without; i++) {
		bool with;

		o.format = i % 2 ? SLOT_TAR : SLOT_TAR_ZST;
		assert_int_equal(ftruncate(out, 0), 0);
		assert_int_equal(lseek(out, 0, SEEK_SET), 0);
		assert_int_equal(archive_of(s, ".", o, out), TR_OK);
		archive_as_line(out, line);
		assert_non_null(strstr(line, "last=last"));
		with = strstr(line, "c1=") != NULL;
		n_with += with;
		n_without += !with;
	}
	race_end(&race);
	close(out);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, race_open, scene_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_list_folder),    TEST(test_list_above),     TEST(test_list_file),
		TEST(test_archive_folder), TEST(test_archive_file),   TEST(test_unpack_folder),
		TEST(test_unpack_file),    TEST(test_changing_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
