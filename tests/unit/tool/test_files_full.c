/* SPDX-License-Identifier: Apache-2.0 */
/*
 * write_file, artifacts written and archives unpacked where space and files have run out: they say so,
 * and what was there before a file was to be written still is. In a mount namespace of its own, on a
 * small file system in memory.
 */
#include "artifact_case.h"

#include <sched.h>
#include <sys/mount.h>

#define N_BYTES (64 << 10)

static int full_open(void **state)
{
	struct scene *s;

	scene_open(state);
	s = *state;
	setfsuid(geteuid());
	setfsgid(getegid());
	close(s->w.fd);
	assert_int_equal(
		mount("none", s->workspace, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,nr_inodes=6"),
		0);
	s->w.fd = open(s->workspace, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(s->w.fd >= 0);
	return 0;
}

static int full_close(void **state)
{
	struct scene *s = *state;

	assert_int_equal(umount2(s->workspace, MNT_DETACH), 0);
	return scene_close(state);
}

static char *filled(size_t n)
{
	char *content = calloc(1, n + 1);

	assert_non_null(content);
	memset(content, 'c', n);
	return content;
}

static void test_bytes(void **state)
{
	struct scene *s = *state;
	char *half = filled(N_BYTES / 2), *more = filled(N_BYTES / 2 + 1);

	assert_int_equal(write_of(s, "half", half, N_BYTES), TR_OK);
	check_write(s, "f", "what was there", "/workspace/f", 14);
	check_refused(s, write_of(s, "f", more, N_BYTES), TR_LIMIT, "No space left on device: f");
	check_read(s, "f", "what was there", "/workspace/f", 14);
	check_refused(s, write_of(s, "g", half, N_BYTES), TR_LIMIT, "No space left on device: g");
	/* with what was taken by a smaller one given back, there is room */
	check_write(s, "half", "x", "/workspace/half", 1);
	assert_int_equal(write_of(s, "f", more, N_BYTES), TR_OK);
	free(half);
	free(more);
}

static void test_inodes(void **state)
{
	struct scene *s = *state;

	check_write(s, "d/e/f", "1", "/workspace/d/e/f", 1);
	check_write(s, "d/e/g", "2", "/workspace/d/e/g", 1);
	check_write(s, "h", "3", "/workspace/h", 1);
	check_refused(s, write_of(s, "i", "4", N_BYTES), TR_LIMIT, "No space left on device: i");
	check_refused(s, write_of(s, "j/k", "4", N_BYTES), TR_LIMIT,
		      "No space left on device: j/k");
	check_write(s, "h", "other", "/workspace/h", 5);
}

static void test_write_artifact(void **state)
{
	struct scene *s = *state;
	struct artifact_options o = options_of(2 * N_BYTES, 10);
	char *most = filled(N_BYTES), *more = filled(N_BYTES + 1);

	assert_int_equal(
		checked(artifact_write(&s->w, span_string("f"), span_of("was", 3), &o, &result)),
		TR_OK);
	checked(artifact_write(&s->w, span_string("f"), span_of(more, N_BYTES + 1), &o, &result));
	check_error(TR_LIMIT, "No space left on device: f");
	check_content(s, "f", "was");
	assert_int_equal(checked(artifact_write(&s->w, span_string("f"), span_of(most, N_BYTES), &o,
						&result)),
			 TR_OK);
	free(most);
	free(more);
}

/* What came before is there, and nothing of the one that did not fit. */
static void test_unpack(void **state)
{
	struct scene *s = *state;
	char *half = filled(N_BYTES / 2), *more = filled(N_BYTES / 2 + 1);
	const struct member members[] = {{"a", AE_IFREG, half, 0}, {"b", AE_IFREG, more, 0}};
	const struct member many[] = {
		{"a", AE_IFREG, "1", 0}, {"d/e/b", AE_IFREG, "2", 0}, {"l", AE_IFLNK, "a", 0},
		{"c", AE_IFREG, "3", 0}, {"e", AE_IFREG, "3", 0},
	};

	unpack_members(s, ".", members, 2);
	check_error(TR_LIMIT, "No space left on device: b (entries unpacked before: 1)");
	check_content(s, "b", NULL);
	check_write(s, "f", "there is room", "/workspace/f", 13);
	assert_int_equal(unlinkat(s->w.fd, "f", 0), 0);
	unpack_members(s, ".", many, 5);
	check_error(TR_LIMIT, "No space left on device: c (entries unpacked before: 3)");
	check_content(s, "l", "1");
	free(half);
	free(more);
}

static bool write_proc(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Root needs no user namespace; others stay who they are in theirs, but may mount there. */
static bool enter_namespaces(void)
{
	char uids[32], gids[32];
	uid_t uid = geteuid();

	snprintf(uids, sizeof(uids), "%u %u 1", uid, uid);
	snprintf(gids, sizeof(gids), "%u %u 1", getegid(), getegid());
	if (unshare(CLONE_NEWNS | (uid ? CLONE_NEWUSER : 0)) < 0)
		return false;
	if (uid &&
	    !(write_proc("/proc/self/setgroups", "deny") &&
	      write_proc("/proc/self/uid_map", uids) && write_proc("/proc/self/gid_map", gids)))
		return false;
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bytes, full_open, full_close),
		cmocka_unit_test_setup_teardown(test_inodes, full_open, full_close),
		cmocka_unit_test_setup_teardown(test_write_artifact, full_open, full_close),
		cmocka_unit_test_setup_teardown(test_unpack, full_open, full_close),
	};
	const char *must = getenv("TOOLRING_MUST_WORK");

	if (!enter_namespaces()) {
		perror("no mount namespace");
		return must && strcmp(must, "1") == 0 ? 1 : 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
