/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's place: what is taken over from a dead instance, and what is left alone. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper/place.h"

static char directory[64];
static char path[96];
static char error[512];

static int set_up(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/toolring-place-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/s.sock", directory);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

/* A live instance is found, with its path in the text; a dead one's socket is taken over. */
static void test_live_and_dead(void **state)
{
	int one, two;

	(void)state;
	one = place_listen(path, false, false, error, sizeof(error));
	assert_true(one >= 0);
	assert_int_equal(place_listen(path, false, false, error, sizeof(error)), -EADDRINUSE);
	assert_non_null(strstr(error, path));
	close(one);
	two = place_listen(path, false, false, error, sizeof(error));
	assert_true(two >= 0);
	close(two);
}

/* The socket is for others to open only if it was said so. */
static void test_mode(void **state)
{
	struct stat st;
	int fd;

	(void)state;
	fd = place_listen(path, false, false, error, sizeof(error));
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	close(fd);
	fd = place_listen(path, false, true, error, sizeof(error));
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
	close(fd);
}

/* A file that is no socket is somebody's: it stays. */
static void test_other_file(void **state)
{
	struct stat st;

	(void)state;
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(place_listen(path, false, false, error, sizeof(error)), -EEXIST);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
}

/* Our own directory is made; one that others may write to is refused, and so is a missing parent. */
static void test_directory(void **state)
{
	char own[80], inside[96];
	int fd;

	(void)state;
	snprintf(own, sizeof(own), "%s/own", directory);
	snprintf(inside, sizeof(inside), "%s/s.sock", own);
	assert_int_equal(place_listen(inside, false, false, error, sizeof(error)), -ENOENT);
	fd = place_listen(inside, true, false, error, sizeof(error));
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(unlink(inside), 0);
	assert_int_equal(chmod(own, 0777), 0);
	assert_int_equal(place_listen(inside, true, false, error, sizeof(error)), -EPERM);
	assert_non_null(strstr(error, "--socket"));
	assert_int_equal(rmdir(own), 0);
	assert_int_equal(symlink("/tmp", own), 0);
	assert_int_equal(place_listen(inside, true, false, error, sizeof(error)), -EPERM);
	assert_int_equal(unlink(own), 0);
}

/* A directory goes only if nothing is in it. One in which others may connect lets them through. */
static void test_remove_directory(void **state)
{
	char own[80], inside[96];
	struct stat st;
	int fd;

	(void)state;
	snprintf(own, sizeof(own), "%s/own", directory);
	snprintf(inside, sizeof(inside), "%s/s.sock", own);
	fd = place_listen(inside, true, true, error, sizeof(error));
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(stat(own, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0755);
	place_remove_directory(inside);
	assert_int_equal(access(inside, F_OK), 0);
	assert_int_equal(unlink(inside), 0);
	place_remove_directory(inside);
	assert_int_equal(access(own, F_OK), -1);
}

/* A path that does not fit a Unix socket is said to be too long. */
static void test_long_path(void **state)
{
	char name[200];

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[0] = '/';
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(place_listen(name, false, false, error, sizeof(error)), -ENAMETOOLONG);
}

static bool exists(const char *name)
{
	int fd = shm_open(name, O_RDONLY, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* The sweep takes names that begin with the prefix and no others. */
static void test_sweep(void **state)
{
	char prefix[64], mine[80], other[80];

	(void)state;
	snprintf(prefix, sizeof(prefix), "toolring-place-%d-", (int)getpid());
	snprintf(mine, sizeof(mine), "/%sone", prefix);
	snprintf(other, sizeof(other), "/x%sone", prefix);
	close(shm_open(mine, O_RDWR | O_CREAT | O_EXCL, 0600));
	close(shm_open(other, O_RDWR | O_CREAT | O_EXCL, 0600));
	place_sweep(prefix);
	assert_false(exists(mine));
	assert_true(exists(other));
	assert_int_equal(shm_unlink(other), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_live_and_dead, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_mode, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_directory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_remove_directory, set_up, tear_down),
		cmocka_unit_test(test_long_path),
		cmocka_unit_test(test_sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
