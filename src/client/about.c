/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"

size_t tr_n_in_flight(struct tr_client *c)
{
	size_t n;

	if (client_enter(c) < 0)
		return 0;
	n = c->n_used - c->n_abandoned;
	client_leave(c);
	return n;
}

uint64_t tr_session_count(struct tr_client *c)
{
	uint64_t n;

	if (client_enter(c) < 0)
		return 0;
	n = c->n_sessions;
	client_leave(c);
	return n;
}

static struct tr_stats *stats_map(int fd)
{
	struct tr_stats *s;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(*s))
		return NULL;
	s = mmap(NULL, sizeof(*s), PROT_READ, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED)
		return NULL;
	if (s->magic == TR_MAGIC && s->version == TR_STATS_VERSION && s->bytes >= sizeof(*s))
		return s;
	munmap(s, sizeof(*s));
	return NULL;
}

/*
 * A later executor's statistics take the very address of the ones before, so that a pointer given
 * out earlier goes on showing what is.
 */
static void stats_renew(struct tr_client *c)
{
	struct tr_stats *s = stats_map(c->stats_fd);

	fd_close(&c->stats_fd);
	c->stats_fresh = true;
	if (s && c->stats &&
	    mremap(s, sizeof(*s), sizeof(*s), MREMAP_MAYMOVE | MREMAP_FIXED, c->stats) ==
		    MAP_FAILED)
		munmap(s, sizeof(*s));
	else if (s && !c->stats)
		c->stats = s;
}

const struct tr_stats *tr_stats(struct tr_client *c)
{
	const struct tr_stats *s;

	if (client_enter(c) < 0)
		return NULL;
	if (!c->stats_fresh)
		stats_renew(c);
	s = c->stats;
	client_leave(c);
	return s;
}
