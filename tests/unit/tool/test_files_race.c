/* SPDX-License-Identifier: Apache-2.0 */
/*
 * read_file and write_file while another thread swaps what lies on their path with a symlink to a
 * folder outside: never does one of them reach it, in many thousand tries, though a plain open()
 * of the same path does so soon.
 */
#include "files_case.h"

#include <pthread.h>
#include <stdatomic.h>

#define N_TRIES 20000

struct race {
	struct scene *s;
	const char *one, *other; /* are swapped */
	atomic_bool over;
	pthread_t thread;
};

static void *swap(void *data)
{
	struct race *race = data;

	while (!atomic_load(&race->over))
		renameat2(race->s->w.fd, race->one, race->s->w.fd, race->other, RENAME_EXCHANGE);
	return NULL;
}

static void race_start(struct race *race, struct scene *s, const char *one, const char *other)
{
	race->s = s;
	race->one = one;
	race->other = other;
	atomic_init(&race->over, false);
	assert_int_equal(pthread_create(&race->thread, NULL, swap, race), 0);
}

static void race_end(struct race *race)
{
	atomic_store(&race->over, true);
	assert_int_equal(pthread_join(race->thread, NULL), 0);
}

/* w/d, a folder with the file f; w/l, a symlink to the folder outside that has an f too; and w/f,
 * w/lf, the same of the file itself. */
static int race_open(void **state)
{
	struct scene *s;
	char path[128];

	scene_open(state);
	s = *state;
	snprintf(path, sizeof(path), "%s/f", s->secret);
	assert_int_equal(mkdirat(s->w.fd, "d", 0755), 0);
	put(s, "d/f", "inside", 6);
	put(s, "f", "inside", 6);
	assert_int_equal(symlinkat(s->secret, s->w.fd, "l"), 0);
	assert_int_equal(symlinkat(path, s->w.fd, "lf"), 0);
	assert_int_equal(symlinkat("d/f", s->w.fd, "in"), 0);
	return 0;
}

/* The twin: without our care the secret is read, sooner or later. */
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

static void read_in_race(struct scene *s, const char *one, const char *other, const char *path)
{
	unsigned n_read = 0, n_denied = 0;
	struct race race;

	race_start(&race, s, one, other);
	see_secret(s, path);
	/* Both sides of the swap must have been met, too. */
	for (unsigned i = 0; i < N_TRIES || !n_read || !n_denied; i++) {
		enum tr_verdict verdict = read_of(s, path, N_MAX);

		if (verdict == TR_OK) {
			assert_true(buf_is(&s->output, "inside"));
			n_read++;
		}
		n_denied += verdict == TR_DENIED;
	}
	race_end(&race);
	check_secret(s);
}

static void test_read_parent(void **state)
{
	read_in_race(*state, "d", "l", "d/f");
}

static void test_read_file(void **state)
{
	read_in_race(*state, "f", "lf", "f");
}

static void test_read_by_symlink(void **state)
{
	read_in_race(*state, "d", "l", "in");
}

static void test_read_dots(void **state)
{
	read_in_race(*state, "d", "l", "d/../d/f");
}

static void write_in_race(struct scene *s, const char *one, const char *other, const char *path)
{
	unsigned n_written = 0, n_denied = 0;
	struct race race;

	race_start(&race, s, one, other);
	see_secret(s, "d/f");
	for (unsigned i = 0; i < N_TRIES || !n_written || !n_denied; i++) {
		enum tr_verdict verdict = write_of(s, path, "evil", N_MAX);

		n_written += verdict == TR_OK;
		n_denied += verdict == TR_DENIED;
	}
	race_end(&race);
	check_secret(s);
}

static void test_write_parent(void **state)
{
	write_in_race(*state, "d", "l", "d/f");
}

/* Files and folders that are not there yet, so that they are made. */
static void test_make(void **state)
{
	struct scene *s = *state;
	unsigned n_written = 0, n_denied = 0;
	struct race race;
	char path[64];

	race_start(&race, s, "d", "l");
	see_secret(s, "d/f");
	for (unsigned i = 0; i < N_TRIES / 10 || !n_written || !n_denied; i++) {
		enum tr_verdict verdict;

		snprintf(path, sizeof(path), i % 2 ? "d/new-%u" : "d/folder-%u/new", i);
		verdict = write_of(s, path, "evil", N_MAX);
		n_written += verdict == TR_OK;
		n_denied += verdict == TR_DENIED;
	}
	race_end(&race);
	check_secret(s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, race_open, scene_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_read_parent), TEST(test_read_file),    TEST(test_read_by_symlink),
		TEST(test_read_dots),   TEST(test_write_parent), TEST(test_make),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
