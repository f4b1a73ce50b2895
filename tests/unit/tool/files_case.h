/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TOOL_FILES_CASE_H
#define TESTS_UNIT_TOOL_FILES_CASE_H

/*
 * A folder with a workspace and, beside it, a secret; read_file and write_file on it, with what they
 * should say. Root gives up its rights to files first, as a slot's init does.
 */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/utf8.h"
#include "tool/slot/files.h"

#define N_MAX    1000
#define GUEST    12345
#define TEXT_MAX 16384
#define SECRET   "the secret"

struct scene {
	struct workspace w;
	char root[64], workspace[96], secret[96];
	struct buf output, error, resolved;
	struct file_texts texts;
	struct file_result result;
};

static inline void become_guest(void)
{
	if (geteuid() != 0)
		return;
	setfsgid(GUEST);
	setfsuid(GUEST);
	assert_int_equal(setfsuid((uid_t)-1), GUEST);
}

static inline void put(struct scene *s, const char *name, const char *bytes, size_t n)
{
	int fd = openat(s->w.fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), (ssize_t)n);
	close(fd);
}

static inline int scene_open(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));
	char path[128];
	int fd;

	umask(022);
	assert_non_null(s);
	strcpy(s->root, "/tmp/toolring-files-XXXXXX");
	assert_non_null(mkdtemp(s->root));
	snprintf(s->workspace, sizeof(s->workspace), "%s/w", s->root);
	snprintf(s->secret, sizeof(s->secret), "%s/secret", s->root);
	assert_int_equal(mkdir(s->workspace, 0755), 0);
	assert_int_equal(mkdir(s->secret, 0755), 0);
	snprintf(path, sizeof(path), "%s/f", s->secret);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(write(fd, SECRET, strlen(SECRET)), strlen(SECRET));
	close(fd);
	if (geteuid() == 0) {
		assert_int_equal(chown(s->root, GUEST, GUEST), 0);
		assert_int_equal(chown(s->workspace, GUEST, GUEST), 0);
		assert_int_equal(chown(s->secret, GUEST, GUEST), 0);
		assert_int_equal(chown(path, GUEST, GUEST), 0);
	}
	become_guest();
	s->w.fd = open(s->workspace, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(s->w.fd >= 0);
	s->w.path = "/workspace";
	buf_init(&s->output, 4 * N_MAX > TEXT_MAX ? 4 * N_MAX : TEXT_MAX);
	buf_init(&s->error, TEXT_MAX);
	buf_init(&s->resolved, TEXT_MAX);
	s->texts = (struct file_texts){&s->output, &s->error, &s->resolved};
	*state = s;
	return 0;
}

static inline int scene_close(void **state)
{
	struct scene *s = *state;
	char command[192];

	close(s->w.fd);
	if (geteuid() == 0) {
		setfsuid(0);
		setfsgid(0);
	}
	snprintf(command, sizeof(command), "chmod -R u+rwX %s; rm -r %s", s->root, s->root);
	assert_int_equal(system(command), 0);
	buf_deinit(&s->output);
	buf_deinit(&s->error);
	buf_deinit(&s->resolved);
	free(s);
	return 0;
}

/* Whatever came: only what belongs to that verdict, and all of it text. */
static inline enum tr_verdict check_texts(struct scene *s, int r)
{
	bool ok;

	assert_int_equal(r, 0);
	ok = s->result.verdict == TR_OK;
	assert_true(utf8_valid(span_of(s->output.data, s->output.n)));
	assert_true(utf8_valid(span_of(s->error.data, s->error.n)));
	assert_true(utf8_valid(span_of(s->resolved.data, s->resolved.n)));
	assert_true(ok == (s->error.n == 0));
	assert_true(ok == (s->resolved.n != 0));
	if (!ok) {
		assert_int_equal(s->output.n, 0);
		assert_int_equal(s->result.size, 0);
	}
	return s->result.verdict;
}

static inline enum tr_verdict read_bytes(struct scene *s, const char *path, size_t n)
{
	return check_texts(s, files_read(&s->w, span_of(path, n), N_MAX, &s->texts, &s->result));
}

static inline enum tr_verdict read_of(struct scene *s, const char *path, uint64_t n_max)
{
	return check_texts(s, files_read(&s->w, span_string(path), n_max, &s->texts, &s->result));
}

static inline enum tr_verdict write_of(struct scene *s, const char *path, const char *content,
				       uint64_t n_max)
{
	return check_texts(s, files_write(&s->w, span_string(path), span_string(content), n_max,
					  &s->texts, &s->result));
}

static inline enum tr_verdict do_it(struct scene *s, bool writing, const char *path)
{
	return writing ? write_of(s, path, "x", N_MAX) : read_of(s, path, N_MAX);
}

static inline bool buf_is(const struct buf *b, const char *text)
{
	return span_is(span_of(b->data, b->n), text);
}

static inline void check_read(struct scene *s, const char *path, const char *content,
			      const char *resolved, uint64_t size)
{
	assert_int_equal(read_of(s, path, N_MAX), TR_OK);
	assert_true(buf_is(&s->output, content));
	assert_true(buf_is(&s->resolved, resolved));
	assert_int_equal(s->result.size, size);
}

static inline void check_write(struct scene *s, const char *path, const char *content,
			       const char *resolved, uint64_t size)
{
	char said[PATH_MAX];

	assert_int_equal(write_of(s, path, content, N_MAX), TR_OK);
	snprintf(said, sizeof(said), "Successfully wrote %u bytes to %s", (unsigned)size, path);
	assert_true(buf_is(&s->output, said));
	assert_true(buf_is(&s->resolved, resolved));
	assert_int_equal(s->result.size, size);
}

/* text NULL: whichever. */
static inline void check_refused(struct scene *s, enum tr_verdict verdict, enum tr_verdict expected,
				 const char *text)
{
	assert_int_equal(verdict, expected);
	if (text && !buf_is(&s->error, text))
		fail_msg("\"%.*s\" instead of \"%s\"", (int)s->error.n, (const char *)s->error.data,
			 text);
}

/* Nothing was changed or added outside. */
static inline void check_secret(struct scene *s)
{
	char path[128], content[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/f", s->secret);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	n = read(fd, content, sizeof(content));
	close(fd);
	assert_int_equal(n, strlen(SECRET));
	assert_memory_equal(content, SECRET, strlen(SECRET));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(s->secret), 0);
}

static inline unsigned mode_of(struct scene *s, const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(s->w.fd, path, &st, 0), 0);
	return st.st_mode & 07777;
}

#endif
