/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as an archive that is unpacked. Shows: whatever it holds, nothing appears or changes outside
 * of the folder; in it there are only files, folders and symlinks, none with setuid or setgid, and
 * no more than was allowed; no descriptor is left open.
 *
 * An input is a byte of what is done with it (enum input) and the archive. Checksums of tar headers are
 * put right, so that changed ones are taken.
 */

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/utf8.h"
#include "fuzz.h"
#include "tool/slot/artifact.h"

enum input {
	INPUT_FORMAT = 3 << 0,
	INPUT_RAW = 1 << 2, /* checksums stay */
	INPUT_TWICE = 1 << 3,
};

#define N_BYTES_MAX   100000
#define N_ENTRIES_MAX 50
#define N_BLOCK       512
#define AT_CHECKSUM   148
#define AT_MAGIC      257

/* ROOT/secret/f, ROOT/w/l which leads to secret, and ROOT/w/t which is unpacked into. */
static struct scene {
	char root[64];
	int fd;
	int workspace;
} scene = {.fd = -1};

/* ---- seeds ------------------------------------------------------------------------------------- */

struct member {
	const char *name;
	unsigned type; /* 0: a hard link */
	const char *text;
	unsigned mode;
};

static const struct member seeds[][5] = {
	{{"d/", AE_IFDIR, NULL, 0755},
	 {"d/f", AE_IFREG, "content", 0644},
	 {"g", AE_IFREG, "", 0600}},
	{{"l", AE_IFLNK, "d/f", 0777},
	 {"d/f", AE_IFREG, "x", 0644},
	 {"h", 0, "d/f", 0644},
	 {"l", AE_IFREG, "y", 0644}},
	{{"d", AE_IFLNK, ".", 0777}, {"d/d/../e", AE_IFREG, "x", 0644}},
	{{"l", AE_IFLNK, "../l", 0777}, {"l/evil", AE_IFREG, "x", 0644}},
	{{"a/b/l", AE_IFLNK, "../..", 0777},
	 {"a/b/l/x", AE_IFREG, "x", 0644},
	 {"a/b/l/a/b/y", AE_IFDIR, NULL, 0500}},
	{{"../../secret/evil", AE_IFREG, "x", 0644}},
	{{"in", AE_IFREG, "x", 0644}, {"h", 0, "../../secret/f", 0644}},
	{{"c", AE_IFCHR, NULL, 0644}},
	{{"p", AE_IFIFO, NULL, 0644}},
	{{"s", AE_IFREG, "x", 04755}},
	{{"0123456789012345678901234567890123456789/0123456789012345678901234567890123456789/"
	  "01234567890123456789012345678901234567890123456789",
	  AE_IFREG, "x", 0644},
	 {"n\xff", AE_IFREG, "x", 0644}},
};

#define N_SEEDS (sizeof(seeds) / sizeof(seeds[0]))

static void add_member(struct archive *a, const struct member *m)
{
	struct archive_entry *entry = archive_entry_new();
	size_t n = m->type == AE_IFREG ? strlen(m->text) : 0;

	archive_entry_copy_pathname(entry, m->name);
	archive_entry_set_filetype(entry, m->type ? m->type : AE_IFREG);
	archive_entry_set_perm(entry, m->mode);
	archive_entry_set_mtime(entry, 1234567890, 500);
	archive_entry_set_size(entry, (la_int64_t)n);
	if (m->type == AE_IFLNK)
		archive_entry_copy_symlink(entry, m->text);
	if (m->type == 0)
		archive_entry_copy_hardlink(entry, m->text);
	FUZZ_CHECK(archive_write_header(a, entry) >= ARCHIVE_WARN);
	FUZZ_CHECK(archive_write_data(a, m->text, n) == (la_ssize_t)n);
	archive_entry_free(entry);
}

/* Each as plain tar in GNU's format and in pax, then compressed either way. */
size_t fuzz_seed(unsigned number, uint8_t *data, size_t size)
{
	unsigned kind = number / N_SEEDS;
	const struct member *m = seeds[number % N_SEEDS];
	struct archive *a;
	size_t n = 0;

	if (kind > 3)
		return 0;
	a = archive_write_new();
	FUZZ_CHECK(a);
	if (kind == 1) {
		archive_write_set_format_pax(a);
		archive_write_set_format_option(a, "pax", "hdrcharset", "BINARY");
	} else {
		archive_write_set_format_gnutar(a);
	}
	if (kind == 2)
		archive_write_add_filter_gzip(a);
	if (kind == 3)
		archive_write_add_filter_zstd(a);
	archive_write_set_bytes_per_block(a, N_BLOCK);
	FUZZ_CHECK(archive_write_open_memory(a, data + 1, size - 1, &n) == ARCHIVE_OK);
	for (unsigned i = 0; i < 5 && m[i].name; i++)
		add_member(a, &m[i]);
	FUZZ_CHECK(archive_write_free(a) == ARCHIVE_OK);
	data[0] = (uint8_t)(number % 2 ? INPUT_TWICE : 0);
	return 1 + n;
}

/* ---- the scene --------------------------------------------------------------------------------- */

static void remove_root(void)
{
	unlinkat(scene.fd, "secret/f", 0);
	unlinkat(scene.fd, "secret", AT_REMOVEDIR);
	unlinkat(scene.fd, "w/l", 0);
	unlinkat(scene.fd, "w", AT_REMOVEDIR);
	rmdir(scene.root);
}

static void make_scene(void)
{
	int fd;

	if (scene.fd >= 0)
		return;
	strcpy(scene.root, access("/dev/shm", W_OK) == 0 ? "/dev/shm/toolring-fuzz-XXXXXX"
							 : "/tmp/toolring-fuzz-XXXXXX");
	FUZZ_CHECK(mkdtemp(scene.root));
	scene.fd = open(scene.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(scene.fd >= 0);
	atexit(remove_root);
	FUZZ_CHECK(mkdirat(scene.fd, "secret", 0755) == 0 && mkdirat(scene.fd, "w", 0755) == 0);
	FUZZ_CHECK(symlinkat("../secret", scene.fd, "w/l") == 0);
	fd = openat(scene.fd, "secret/f", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	FUZZ_CHECK(fd >= 0 && write(fd, "secret", 6) == 6);
	close(fd);
	scene.workspace = openat(scene.fd, "w", O_PATH | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(scene.workspace >= 0);
}

static DIR *open_at(int fd, const char *name)
{
	int folder = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir;

	FUZZ_CHECK(folder >= 0 && (dir = fdopendir(folder)));
	return dir;
}

static bool is_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* How many are in a folder. */
static unsigned count(int fd, const char *name)
{
	DIR *dir = open_at(fd, name);
	struct dirent *entry;
	unsigned n = 0;

	while ((entry = readdir(dir)))
		n += !is_dot(entry->d_name);
	closedir(dir);
	return n;
}

static void check_outside(void)
{
	struct stat st;

	FUZZ_CHECK(count(scene.fd, ".") == 2 && count(scene.fd, "secret") == 1);
	FUZZ_CHECK(count(scene.fd, "w") == 2);
	FUZZ_CHECK(fstatat(scene.fd, "secret/f", &st, AT_SYMLINK_NOFOLLOW) == 0);
	FUZZ_CHECK(S_ISREG(st.st_mode) && st.st_size == 6 && st.st_nlink == 1);
	FUZZ_CHECK((st.st_mode & 07777) == 0600);
	FUZZ_CHECK(fstatat(scene.fd, "w/l", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode));
}

/* Checks what was made, and removes it. */
static void empty(int fd, const char *name, uint64_t *n_bytes)
{
	struct dirent *entry;
	struct stat st;
	DIR *dir;

	FUZZ_CHECK(fchmodat(fd, name, 0700, 0) == 0);
	dir = open_at(fd, name);
	while ((entry = readdir(dir))) {
		if (is_dot(entry->d_name))
			continue;
		FUZZ_CHECK(fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0);
		FUZZ_CHECK(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode));
		FUZZ_CHECK(S_ISLNK(st.st_mode) || (st.st_mode & 07000) == 0);
		if (S_ISDIR(st.st_mode))
			empty(dirfd(dir), entry->d_name, n_bytes);
		else
			FUZZ_CHECK(unlinkat(dirfd(dir), entry->d_name, 0) == 0);
		if (S_ISREG(st.st_mode) && st.st_nlink == 1)
			*n_bytes += (uint64_t)st.st_size;
	}
	closedir(dir);
	FUZZ_CHECK(unlinkat(fd, name, AT_REMOVEDIR) == 0);
}

/* ---- an input ---------------------------------------------------------------------------------- */

static void mend(uint8_t *archive, size_t n)
{
	for (size_t at = 0; at + N_BLOCK <= n; at += N_BLOCK) {
		uint8_t *block = archive + at;
		unsigned sum = 0;
		char text[8];

		if (memcmp(block + AT_MAGIC, "ustar", 5) != 0)
			continue;
		memset(block + AT_CHECKSUM, ' ', 8);
		for (unsigned i = 0; i < N_BLOCK; i++)
			sum += block[i];
		snprintf(text, sizeof(text), "%06o", sum);
		memcpy(block + AT_CHECKSUM, text, 7);
	}
}

static void unpack(int in, const struct artifact_options *o)
{
	static struct artifact_result result;
	struct workspace w = {.fd = scene.workspace, .path = "/workspace"};
	int r;

	FUZZ_CHECK(lseek(in, 0, SEEK_SET) == 0);
	r = artifact_unpack(&w, span_string("t"), o, in, &result);
	FUZZ_CHECK(r == 0);
	FUZZ_CHECK(utf8_valid(span_string(result.error)));
	FUZZ_CHECK((result.verdict == TR_OK) == (result.error[0] == 0));
	FUZZ_CHECK(result.n_entries <= N_ENTRIES_MAX && result.size <= N_BYTES_MAX);
	check_outside();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct artifact_options o = {.n_bytes_max = N_BYTES_MAX, .n_entries_max = N_ENTRIES_MAX};
	int free_before, free_after, in;
	uint64_t n_bytes = 0;
	uint8_t *archive;

	if (n < 1)
		return 0;
	make_scene();
	free_before = dup(0);
	close(free_before);
	archive = fuzz_copy(data + 1, n - 1);
	if (!(data[0] & INPUT_RAW))
		mend(archive, n - 1);
	in = memfd_create("in", MFD_CLOEXEC);
	FUZZ_CHECK(in >= 0 && write(in, archive, n - 1) == (ssize_t)(n - 1));
	o.format = data[0] & INPUT_FORMAT;
	unpack(in, &o);
	if (data[0] & INPUT_TWICE)
		unpack(in, &o);
	close(in);
	empty(scene.workspace, "t", &n_bytes);
	FUZZ_CHECK(n_bytes <= 2 * N_BYTES_MAX);
	free_after = dup(0);
	FUZZ_CHECK(free_after == free_before);
	close(free_after);
	free(archive);
	return 0;
}
