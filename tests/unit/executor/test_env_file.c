/* SPDX-License-Identifier: Apache-2.0 */

/* The .env reader: what it takes, what it refuses and how it says so. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "executor/env_file.h"

static char directory[] = "/tmp/toolring-test-env-XXXXXX";
static char path[64];
static char error[256];

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/.env", directory);
	return chmod(directory, 0755);
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

static int parse(struct env_file *f, const char *text)
{
	error[0] = '\0';
	return env_file_parse(f, ".env", text, strlen(text), error, sizeof(error));
}

static void write_file(const char *text, size_t n, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	close(fd);
}

/* One line each: the key K has this value. */
static void test_values(void **state)
{
	static const struct {
		const char *text;
		const char *value;
	} lines[] = {
		{"K=v", "v"},
		{"K=v\n", "v"},
		{"K=v\r\n", "v"},
		{"K=", ""},
		{"K=\r\n", ""},
		{"  K = v w \t", "v w"},
		{"export K=v", "v"},
		{"\texport\tK=v", "v"},
		{"K=v # comment", "v"},
		{"K=v#not", "v#not"},
		{"K=#not", "#not"},
		{"K= # comment", ""},
		{"K=a=b", "a=b"},
		{"K=it's", "it's"},
		{"K='a \"b\" \\n # $x'", "a \"b\" \\n # $x"},
		{"K='v' # comment", "v"},
		{"K='v'\r\n", "v"},
		{"K=''", ""},
		{"K=\"a\\nb\\t\\r\\\\\\\"\\$\\`\\'\"", "a\nb\t\r\\\"$`'"},
		{"K=\"a # b\"", "a # b"},
		{"K=$HOME", "$HOME"},
		{"K=\"$HOME\"", "$HOME"},
		{"\xef\xbb\xbfK=v", "v"},
		{"K=\xc3\xa4", "\xc3\xa4"},
		{"# K=w\n\n   # x\n\r\nK=v\n#", "v"},
		{"K=a\nK=b\n", "b"},
		{"export=1\nK=v", "v"},
		{"a.b-c_9=1\nK=v", "v"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		const struct env_entry *entry;
		struct env_file f;

		if (parse(&f, lines[i].text) < 0)
			fail_msg("%s: %s", lines[i].text, error);
		entry = env_file_find(&f, "K");
		assert_non_null(entry);
		assert_string_equal(entry->value, lines[i].value);
		assert_null(env_file_find(&f, "L"));
		env_file_deinit(&f);
	}
}

/* What is malformed is refused with its line; a secret on that line is not repeated. */
static void test_malformed(void **state)
{
	static const char *const lines[] = {
		"SECRET",       "=SECRET",        "9K=SECRET",      "K-é=SECRET",
		"K SECRET=1",   "export",         "export =SECRET", "K=\"SECRET",
		"K='SECRET",    "K=\"SECRET\" x", "K='SECRET'x",    "K=\"SECRET\\q\"",
		"K=\"SECRET\\", "K=\"SECRET\\\"", "K='SECRET'#",    "K=\"SECRET\\\nL\"",
	};
	char text[64];
	struct env_file f;

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		snprintf(text, sizeof(text), "A=1\n\n%s", lines[i]);
		if (parse(&f, text) != -EINVAL)
			fail_msg("taken: %s", lines[i]);
		assert_memory_equal(error, ".env line 3: ", 13);
		assert_null(strstr(error, "SECRET"));
		assert_int_equal(f.n_entries, 0);
		assert_null(f.entries);
	}
	assert_int_equal(env_file_parse(&f, ".env", "A=1\nB=\0x\n", 9, error, sizeof(error)),
			 -EINVAL);
	assert_string_equal(error, ".env line 2: a NUL byte");
}

/* Lines are counted as an editor counts them. */
static void test_line_numbers(void **state)
{
	struct env_file f;

	(void)state;
	assert_int_equal(parse(&f, "\n# x\nA=1\r\n\r\nB=2"), 0);
	assert_int_equal(f.n_entries, 2);
	assert_int_equal(env_file_find(&f, "A")->line, 3);
	assert_int_equal(env_file_find(&f, "B")->line, 5);
	env_file_deinit(&f);
}

/* No file is no error; one of exactly the most bytes is read, one more is refused. */
static void test_sizes(void **state)
{
	char *text = malloc(ENV_FILE_BYTES_MAX + 1);
	struct env_file f;

	(void)state;
	assert_non_null(text);
	unlink(path);
	assert_int_equal(env_file_read(&f, path, error, sizeof(error)), 0);
	assert_int_equal(f.n_entries, 0);
	assert_int_equal(env_file_read(&f, "/dev/null/x", error, sizeof(error)), 0);

	memset(text, 'x', ENV_FILE_BYTES_MAX + 1);
	memcpy(text, "K=", 2);
	write_file(text, ENV_FILE_BYTES_MAX, 0600);
	assert_int_equal(env_file_read(&f, path, error, sizeof(error)), 0);
	assert_int_equal(strlen(env_file_find(&f, "K")->value), ENV_FILE_BYTES_MAX - 2);
	env_file_deinit(&f);
	write_file(text, ENV_FILE_BYTES_MAX + 1, 0600);
	assert_int_equal(env_file_read(&f, path, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "larger than 65536"));
	free(text);
	unlink(path);
}

/* A file that is there and cannot be read is an error; none hangs: FIFO, directory, no right. */
static void test_unreadable(void **state)
{
	uid_t uid = geteuid();
	struct env_file f;

	(void)state;
	assert_int_equal(env_file_read(&f, directory, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "not a regular file"));
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(env_file_read(&f, path, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "not a regular file"));
	unlink(path);

	write_file("K=v\n", 4, 0);
	if (uid == 0)
		assert_int_equal(seteuid(65534), 0);
	assert_int_equal(env_file_read(&f, path, error, sizeof(error)), -EINVAL);
	if (uid == 0)
		assert_int_equal(seteuid(0), 0);
	assert_non_null(strstr(error, path));
	assert_non_null(strstr(error, "Permission denied"));
	/* The twin: with the right to read it, the same file is taken. */
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(env_file_read(&f, path, error, sizeof(error)), 0);
	assert_string_equal(env_file_find(&f, "K")->value, "v");
	env_file_deinit(&f);
	unlink(path);
}

/* Whatever bytes come, it ends with entries or with a text, and touches nothing beyond them. */
static void test_garbage(void **state)
{
	static const char letters[] = "KKvv==\"\"''\\#  \t\r\n\nnexport\xff";
	uint32_t random = 12345;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		char *text;
		size_t n;
		struct env_file f;
		int r;

		random = random * 1664525 + 1013904223;
		n = (random >> 16) % 40;
		text = malloc(n ? n : 1); /* of its exact size, for the sanitizer to guard */
		assert_non_null(text);
		for (size_t i = 0; i < n; i++) {
			random = random * 1664525 + 1013904223;
			text[i] = letters[(random >> 16) % (sizeof(letters) - 1)];
		}
		error[0] = '\0';
		r = env_file_parse(&f, ".env", text, n, error, sizeof(error));
		assert_true(r == 0 || (r == -EINVAL && error[0]));
		env_file_deinit(&f);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),       cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_line_numbers), cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_unreadable),   cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
