/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What STATUS says: what the statistics in shared memory cannot, at a size that does not grow with
 * load, so that asking never holds up the loop.
 */
#include <stdio.h>
#include <unistd.h>

#include <toolring/toolring.h>

#include "base/clock.h"
#include "executor/executor.h"
#include "wire/writer.h"

#define SESSIONS_SHOWN 64

static void pair_u64(msgpack_packer *p, const char *key, uint64_t value)
{
	wire_write_string(p, key);
	msgpack_pack_uint64(p, value);
}

static void pair_string(msgpack_packer *p, const char *key, const char *value)
{
	wire_write_string(p, key);
	wire_write_string(p, value);
}

static void write_session(msgpack_packer *p, const struct session *s)
{
	msgpack_pack_map(p, 8);
	pair_u64(p, "id", s->id);
	pair_u64(p, "pid", (uint64_t)s->pid);
	pair_u64(p, "uid", s->uid);
	pair_string(p, "label", s->label);
	pair_u64(p, "calls", s->n_calls);
	pair_u64(p, "trajectories", s->n_holds);
	pair_u64(p, "backlog_bytes", s->n_backlog_bytes);
	wire_write_string(p, "awake");
	if (s->hot)
		msgpack_pack_true(p);
	else
		msgpack_pack_false(p);
}

static void write_sessions(struct executor *e, msgpack_packer *p)
{
	size_t n =
		e->sessions.n_sessions < SESSIONS_SHOWN ? e->sessions.n_sessions : SESSIONS_SHOWN;
	size_t n_shown = 0;

	list_for_each (l, &e->sessions.all)
		n_shown += n_shown < n;
	wire_write_string(p, "sessions");
	msgpack_pack_array(p, n_shown);
	list_for_each (l, &e->sessions.all) {
		if (!n_shown--)
			break;
		write_session(p, container_of(l, struct session, link));
	}
}

static void write_features(struct executor *e, msgpack_packer *p)
{
	wire_write_string(p, "io_features");
	msgpack_pack_array(p, (size_t)__builtin_popcount(e->loop.features));
	for (unsigned i = 0; loop_feature_name(i); i++)
		if (e->loop.features & (1u << i))
			wire_write_string(p, loop_feature_name(i));
}

static int write_backend(struct executor *e, struct buf *out, msgpack_packer *p)
{
	struct buf stats;
	char health[128] = "";
	int n, well;

	buf_init(&stats, 1 << 16);
	well = e->backend->ops->health(e->backend, health, sizeof(health));
	n = e->backend->ops->stats(e->backend, &stats);
	if (n < 0) {
		buf_deinit(&stats);
		return n;
	}
	wire_write_string(p, "backend");
	msgpack_pack_map(p, (size_t)n + 3);
	pair_string(p, "name", e->backend->ops->name);
	pair_string(p, "health", health);
	wire_write_string(p, "well");
	if (well == 0)
		msgpack_pack_true(p);
	else
		msgpack_pack_false(p);
	n = buf_append(out, stats.data, stats.n);
	buf_deinit(&stats);
	return n;
}

static void write_slots(struct executor *e, msgpack_packer *p)
{
	wire_write_string(p, "slots");
	msgpack_pack_map(p, 3);
	pair_u64(p, "max", e->slots.n_slots);
	pair_u64(p, "used", e->slots.n_used);
	pair_u64(p, "out_of_use", e->slots.n_out_of_use);
}

int status_write(struct executor *e, struct buf *out)
{
	msgpack_packer p;
	int r;

	/* Room for all of it, so that no single write below can fail. */
	r = buf_reserve(out, 4096 + SESSIONS_SHOWN * 256);
	if (r < 0)
		return r;
	wire_writer_init(&p, out);
	msgpack_pack_map(&p, 14);
	pair_string(&p, "version", TR_VERSION);
	pair_string(&p, "name", e->config->name);
	pair_u64(&p, "layout_version", TR_LAYOUT_VERSION);
	pair_u64(&p, "executor_pid", (uint64_t)getpid());
	pair_u64(&p, "generation", e->start.generation);
	pair_u64(&p, "uptime_ms",
		 (clock_ns(CLOCK_REALTIME) - e->stats.shared->started_ns) / NS_PER_MS);
	pair_string(&p, "state", e->stop == EXECUTOR_RUNS ? "running" : "stopping");
	pair_u64(&p, "trajectories", e->affinity.n_trajectories);
	pair_u64(&p, "calls_queued", e->calls.n_queued);
	pair_u64(&p, "calls_running", e->calls.n_running);
	write_features(e, &p);
	write_slots(e, &p);
	r = write_backend(e, out, &p);
	if (r < 0)
		return r;
	write_sessions(e, &p);
	return 0;
}
