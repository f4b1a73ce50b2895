/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/slot/artifact.h"
#include "base/write.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tool/slot/artifact_say.h"
#include "tool/slot/artifact_walk.h"
#include "tool/slot/text.h"

#define N_ROWS 65536 /* bytes of rows written at once; any one row fits */

struct list {
	const struct workspace *w;
	int out;
	uint64_t n_entries;
	uint64_t n_written;
	int broken; /* -errno of out */
	size_t n;
	uint8_t rows[N_ROWS];
};

static int flush(struct list *list)
{
	int r = write_all(list->out, span_of(list->rows, list->n));

	if (r < 0)
		return list->broken = r;
	list->n_written += list->n;
	list->n = 0;
	return 0;
}

static int tell(void *data, const struct walk_entry *entry)
{
	struct list *list = data;
	struct slot_entry row = {.is_dir = entry->is_folder};
	struct buf path;
	struct stat st;
	int r = walk_look(list->w, entry, &st);

	if (r < 0 || S_ISDIR(st.st_mode) != entry->is_folder)
		return WALK_NONE;
	if (N_ROWS - list->n < sizeof(row) + TEXT_BYTES_MAX(PATH_MAX)) {
		r = flush(list);
		if (r < 0)
			return r;
	}
	path = (struct buf){
		.data = list->rows + list->n + sizeof(row),
		.size = TEXT_BYTES_MAX(PATH_MAX),
		.n_max = TEXT_BYTES_MAX(PATH_MAX),
	};
	r = text_decode(&path, span_string(entry->path));
	if (r < 0)
		return r;
	/* What a folder's own size is, is its file system's business. */
	row.size = entry->is_folder ? 0 : (uint64_t)st.st_size;
	row.mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	row.n_path = (uint16_t)path.n;
	memcpy(list->rows + list->n, &row, sizeof(row));
	list->n += sizeof(row) + path.n;
	list->n_entries++;
	return WALK_ON;
}

int artifact_list(const struct workspace *w, struct span path, const struct artifact_options *o,
		  int out, struct artifact_result *ret)
{
	struct list list;
	struct walk_options options = {
		.recursive = o->recursive,
		.together = true,
		.n_files_max = o->n_entries_max,
		.tell = tell,
		.data = &list,
	};
	char where[PATH_MAX];
	bool more;
	int r;

	memset(ret, 0, sizeof(*ret));
	/* Field by field: rows is large. */
	list.w = w;
	list.out = out;
	list.n_entries = 0;
	list.n_written = 0;
	list.broken = 0;
	list.n = 0;
	r = artifact_walk(w, path, &options, where, &more);
	if (list.broken < 0)
		return list.broken;
	if (r < 0)
		return artifact_refuse(ret, r, where[0] ? span_string(where) : path);
	r = flush(&list);
	if (r < 0)
		return r;
	ret->flags = more ? SLOT_TRUNCATED : 0;
	ret->n_entries = list.n_entries;
	ret->size = list.n_written;
	return 0;
}
