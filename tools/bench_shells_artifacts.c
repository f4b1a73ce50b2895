/* SPDX-License-Identifier: Apache-2.0 */
/* What it takes to get a large file out of a slot, and many as an archive. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench_guard.h"
#include "bench_shells.h"
#include "bench_spawn.h"
#include "bench_tool.h"
#include "bench_turns.h"
#include "cli.h"

#define N_TURNS      5
#define N_READ       5000000
#define N_FILES      1000
#define N_QUICK      20
#define N_FILE_BYTES 4096
#define N_LINE       64
#define N_RANDOM     32 /* of a line */
#define N_PATH       192

/* The same in every run (Marsaglia's xorshift64). */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static int write_file(const char *path, const void *data, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	const char *at = data;
	int r = fd < 0 ? -errno : 0;

	while (r == 0 && n > 0) {
		ssize_t n_written = write(fd, at, n);

		if (n_written < 0)
			r = -errno;
		else
			at += n_written, n -= (size_t)n_written;
	}
	if (fd >= 0)
		close(fd);
	return r;
}

/* A directory in memory, made once for all parts. */
static int scratch(const char **ret_path)
{
	static const char *path;
	int r = path ? 0 : bench_guard_scratch(&path);

	if (r == 0)
		*ret_path = path;
	return r;
}

/* The bytes in an answer, and how many entries it counts. */
struct content {
	struct tr_value *whole;
	const struct tr_value *bytes;
	int64_t n_entries;
};

static void content_deinit(struct content *c)
{
	tr_value_free(c->whole);
	*c = (struct content){0};
}

static int content_take(struct content *c, const struct tr_result *result)
{
	const struct tr_value *n_entries;
	int r;

	content_deinit(c);
	r = tr_value_parse(result->raw.data, result->raw.n, &c->whole);
	if (r < 0)
		return r;
	c->bytes = tr_value_get(c->whole, "content");
	n_entries = tr_value_get(c->whole, "entry_count");
	c->n_entries = n_entries && n_entries->type == TR_INT ? n_entries->u.integer : 0;
	return c->bytes && c->bytes->type == TR_BINARY ? 0 : -EPROTO;
}

/* ---- one file ------------------------------------------------------------------------------------- */

struct reader {
	struct bench_tool read;
	struct content content;
	unsigned char *expected;
	unsigned char *copied;
	char source[N_PATH];
	char copy[N_PATH];
	struct bench_words cp;
};

static void reader_deinit(struct reader *reader)
{
	bench_tool_deinit(&reader->read);
	content_deinit(&reader->content);
	free(reader->expected);
	free(reader->copied);
}

/* Up to the bytes as a caller gets them. */
static int reader_read(void *data)
{
	struct reader *reader = data;
	int r = bench_tool_call(&reader->read);

	return r < 0 ? r : content_take(&reader->content, &reader->read.result);
}

static int reader_check(void *data)
{
	const struct reader *reader = data;
	const struct tr_value *bytes = reader->content.bytes;

	return bytes->n == N_READ && memcmp(bytes->u.binary, reader->expected, N_READ) == 0
		       ? 0
		       : -EBADMSG;
}

static int reader_unlink(void *data)
{
	const struct reader *reader = data;

	return unlink(reader->copy) < 0 && errno != ENOENT ? -errno : 0;
}

static int reader_cp(void *data)
{
	return bench_spawn(&((struct reader *)data)->cp);
}

static int reader_check_copy(void *data)
{
	struct reader *reader = data;
	int fd = open(reader->copy, O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	ssize_t n_read = fd < 0 ? -1 : 1;

	while (n < N_READ && n_read > 0) {
		n_read = read(fd, reader->copied + n, N_READ - n);
		n += n_read > 0 ? (size_t)n_read : 0;
	}
	if (fd >= 0)
		close(fd);
	return n == N_READ && memcmp(reader->copied, reader->expected, N_READ) == 0 ? 0 : -EBADMSG;
}

/* The same content on both sides. */
static int reader_make(struct reader *reader, struct tr_client *client)
{
	_cleanup_(bench_tool_deinit) struct bench_tool write = {0};
	uint64_t state = 1;
	const char *dir = NULL;
	int r = scratch(&dir);

	reader->expected = malloc(N_READ);
	reader->copied = malloc(N_READ);
	if (r < 0 || !reader->expected || !reader->copied)
		return r < 0 ? r : -ENOMEM;
	for (size_t i = 0; i < N_READ; i++)
		reader->expected[i] = (unsigned char)next_random(&state);
	snprintf(reader->source, sizeof(reader->source), "%s/5mb", dir);
	snprintf(reader->copy, sizeof(reader->copy), "%s/copy", dir);
	bench_words_add(&reader->cp,
			(const char *[]){"/bin/cp", reader->source, reader->copy, NULL});
	bench_tool_init(&write, client, "read", NULL);
	write.kind = TR_KIND_ARTIFACT_WRITE;
	bench_tool_argument(&write, "path", tr_string("5mb"));
	bench_tool_argument(&write, "content", tr_binary(reader->expected, N_READ));
	bench_tool_init(&reader->read, client, "read", NULL);
	reader->read.kind = TR_KIND_ARTIFACT_READ;
	bench_tool_argument(&reader->read, "path", tr_string("5mb"));
	bench_tool_argument(&reader->read, "encoding", tr_string("bytes"));
	r = write_file(reader->source, reader->expected, N_READ);
	return r < 0 ? r : bench_tool_call(&write);
}

int bench_shells_artifact_read(struct bench_suite *suite)
{
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	_cleanup_(reader_deinit) struct reader reader = {0};
	size_t n = suite->options.quick ? 3 : 100;
	struct bench_side sides[] = {
		{.step = reader_read, .check = reader_check, .data = &reader, .n_steps = n},
		{.prepare = reader_unlink,
		 .step = reader_cp,
		 .check = reader_check_copy,
		 .data = &reader,
		 .n_steps = n},
	};
	int r = bench_suite_start(suite, NULL, &daemon, &client);

	if (r == 0)
		r = reader_make(&reader, client);
	if (r == 0)
		r = bench_turns(sides, N_ELEMENTS(sides), suite->options.quick ? 1 : N_TURNS);
	if (r == 0)
		bench_suite_add(suite, &(struct bench_row){.name = "artifact_read_5mb",
							   .value = sides[0].p50_ns,
							   .unit = BENCH_NS,
							   .baseline = "cp to /dev/shm",
							   .baseline_value = sides[1].p50_ns,
							   .target = BENCH_AT_MOST,
							   .limit = 3});
	return r;
}

/* ---- an archive ----------------------------------------------------------------------------------- */

struct packer {
	struct bench_tool archive;
	struct content content;
	int n_files;
	char dir[N_PATH];
	char theirs[N_PATH]; /* what tar makes */
	struct bench_words tar;
};

static void packer_deinit(struct packer *packer)
{
	bench_tool_deinit(&packer->archive);
	content_deinit(&packer->content);
}

static int packer_pack(void *data)
{
	struct packer *packer = data;
	int r = bench_tool_call(&packer->archive);

	return r < 0 ? r : content_take(&packer->content, &packer->archive.result);
}

static int packer_check(void *data)
{
	const struct packer *packer = data;

	return packer->content.n_entries == packer->n_files ? 0 : -EBADMSG;
}

static int packer_tar(void *data)
{
	return bench_spawn(&((struct packer *)data)->tar);
}

/* The last archive holds what was in the files: unpacked by tar it is the same. */
static int packer_compare(struct packer *packer)
{
	struct bench_words compare = {0};
	char path[N_PATH + 40];
	int r;

	snprintf(path, sizeof(path), "%s/ours", packer->dir);
	r = write_file(path, packer->content.bytes->u.binary, packer->content.bytes->n);
	bench_words_add(
		&compare,
		(const char *[]){"/bin/bash", "-c",
				 "cd \"$1\" && rm -rf unpacked && mkdir unpacked && "
				 "tar xf ours -C unpacked && "
				 "if test -d unpacked/files; then diff -r files unpacked/files; "
				 "else diff -r files unpacked; fi",
				 "compare", packer->dir, NULL});
	return r < 0 ? r : bench_spawn(&compare);
}

static void fill_file(char content[N_FILE_BYTES], uint64_t *state)
{
	static const char rest[] = " the quick brown fox jumps over\n";

	_Static_assert(sizeof(rest) - 1 == N_LINE - N_RANDOM, "a line");
	for (size_t line = 0; line < N_FILE_BYTES; line += N_LINE) {
		for (size_t i = 0; i < N_RANDOM; i++)
			content[line + i] = "0123456789abcdef"[next_random(state) % 16];
		memcpy(content + line + N_RANDOM, rest, sizeof(rest) - 1);
	}
}

/* The same files in the slot and in memory here. */
static int make_files(struct packer *packer, struct tr_client *client)
{
	uint64_t state = 1;
	char path[N_PATH + 40];
	int r = 0;

	snprintf(path, sizeof(path), "%s/files", packer->dir);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	for (int i = 0; i < packer->n_files && r == 0; i++) {
		_cleanup_(bench_tool_deinit) struct bench_tool write = {0};
		char content[N_FILE_BYTES];
		char name[32];

		fill_file(content, &state);
		snprintf(name, sizeof(name), "files/%04d", i);
		snprintf(path, sizeof(path), "%s/%s", packer->dir, name);
		r = write_file(path, content, sizeof(content));
		bench_tool_write(&write, client, "pack", name, content, sizeof(content));
		if (r == 0)
			r = bench_tool_call(&write);
	}
	return r;
}

static int packer_init(struct packer *packer, struct tr_client *client, const char *format,
		       const char *flag)
{
	const char *dir = NULL;
	int r = scratch(&dir);

	if (r < 0)
		return r;
	snprintf(packer->dir, sizeof(packer->dir), "%s", dir);
	snprintf(packer->theirs, sizeof(packer->theirs), "%s/theirs", dir);
	bench_words_add(&packer->tar, (const char *[]){"/bin/tar", flag, "-cf", packer->theirs,
						       "-C", packer->dir, "files", NULL});
	bench_tool_init(&packer->archive, client, "pack", NULL);
	packer->archive.kind = TR_KIND_ARTIFACT_ARCHIVE;
	bench_tool_argument(&packer->archive, "path", tr_string("files"));
	bench_tool_argument(&packer->archive, "format", tr_string(format));
	bench_tool_argument(&packer->archive, "encoding", tr_string("bytes"));
	return 0;
}

static int time_archive(struct bench_suite *suite, struct tr_client *client, const char *format,
			const char *flag, bool has_tar, const struct bench_row *row)
{
	_cleanup_(packer_deinit) struct packer packer = {0};
	bool quick = suite->options.quick;
	size_t n = quick ? 2 : 20;
	struct bench_row filled = *row;
	struct bench_side sides[] = {
		{.step = packer_pack, .check = packer_check, .data = &packer, .n_steps = n},
		{.step = packer_tar, .data = &packer, .n_steps = n},
	};
	int r;

	packer.n_files = quick ? N_QUICK : N_FILES;
	r = packer_init(&packer, client, format, flag);
	if (r == 0)
		r = make_files(&packer, client);
	if (r == 0)
		r = bench_turns(sides, has_tar ? 2 : 1, quick ? 1 : N_TURNS);
	if (r == 0 && has_tar)
		r = packer_compare(&packer);
	if (r < 0)
		return r;
	filled.value = sides[0].p50_ns;
	filled.baseline_value = sides[1].p50_ns;
	if (has_tar)
		bench_suite_add(suite, &filled);
	else
		bench_suite_add_bare(suite, &filled, "zstd is missing");
	return 0;
}

int bench_shells_artifact_archive(struct bench_suite *suite)
{
	static const struct bench_row gz = {.name = "artifact_archive_1000",
					    .unit = BENCH_NS,
					    .baseline = "tar czf",
					    .target = BENCH_AT_MOST,
					    .limit = 1.3};
	static const struct bench_row zst = {
		.name = "artifact_archive_zst", .unit = BENCH_NS, .baseline = "tar --zstd -cf"};
	_cleanup_(bench_suite_cleanup_daemon) struct bench_daemon daemon = {0};
	_cleanup_(cli_cleanup_client) struct tr_client *client = NULL;
	char path[N_PATH];
	int r = bench_suite_start(suite, NULL, &daemon, &client);

	if (r == 0 && bench_suite_wants(suite, gz.name))
		r = time_archive(suite, client, "tar.gz", "-z", true, &gz);
	if (r == 0 && bench_suite_wants(suite, zst.name))
		r = time_archive(suite, client, "tar.zst", "--zstd",
				 bench_find_program("zstd", path, sizeof(path)), &zst);
	return r;
}
