/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unpacking: what an archive holds comes out as it went in; all that would lead out of the folder, or
 * is of a forbidden kind, is refused by name, with a twin beside it that is not; limits stop bombs.
 */
#include "artifact_case.h"

#include <errno.h>

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

static void check_unpacked(struct scene *s, const struct member *members, size_t n)
{
	if (unpack_members(s, "t", members, n) != TR_OK)
		fail_msg("\"%s\"", result.error);
	assert_int_equal(result.n_entries, n);
	assert_int_equal(result.flags, 0);
}

static void test_tree(void **state)
{
	static const struct member members[] = {
		{"./", AE_IFDIR, NULL, 0755},
		{"d/", AE_IFDIR, NULL, 0555},
		{"d/e/f", AE_IFREG, "f", 0640},
		{"d/./e//g", AE_IFREG, "", 0755},
		{"l", AE_IFLNK, "d/e/f", 0777},
		{"d/up", AE_IFLNK, "../d/e", 0777},
		{"d/up/h", AE_IFREG, "h", 0600},
		{"hard", 0, "d/e/f", 0640},
		{"n\xff", AE_IFREG, "odd", 0644},
		{"d/in", AE_IFLNK, "/workspace/t/hard", 0777},
		{"nowhere", AE_IFLNK, "no/where", 0777},
	};
	struct scene *s = *state;
	struct stat st, other;

	check_unpacked(s, members, N_OF(members));
	check_content(s, "t/d/e/f", "f");
	check_content(s, "t/d/e/g", "");
	check_content(s, "t/l", "f");
	check_content(s, "t/d/e/h", "h");
	check_content(s, "t/n\xff", "odd");
	assert_int_equal(mode_of(s, "t/d"), 0555);
	assert_int_equal(mode_of(s, "t/d/e/f"), 0640);
	assert_int_equal(mode_of(s, "t/d/e/g"), 0755);
	assert_int_equal(fstatat(s->w.fd, "t/d", &st, 0), 0);
	assert_int_equal(st.st_mtime, MTIME);
	assert_int_equal(fstatat(s->w.fd, "t/l", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(st.st_mtime, MTIME);
	assert_int_equal(fstatat(s->w.fd, "t/hard", &st, 0), 0);
	assert_int_equal(fstatat(s->w.fd, "t/d/e/f", &other, 0), 0);
	assert_int_equal(st.st_ino, other.st_ino);
	assert_int_equal(st.st_mtime, MTIME);
	assert_int_equal(result.size, 5);
}

static void test_formats(void **state)
{
	static const struct member member = {"f", AE_IFREG, "content", 0};
	struct scene *s = *state;
	struct artifact_options o = options_of(100, 10);
	char path[8];

	for (enum slot_format is = SLOT_TAR_GZ; is < SLOT_N_FORMATS; is++)
		for (unsigned said = 0; said < SLOT_N_FORMATS; said++) {
			snprintf(path, sizeof(path), "%d-%u", is, said);
			o.format = said;
			unpack_fd(s, path, o, make_archive(&member, 1, is));
			if (said == 0 || said == is)
				check_error(TR_OK, "");
			else
				check_error(TR_INVALID, "Not a valid archive: not of that format "
							"(entries unpacked before: 0)");
			snprintf(path, sizeof(path), "%d-%u/f", is, said);
			check_content(s, path, said == 0 || said == is ? "content" : NULL);
		}
}

/* Twice into the same folder: what is in the way is replaced, and not written through. */
static void test_replaces(void **state)
{
	static const struct member members[] = {
		{"d/f", AE_IFREG, "new", 0},  {"l", AE_IFLNK, "d/f", 0},
		{"to", AE_IFREG, "new", 0},   {"fifo", AE_IFREG, "new", 0},
		{"hard", AE_IFREG, "new", 0}, {"h2", 0, "d/f", 0},
		{"h2", 0, "h2", 0},
	};
	struct scene *s = *state;
	char path[128];

	make_folder(s, "t");
	make_folder(s, "t/d");
	put_text(s, "t/d/f", "what was there");
	put_text(s, "t/l", "a file");
	put_text(s, "other", "other");
	snprintf(path, sizeof(path), "%s/f", s->secret);
	assert_int_equal(symlinkat(path, s->w.fd, "t/to"), 0);
	assert_int_equal(mkfifoat(s->w.fd, "t/fifo", 0600), 0);
	assert_int_equal(linkat(s->w.fd, "other", s->w.fd, "t/hard", 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		check_unpacked(s, members, N_OF(members));
		check_content(s, "t/d/f", "new");
		check_content(s, "t/l", "new");
		check_content(s, "t/to", "new");
		check_content(s, "t/fifo", "new");
		check_content(s, "t/h2", "new");
		check_content(s, "other", "other");
	}
	check_secret(s);
}

struct refusal {
	struct member member;
	const char *error;
	struct member twin; /* is not refused */
};

#define BEHIND " (entries unpacked before: 1)"

static const struct refusal refusals[] = {
	{{"/abs", AE_IFREG, "x", 0}, "Refused an absolute name: /abs", {"abs", AE_IFREG, "x", 0}},
	{{"../up", AE_IFREG, "x", 0},
	 "Refused a name with \"..\": ../up",
	 {"..up", AE_IFREG, "x", 0}},
	{{"a/../b", AE_IFREG, "x", 0},
	 "Refused a name with \"..\": a/../b",
	 {"a/..b", AE_IFREG, "x", 0}},
	{{"a/..", AE_IFDIR, NULL, 0755},
	 "Refused a name with \"..\": a/../",
	 {"a/.", AE_IFDIR, NULL, 0755}},
	{{"l", AE_IFLNK, "/etc/passwd", 0},
	 "Refused a symlink that leads out: l",
	 {"l", AE_IFLNK, "etc/passwd", 0}},
	{{"l", AE_IFLNK, "..", 0}, "Refused a symlink that leads out: l", {"l", AE_IFLNK, ".", 0}},
	{{"a/l", AE_IFLNK, "../../x", 0},
	 "Refused a symlink that leads out: a/l",
	 {"a/l", AE_IFLNK, "../x", 0}},
	{{"l", AE_IFLNK, "/workspace/x", 0},
	 "Refused a symlink that leads out: l",
	 {"l", AE_IFLNK, "/workspace/t/x", 0}},
	{{"h", 0, "../outer", 0}, "Refused a hard link that leads out: h", {"h", 0, "first", 0}},
	{{"h", 0, "/etc/passwd", 0},
	 "Refused a hard link that leads out: h",
	 {"h", 0, "./first", 0}},
	{{"h", 0, "out/f", 0}, "Refused a hard link that leads out: h", {"h", 0, "in/f", 0}},
	{{"h", 0, "out", 0}, "Refused a hard link to what is no file: h", {"h", 0, "in/f", 0}},
	{{"out/x", AE_IFREG, "x", 0},
	 "Refused a member behind a symlink that leads out: out/x",
	 {"in/x", AE_IFREG, "x", 0}},
	{{"out/d", AE_IFDIR, NULL, 0755},
	 "Refused a member behind a symlink that leads out: out/d/",
	 {"in/d", AE_IFDIR, NULL, 0755}},
	{{"out/", AE_IFDIR, NULL, 0755},
	 "Refused a member behind a symlink that leads out: out/",
	 {"in/", AE_IFDIR, NULL, 0755}},
	{{"b", AE_IFBLK, NULL, 0}, "Refused a device: b", {"b", AE_IFREG, NULL, 0}},
	{{"c", AE_IFCHR, NULL, 0}, "Refused a device: c", {"c", AE_IFREG, NULL, 0}},
	{{"p", AE_IFIFO, NULL, 0}, "Refused a FIFO: p", {"p", AE_IFREG, NULL, 0}},
	{{"s", AE_IFREG, "x", 04755},
	 "Refused a member with setuid or setgid: s",
	 {"s", AE_IFREG, "x", 0755}},
	{{"s", AE_IFREG, "x", 02755},
	 "Refused a member with setuid or setgid: s",
	 {"s", AE_IFREG, "x", 01755}},
	{{"s/", AE_IFDIR, NULL, 02755},
	 "Refused a member with setuid or setgid: s/",
	 {"s/", AE_IFDIR, NULL, 01755}},
};

/* Each in a folder of its own, in which out leads out and in does not. */
static void unpack_second(struct scene *s, const struct member *second)
{
	struct member members[] = {
		{"first", AE_IFREG, "first", 0}, *second, {"third", AE_IFREG, "third", 0}};

	make_folder(s, "t");
	make_folder(s, "t/d");
	put_text(s, "t/d/f", "inner");
	assert_int_equal(symlinkat(s->secret, s->w.fd, "t/out"), 0);
	assert_int_equal(symlinkat("d", s->w.fd, "t/in"), 0);
	unpack_members(s, "t", members, N_OF(members));
	check_content(s, "t/first", "first");
}

static void tidy(struct scene *s, unsigned i)
{
	char away[32];

	snprintf(away, sizeof(away), "../away-%u", i);
	assert_int_equal(renameat2(s->w.fd, "t", s->w.fd, away, 0), 0);
}

static void test_refused(void **state)
{
	struct scene *s = *state;
	char expected[256];

	put_text(s, "outer", "outer");
	for (unsigned i = 0; i < N_OF(refusals); i++) {
		unpack_second(s, &refusals[i].member);
		snprintf(expected, sizeof(expected), "%s" BEHIND, refusals[i].error);
		check_error(TR_DENIED, expected);
		assert_int_equal(result.n_entries, 1);
		check_content(s, "t/third", NULL);
		tidy(s, 2 * i);
		unpack_second(s, &refusals[i].twin);
		check_error(TR_OK, "");
		assert_int_equal(result.n_entries, 3);
		tidy(s, 2 * i + 1);
	}
	check_secret(s);
}

/* What came with the archive itself leads nowhere either, however it is put together. */
static void test_chains(void **state)
{
	static const struct member up[] = {
		/* to what is not there yet, so that it seems to stay inside */
		{"l", AE_IFLNK, "d/../x", 0},
		{"d", AE_IFLNK, ".", 0},
		{"l/evil", AE_IFREG, "x", 0},
	};
	static const struct member replaced[] = {
		{"d/e/l", AE_IFLNK, "..", 0},
		{"m", AE_IFLNK, "d/e/l/..", 0},
		{"m/n/../evil", AE_IFREG, "x", 0},
	};
	struct scene *s = *state;

	unpack_members(s, "t", up, N_OF(up));
	check_error(TR_DENIED, "Refused a member behind a symlink that leads out: l/evil (entries "
			       "unpacked before: 2)");
	check_content(s, "x/evil", NULL);
	unpack_members(s, "u", replaced, N_OF(replaced));
	check_error(TR_DENIED,
		    "Refused a name with \"..\": m/n/../evil (entries unpacked before: 2)");
	check_content(s, "u/evil", NULL);
}

static void test_in_the_way(void **state)
{
	static const struct member on_folder[] = {{"d", AE_IFREG, "x", 0}};
	static const struct member on_file[] = {{"f", AE_IFDIR, NULL, 0755}};
	static const struct member below_file[] = {{"f/g", AE_IFREG, "x", 0}};
	struct scene *s = *state;

	make_folder(s, "t");
	make_folder(s, "t/d");
	put_text(s, "t/f", "x");
	unpack_members(s, "t", on_folder, 1);
	check_error(TR_INVALID, "Not a file: d (entries unpacked before: 0)");
	unpack_members(s, "t", on_file, 1);
	check_error(TR_INVALID, "Not a folder: f/ (entries unpacked before: 0)");
	unpack_members(s, "t", below_file, 1);
	check_error(TR_INVALID, "Not a folder: f/g (entries unpacked before: 0)");
	unpack_members(s, "t", (const struct member[]){{"h", 0, "no/where", 0}}, 1);
	check_error(TR_INVALID, "Refused a hard link to what is not there: h (entries "
				"unpacked before: 0)");
	unpack_members(s, "t", (const struct member[]){{"h", 0, "nowhere", 0}}, 1);
	check_error(TR_INVALID, "Refused a hard link to what is not there: h (entries "
				"unpacked before: 0)");
	unpack_members(s, "t/f", below_file, 1);
	check_error(TR_INVALID, "Not a folder: t/f");
	unpack_members(s, "../t", below_file, 1);
	check_error(TR_DENIED, "Access denied: path outside workspace");
	assert_int_equal(fchmodat(s->w.fd, "t", 0555, 0), 0);
	unpack_members(s, "t", (const struct member[]){{"n", AE_IFREG, "x", 0}}, 1);
	check_error(TR_DENIED, "Permission denied: n (entries unpacked before: 0)");
}

static void test_limits(void **state)
{
	static const struct member members[] = {{"a", AE_IFREG, "12345", 0},
						{"d/", AE_IFDIR, NULL, 0755},
						{"b", AE_IFREG, "123456", 0}};
	struct scene *s = *state;
	struct artifact_options o = options_of(10, 3);

	unpack_fd(s, "t", o, make_archive(members, 3, SLOT_TAR_GZ));
	check_error(TR_LIMIT, "Archive too large: its files have more bytes than allowed (max 10) "
			      "(entries unpacked before: 2)");
	check_content(s, "t/a", "12345");
	check_content(s, "t/b", NULL);
	o.n_bytes_max = 11;
	assert_int_equal(unpack_fd(s, "t", o, make_archive(members, 3, SLOT_TAR_GZ)), TR_OK);
	assert_int_equal(result.size, 11);
	o.n_entries_max = 2;
	unpack_fd(s, "u", o, make_archive(members, 3, SLOT_TAR_GZ));
	check_error(TR_LIMIT, "Archive has too many entries (max 2) (entries unpacked before: 2)");
}

/* A terabyte that is not there, said in a header, is refused before anything is made of it. */
static void test_bomb(void **state)
{
	struct scene *s = *state;
	struct archive *a = archive_write_new();
	struct archive_entry *entry = archive_entry_new();
	int fd = memory_file();

	archive_write_set_format_pax_restricted(a);
	assert_int_equal(archive_write_open_fd(a, fd), ARCHIVE_OK);
	archive_entry_copy_pathname(entry, "bomb");
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_size(entry, (la_int64_t)1 << 40);
	assert_true(archive_write_header(a, entry) >= ARCHIVE_WARN);
	archive_write_fail(a);
	archive_write_close(a);
	archive_write_free(a);
	archive_entry_free(entry);
	assert_true(lseek(fd, 0, SEEK_END) > 0);
	unpack_fd(s, "t", (struct artifact_options){.n_bytes_max = 1 << 20, .n_entries_max = 9},
		  fd);
	check_error_prefix(TR_LIMIT, "Archive too large: ");
	check_content(s, "t/bomb", NULL);
}

/* One block of tar. */
static void add_header(struct archive *a, const char *name, size_t size, char type)
{
	char block[512] = "";
	unsigned sum = 0;

	snprintf(block, 100, "%s", name);
	snprintf(block + 100, 8, "0000644");
	snprintf(block + 124, 12, "%011o", (unsigned)size);
	memset(block + 148, ' ', 8);
	block[156] = type;
	memcpy(block + 257, "ustar\00000", 8);
	for (size_t i = 0; i < sizeof(block); i++)
		sum += (unsigned char)block[i];
	snprintf(block + 148, 7, "%06o", sum & 0777777);
	assert_int_equal(archive_write_data(a, block, sizeof(block)), sizeof(block));
}

/* A stream that is nothing but what is written to it. */
static struct archive *open_raw(int fd)
{
	struct archive *a = archive_write_new();
	struct archive_entry *entry = archive_entry_new();

	archive_write_set_format_raw(a);
	archive_write_add_filter_gzip(a);
	assert_int_equal(archive_write_open_fd(a, fd), ARCHIVE_OK);
	archive_entry_set_filetype(entry, AE_IFREG);
	assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
	archive_entry_free(entry);
	return a;
}

/* Names of pax archives are UTF-8, whatever the locale; others are what they are. */
static void test_pax_names(void **state)
{
	static const char record[512] = "14 path=\xc3\xa9/\xc3\xbc\n", content[512] = "in pax";
	static const char zeros[1024];
	struct scene *s = *state;
	int fd = memory_file();
	struct archive *a = open_raw(fd);

	add_header(a, "x", strlen(record), 'x');
	archive_write_data(a, record, sizeof(record));
	add_header(a, "other", 6, '0');
	archive_write_data(a, content, sizeof(content));
	add_header(a, "n\xff", 6, '0');
	archive_write_data(a, content, sizeof(content));
	archive_write_data(a, zeros, sizeof(zeros));
	archive_write_free(a);
	assert_int_equal(unpack_fd(s, "t", options_of(100, 10), fd), TR_OK);
	check_content(s, "t/\xc3\xa9/\xc3\xbc", "in pax");
	check_content(s, "t/n\xff", "in pax");
	assert_int_equal(result.n_entries, 2);
}

/* A sparse file in n_pieces, as GNU tar says it in pax. */
static int sparse_file(unsigned n_pieces)
{
	static const char pax[512] = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
				     "21 GNU.sparse.name=f\n28 GNU.sparse.realsize=1000\n";
	int fd = memory_file();
	struct archive *a = open_raw(fd);
	size_t n_map;
	char *map;

	map = calloc(1, 4 * (size_t)n_pieces + 1024);
	assert_non_null(map);
	n_map = (size_t)sprintf(map, "%u\n", n_pieces);
	for (unsigned i = 0; i < n_pieces; i++, n_map += 4)
		memcpy(map + n_map, "0\n0\n", 4);
	n_map = (n_map + 511) / 512 * 512;
	add_header(a, "x", strlen(pax), 'x');
	archive_write_data(a, pax, sizeof(pax));
	add_header(a, "GNUSparseFile/f", n_map, '0');
	archive_write_data(a, map, n_map);
	memset(map, 0, 1024);
	archive_write_data(a, map, 1024);
	free(map);
	archive_write_free(a);
	return fd;
}

/* What libarchive keeps of those pieces would be more than the room's memory. */
static void test_sparse_bomb(void **state)
{
	struct scene *s = *state;
	struct artifact_options o = options_of(1 << 20, 10);

	assert_int_equal(unpack_fd(s, "t", o, sparse_file(1000)), TR_OK);
	assert_int_equal(result.size, 1000);
	assert_int_equal(unlinkat(s->w.fd, "t/f", 0), 0);
	unpack_fd(s, "t", o, sparse_file(1 << 20));
	check_error(TR_INVALID, "Not a valid archive: a member's header is too long (entries "
				"unpacked before: 0)");
	check_content(s, "t/f", NULL);
}

static int file_of(const void *bytes, size_t n)
{
	int fd = memory_file();

	assert_int_equal(write(fd, bytes, n), n);
	return fd;
}

static void test_damaged(void **state)
{
	static const struct member members[] = {{"a", AE_IFREG, "1", 0}, {"b", AE_IFREG, "2", 0}};
	struct scene *s = *state;
	struct artifact_options o = options_of(1 << 20, 10);
	int fd;

	o.format = 0;
	unpack_fd(s, "t", o, file_of("", 0));
	check_error_prefix(TR_INVALID, "Not a valid archive: ");
	assert_int_equal(result.flags, SLOT_MISUSED);
	unpack_fd(s, "t", o, file_of("no archive at all", 17));
	check_error_prefix(TR_INVALID, "Not a valid archive: ");
	unpack_fd(s, "t", o, file_of("PK\3\4", 4));
	check_error_prefix(TR_INVALID, "Not a valid archive: ");
	fd = make_archive(members, 2, SLOT_TAR);
	assert_int_equal(ftruncate(fd, 512 * 3 - 10), 0);
	unpack_fd(s, "t", o, fd);
	check_error_prefix(TR_INVALID, "Not a valid archive: ");
	check_content(s, "t/a", "1");
	fd = make_archive(members, 2, SLOT_TAR_GZ);
	assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_END) / 2), 0);
	unpack_fd(s, "t", o, fd);
	check_error_prefix(TR_INVALID, "Not a valid archive: ");
}

/* A header that was changed since its checksum was made is not taken. */
static void test_checksum(void **state)
{
	static const struct member members[] = {{"a", AE_IFREG, "1", 0}, {"b", AE_IFREG, "2", 0}};
	struct scene *s = *state;
	struct artifact_options o = options_of(1 << 20, 10);
	int fd = make_archive(members, 2, SLOT_TAR);

	o.format = SLOT_TAR;
	assert_int_equal(pwrite(fd, "c", 1, 1024), 1);
	unpack_fd(s, "t", o, fd);
	check_error_prefix(TR_INVALID, "Not a valid archive: ");
	check_content(s, "t/a", "1");
	check_content(s, "t/c", NULL);
}

/* Compressed twice. */
static void test_nested(void **state)
{
	static const struct member members[] = {{"a", AE_IFREG, "1", 0}};
	struct scene *s = *state;
	struct archive *a = archive_write_new();
	struct archive_entry *entry = archive_entry_new();
	int fd = memory_file();

	archive_write_set_format_pax_restricted(a);
	archive_write_add_filter_gzip(a);
	archive_write_add_filter_zstd(a);
	assert_int_equal(archive_write_open_fd(a, fd), ARCHIVE_OK);
	add_member(a, members);
	archive_write_free(a);
	archive_entry_free(entry);
	unpack_fd(s, "t", (struct artifact_options){.n_bytes_max = 100, .n_entries_max = 9}, fd);
	check_error(TR_INVALID,
		    "Not a valid archive: not of that format (entries unpacked before: 0)");
	check_content(s, "t/a", NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, scene_open, scene_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_tree),      TEST(test_formats), TEST(test_replaces),
		TEST(test_refused),   TEST(test_chains),  TEST(test_in_the_way),
		TEST(test_limits),    TEST(test_bomb),    TEST(test_sparse_bomb),
		TEST(test_pax_names), TEST(test_damaged), TEST(test_checksum),
		TEST(test_nested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
