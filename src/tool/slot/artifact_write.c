/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/slot/artifact.h"

#include <string.h>

#include "base/cleanup.h"
#include "tool/slot/artifact_say.h"
#include "tool/slot/content.h"

int artifact_write(const struct workspace *w, struct span path, struct span content,
		   const struct artifact_options *o, struct artifact_result *ret)
{
	_cleanup_(cleanup_close) int fd = -1;
	struct workspace_file file;
	int r;

	memset(ret, 0, sizeof(*ret));
	if (content.n > o->n_bytes_max) {
		artifact_say(ret, TR_LIMIT, "Content too large: ", span_of(NULL, 0));
		artifact_say_number(ret, content.n);
		artifact_say_more(ret, " bytes (max ");
		artifact_say_number(ret, o->n_bytes_max);
		artifact_say_more(ret, ")");
		return 0;
	}
	fd = workspace_open(w, path, true, &file);
	r = fd < 0 ? fd : content_store(fd, &file.st, content);
	if (r < 0)
		return artifact_refuse(ret, r, path);
	ret->size = content.n;
	ret->file_size = content.n;
	return 0;
}
