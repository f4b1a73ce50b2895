/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/local_stats.h"

#include <errno.h>
#include <stdio.h>

#include "wire/writer.h"

struct pair {
	const char *key;
	uint64_t value;
};

static void write_pair(msgpack_packer *p, const char *key, const char *value)
{
	wire_write_string(p, key);
	wire_write_string(p, value);
}

int local_stats_write(const struct local_pool *p, const struct local_facts *facts,
		      uint64_t n_died_total, struct buf *out)
{
	const uint32_t *n = p->n_by_state;
	const struct plan *plan = p->plan;
	const struct pair pairs[] = {
		{"seats", plan->n_seats},
		{"bound", n[LOCAL_SEAT_BOUND] + n[LOCAL_SEAT_FOUND]},
		{"spare", n[LOCAL_SEAT_SPARE] + n[LOCAL_SEAT_WARM]},
		{"warm", n[LOCAL_SEAT_WARM]},
		{"making", n[LOCAL_SEAT_MAKING]},
		{"going", n[LOCAL_SEAT_GOING]},
		{"stuck", n[LOCAL_SEAT_STUCK]},
		{"wanted", p->n_wishes},
		{"made_total", p->n_made_total},
		{"died_total", n_died_total},
		{"failed_total", p->n_failed_total},
		{"stuck_total", p->n_stuck_total},
		{"disk_bytes", plan->params.disk_bytes},
		{"pids", plan->params.n_pids},
		{"cgroup_version", plan->cgroup.version},
	};
	int n_pairs = sizeof(pairs) / sizeof(*pairs);
	msgpack_packer packer;
	/* Room for all of it, so that no single write below can fail. */
	int r = buf_reserve(out, 1024 + facts->missing.n);

	if (r < 0)
		return r;
	wire_writer_init(&packer, out);
	for (int i = 0; i < n_pairs; i++) {
		wire_write_string(&packer, pairs[i].key);
		msgpack_pack_uint64(&packer, pairs[i].value);
	}
	wire_write_string(&packer, "memory_bytes");
	if (plan_has(plan, PLAN_MEMORY))
		msgpack_pack_uint64(&packer, plan->params.memory_bytes);
	else
		msgpack_pack_nil(&packer); /* no cap */
	write_pair(&packer, "network",
		   plan->params.network == PLAN_NETWORK_HOST || !plan_has(plan, PLAN_NETWORK)
			   ? "host"
			   : "none");
	write_pair(&packer, "shell", plan->shell);
	write_pair(&packer, "calls_start_by", plan->has_zygote ? "zygote" : "exec");
	wire_write_packed(out, span_of(facts->missing.data, facts->missing.n));
	return n_pairs + 4 + (facts->n_missing != 0);
}

int local_stats_health(const struct local_pool *p, char *text, size_t n_text)
{
	uint32_t n_stuck = p->n_by_state[LOCAL_SEAT_STUCK];

	if (p->failing)
		snprintf(text, n_text, "the last slot could not be made: %s", p->failure);
	else if (n_stuck)
		snprintf(text, n_text, "%u killed slots are not gone", n_stuck);
	else
		snprintf(text, n_text, "slots can be made");
	return p->failing || n_stuck ? -EIO : 0;
}
