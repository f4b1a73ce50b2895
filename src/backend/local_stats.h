/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_STATS_H
#define BACKEND_LOCAL_STATS_H

/* What status says of local slots. */

#include "backend/local_answer.h"
#include "backend/local_pool.h"

/* Appends packed pairs; how many, or -errno. */
int local_stats_write(const struct local_pool *p, const struct local_facts *facts,
		      uint64_t n_died_total, struct buf *out);
/* 0: well; -EIO: not, and why is in text. */
int local_stats_health(const struct local_pool *p, char *text, size_t n_text);

#endif
