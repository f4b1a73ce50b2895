/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing an artifact: in each encoding, cut off, with its checksum, of files that say
 * less than they have, and refused where it must be.
 */
#include "artifact_case.h"

#include <sys/socket.h>

#define N_BIG 5000000

static enum tr_verdict read_artifact(struct scene *s, const char *path, enum slot_encoding encoding,
				     uint64_t n_max, struct buf *out)
{
	struct artifact_options o = {
		.n_bytes_max = n_max, .encoding = encoding, .with_sha256 = true};
	enum tr_verdict verdict;

	buf_init(out, (size_t)(4 * n_max + 16));
	verdict = checked(artifact_read(&s->w, span_string(path), &o, out, &result));
	if (verdict != TR_OK)
		assert_int_equal(out->n, 0);
	return verdict;
}

static void check_read_as(struct scene *s, const char *path, enum slot_encoding encoding,
			  uint64_t n_max, const char *expected, uint64_t size, uint64_t file_size)
{
	struct buf out;

	assert_int_equal(read_artifact(s, path, encoding, n_max, &out), TR_OK);
	if (!span_is(span_of(out.n ? (const char *)out.data : "", out.n), expected))
		fail_msg("\"%.*s\" instead of \"%s\"", (int)out.n, (const char *)out.data,
			 expected);
	assert_int_equal(result.size, size);
	assert_int_equal(result.file_size, file_size);
	assert_int_equal(result.flags, size < file_size ? SLOT_TRUNCATED : 0);
	buf_deinit(&out);
}

static void check_sha256(const char *hex)
{
	char text[65] = "";

	for (size_t i = 0; i < 32; i++)
		sprintf(text + 2 * i, "%02x", result.sha256[i]);
	assert_string_equal(text, hex);
}

static void test_encodings(void **state)
{
	struct scene *s = *state;

	put_text(s, "r.txt", "0123456789");
	check_read_as(s, "r.txt", SLOT_TEXT, 1000, "0123456789", 10, 10);
	check_read_as(s, "r.txt", SLOT_TEXT, 4, "0123", 4, 10);
	check_sha256("1be2e452b46d7a0d9656bbb1f768e8248eba1b75baed65f5d99eafa948899a6a");
	check_read_as(s, "r.txt", SLOT_BASE64, 10, "MDEyMzQ1Njc4OQ==", 10, 10);
	check_read_as(s, "r.txt", SLOT_BASE64, 0, "", 0, 10);
	put(s, "b.bin", "a\377", 2);
	check_read_as(s, "b.bin", SLOT_BASE64, 1000, "Yf8=", 2, 2);
	check_sha256("8dd06b5ab6b594257e41b7d8dd440a4062eddc67fdab5c13b4dc300176896f6e");
	check_read_as(s, "b.bin", SLOT_TEXT, 1000, "a\xef\xbf\xbd", 2, 2);
	check_read_as(s, "b.bin", SLOT_BYTES, 1000, "a\377", 2, 2);
	put(s, "three", "\0\xfb\xff", 3);
	check_read_as(s, "three", SLOT_BASE64, 1000, "APv/", 3, 3);
	put_text(s, "empty", "");
	check_read_as(s, "empty", SLOT_BASE64, 1000, "", 0, 0);
	check_sha256("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* What stood in the buffer stays, for who builds an answer around it. */
static void test_appends(void **state)
{
	struct scene *s = *state;
	struct artifact_options o = {.n_bytes_max = 100, .encoding = SLOT_TEXT};
	struct buf out;

	buf_init(&out, 1000);
	assert_int_equal(buf_append(&out, "<", 1), 0);
	put(s, "f", "\xff\xff", 2);
	assert_int_equal(checked(artifact_read(&s->w, span_string("f"), &o, &out, &result)), TR_OK);
	o.encoding = SLOT_BASE64;
	assert_int_equal(checked(artifact_read(&s->w, span_string("f"), &o, &out, &result)), TR_OK);
	assert_true(span_is(span_of(out.data, out.n), "<\xef\xbf\xbd\xef\xbf\xbd//8="));
	assert_int_equal(checked(artifact_read(&s->w, span_string("-"), &o, &out, &result)),
			 TR_FAILED);
	assert_int_equal(out.n, 11);
	buf_deinit(&out);
}

static void test_big(void **state)
{
	struct scene *s = *state;
	char *bytes = malloc(N_BIG);
	struct buf out;

	assert_non_null(bytes);
	for (size_t i = 0; i < N_BIG; i++)
		bytes[i] = (char)(i * 7 + i / 251);
	put(s, "big", bytes, N_BIG);
	assert_int_equal(read_artifact(s, "big", SLOT_BYTES, N_BIG, &out), TR_OK);
	assert_int_equal(out.n, N_BIG);
	assert_memory_equal(out.data, bytes, N_BIG);
	buf_deinit(&out);
	assert_int_equal(read_artifact(s, "big", SLOT_BASE64, N_BIG, &out), TR_OK);
	assert_int_equal(out.n, (N_BIG + 2) / 3 * 4);
	buf_deinit(&out);
	free(bytes);
}

static void test_refused(void **state)
{
	struct scene *s = *state;
	struct buf out;

	make_folder(s, "d");
	put_text(s, "f", "x");
	assert_int_equal(mkfifoat(s->w.fd, "fifo", 0600), 0);
	assert_int_equal(symlinkat("/etc/passwd", s->w.fd, "out"), 0);
	read_artifact(s, "none", SLOT_TEXT, 100, &out);
	check_error(TR_FAILED, "Not found: none");
	assert_int_equal(result.flags, SLOT_NOT_FOUND);
	read_artifact(s, "f/below", SLOT_TEXT, 100, &out);
	check_error(TR_FAILED, "Not found: f/below");
	read_artifact(s, "d", SLOT_TEXT, 100, &out);
	check_error(TR_INVALID, "Not a file: d");
	assert_int_equal(result.flags, SLOT_MISUSED);
	read_artifact(s, "fifo", SLOT_TEXT, 100, &out);
	check_error(TR_INVALID, "Not a file: fifo");
	read_artifact(s, "../../etc/passwd", SLOT_TEXT, 100, &out);
	check_error(TR_DENIED, "Access denied: path outside workspace");
	read_artifact(s, "out", SLOT_TEXT, 100, &out);
	check_error(TR_DENIED, "Access denied: path outside workspace");
	assert_int_equal(fchmodat(s->w.fd, "f", 0, 0), 0);
	read_artifact(s, "f", SLOT_TEXT, 100, &out);
	check_error(TR_DENIED, "Permission denied: f");
	read_artifact(s, "n\xff", SLOT_TEXT, 100, &out);
	check_error(TR_FAILED, "Not found: n\xef\xbf\xbd");
}

/* The longest name there can be, in which nothing is text, is told as far as an error goes. */
static void test_long_name(void **state)
{
	struct scene *s = *state;
	char path[PATH_MAX] = "";
	struct buf out;

	memset(path, 0xff, sizeof(path) - 1);
	for (size_t i = 200; i < sizeof(path) - 1; i += 200)
		path[i] = '/';
	read_artifact(s, path, SLOT_TEXT, 100, &out);
	check_error_prefix(TR_FAILED, "Not found: \xef\xbf\xbd\xef\xbf\xbd");
	assert_true(strlen(result.error) > ARTIFACT_ERROR_MAX - 300);
}

/* As `anywhere` has it: the folder is all there is. A file of /proc says it has nothing. */
static void test_anywhere(void **state)
{
	struct scene *s = *state;
	struct workspace all = {.fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), .path = "/"};
	struct artifact_options o = {.n_bytes_max = 1000, .encoding = SLOT_BYTES};
	char path[128];
	struct buf out;

	assert_true(all.fd >= 0);
	put_text(s, "f", "anywhere");
	assert_int_equal(symlinkat("f", s->w.fd, "l"), 0);
	snprintf(path, sizeof(path), "%s/l", s->workspace);
	buf_init(&out, 8000);
	assert_int_equal(checked(artifact_read(&all, span_string(path), &o, &out, &result)), TR_OK);
	assert_true(buf_is(&out, "anywhere"));
	buf_clear(&out);
	assert_int_equal(
		checked(artifact_read(&all, span_string("/proc/version"), &o, &out, &result)),
		TR_OK);
	assert_memory_equal(out.data, "Linux", 5);
	assert_int_equal(result.file_size, out.n);
	snprintf(path, sizeof(path), "%s/a/b", s->workspace);
	assert_int_equal(
		checked(artifact_write(&all, span_string(path), span_string("new"), &o, &result)),
		TR_OK);
	check_content(s, "a/b", "new");
	buf_deinit(&out);
	close(all.fd);
}

static enum tr_verdict write_artifact(struct scene *s, const char *path, const char *content)
{
	struct artifact_options o = {.n_bytes_max = 10};

	return checked(artifact_write(&s->w, span_string(path), span_string(content), &o, &result));
}

static void test_write(void **state)
{
	struct scene *s = *state;

	assert_int_equal(write_artifact(s, "x/y/z", "0123456789"), TR_OK);
	assert_int_equal(result.size, 10);
	check_content(s, "x/y/z", "0123456789");
	assert_int_equal(write_artifact(s, "x/y/z", "short"), TR_OK);
	check_content(s, "x/y/z", "short");
	write_artifact(s, "x/y/z", "01234567890");
	check_error(TR_LIMIT, "Content too large: 11 bytes (max 10)");
	check_content(s, "x/y/z", "short");
	write_artifact(s, "x", "x");
	check_error(TR_INVALID, "Not a file: x");
	write_artifact(s, "x/y/z/f", "x");
	check_error(TR_INVALID, "Not a folder: x/y/z/f");
	write_artifact(s, "../evil", "x");
	check_error(TR_DENIED, "Access denied: path outside workspace");
	assert_int_equal(symlinkat(s->secret, s->w.fd, "out"), 0);
	write_artifact(s, "out/f", "x");
	check_error(TR_DENIED, "Access denied: path outside workspace");
	check_secret(s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, scene_open, scene_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_encodings), TEST(test_appends),  TEST(test_big),   TEST(test_refused),
		TEST(test_long_name), TEST(test_anywhere), TEST(test_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
