/* SPDX-License-Identifier: Apache-2.0 */
/* What a slot may be asked to be: the keys that are known, and what each allows. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "executor/executor.h"
#include "wire/reader.h"
#include "wire/writer.h"

#define SPEC_STEPS_MAX 1000
#define PIDS_MIN       16 /* a slot has a few of its own */
#define IDLE_TTL_S_MAX (30.0 * 24 * 3600)
#define KNOWN          "network, memory, pids, disk, idle_ttl_s"

static int read_positive(const struct wire_token *t, uint64_t max, uint64_t *ret_number)
{
	if (t->type != WIRE_INT || t->u.integer <= 0 || (uint64_t)t->u.integer > max)
		return -EINVAL;
	*ret_number = (uint64_t)t->u.integer;
	return 0;
}

static int read_network(const struct wire_token *t, struct slot_spec *spec)
{
	struct span name = t->type == WIRE_STRING ? span_of(t->u.bytes, t->n) : span_of("", 0);

	if (span_is(name, "none"))
		spec->network = SLOT_NETWORK_NONE;
	else if (span_is(name, "host"))
		spec->network = SLOT_NETWORK_HOST;
	else
		return -EINVAL;
	return 0;
}

static int wrong(char *error, size_t n_error, const char *key, const char *allowed)
{
	snprintf(error, n_error, "spec.%s must be %s", key, allowed);
	return -EINVAL;
}

static int read_idle_ttl(const struct wire_token *t, struct slot_spec *spec)
{
	double s = t->type == WIRE_INT ? (double)t->u.integer : t->u.real;

	if ((t->type != WIRE_INT && t->type != WIRE_FLOAT) || !(s > 0) || s > IDLE_TTL_S_MAX)
		return -EINVAL;
	/* 0 would mean that it was not asked for. */
	spec->idle_ttl_ns = (uint64_t)(s * (double)NS_PER_S) + (s * (double)NS_PER_S < 1);
	return 0;
}

static int read_member(struct wire_reader *r, struct span key, struct slot_spec *spec, char *error,
		       size_t n_error)
{
	struct wire_token t;
	uint64_t n_pids;
	char shown[41];

	if (wire_read(r, &t) < 0)
		return wrong(error, n_error, "*", "well-formed");
	if (span_is(key, "network"))
		return read_network(&t, spec) == 0
			       ? 0
			       : wrong(error, n_error, "network", "\"none\" or \"host\"");
	if (span_is(key, "memory"))
		return read_positive(&t, UINT64_MAX, &spec->memory_bytes) == 0
			       ? 0
			       : wrong(error, n_error, "memory", "a number of bytes above 0");
	if (span_is(key, "disk"))
		return read_positive(&t, UINT64_MAX, &spec->disk_bytes) == 0
			       ? 0
			       : wrong(error, n_error, "disk", "a number of bytes above 0");
	if (span_is(key, "pids")) {
		if (read_positive(&t, UINT32_MAX, &n_pids) < 0 || n_pids < PIDS_MIN)
			return wrong(error, n_error, "pids", "a number from 16 to 4294967295");
		spec->n_pids = (uint32_t)n_pids;
		return 0;
	}
	if (span_is(key, "idle_ttl_s"))
		return read_idle_ttl(&t, spec) == 0
			       ? 0
			       : wrong(error, n_error, "idle_ttl_s", "a number of seconds above 0");
	snprintf(error, n_error, "unknown key \"%s\" in spec; allowed: " KNOWN,
		 utf8_show(key, shown, sizeof(shown)));
	return -EINVAL;
}

int slot_spec_read(struct span spec, struct slot_spec *ret_spec, char *error, size_t n_error)
{
	struct slot_spec s = {0};
	struct wire_reader r;
	struct wire_token map, key;
	int e;

	if (!spec.n) {
		*ret_spec = s;
		return 0;
	}
	wire_reader_init(&r, spec.data, spec.n, SPEC_STEPS_MAX);
	if (wire_read(&r, &map) < 0 || map.type != WIRE_MAP)
		return wrong(error, n_error, "*", "in a map");
	for (uint32_t n = map.n; n; n--) {
		if (wire_read(&r, &key) < 0 || key.type != WIRE_STRING)
			return wrong(error, n_error, "*", "named by strings");
		e = read_member(&r, span_of(key.u.bytes, key.n), &s, error, n_error);
		if (e < 0)
			return e;
	}
	*ret_spec = s;
	return 0;
}

bool slot_spec_is_plain(const struct slot_spec *spec)
{
	return !spec->network && !spec->memory_bytes && !spec->disk_bytes && !spec->n_pids;
}

int slot_spec_write(const struct slot_spec *spec, struct buf *out)
{
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{"memory", spec->memory_bytes},
		{"disk", spec->disk_bytes},
		{"pids", spec->n_pids},
	};
	size_t n = spec->network != 0;
	msgpack_packer p;
	/* Room for all of it, so that no single write below can fail. */
	int r = buf_reserve(out, 96);

	if (r < 0)
		return r;
	for (size_t i = 0; i < 3; i++)
		n += numbers[i].value != 0;
	wire_writer_init_reserved(&p, out);
	msgpack_pack_map(&p, n);
	if (spec->network) {
		wire_write_string(&p, "network");
		wire_write_string(&p, spec->network == SLOT_NETWORK_HOST ? "host" : "none");
	}
	for (size_t i = 0; i < 3; i++) {
		if (!numbers[i].value)
			continue;
		wire_write_string(&p, numbers[i].key);
		msgpack_pack_uint64(&p, numbers[i].value);
	}
	return 0;
}

static int permit(const char *key, uint64_t wish, uint64_t most, const char *flag, char *error,
		  size_t n_error)
{
	if (wish <= most)
		return 0;
	snprintf(error, n_error,
		 "spec.%s: %" PRIu64 " is more than the operator allows, %" PRIu64 " (%s)", key,
		 wish, most, flag);
	return -EPERM;
}

int slot_spec_permit(const struct config *c, const struct slot_spec *spec, char *error,
		     size_t n_error)
{
	int r = permit("memory", spec->memory_bytes, c->memory_bytes, "--memory", error, n_error);

	if (r == 0)
		r = permit("disk", spec->disk_bytes, c->disk_bytes, "--disk", error, n_error);
	if (r == 0)
		r = permit("pids", spec->n_pids, c->n_pids, "--pids", error, n_error);
	if (r == 0 && spec->network == SLOT_NETWORK_HOST && c->network != CONFIG_NETWORK_HOST) {
		snprintf(error, n_error,
			 "spec.network: the operator allows slots no network (--network none)");
		r = -EPERM;
	}
	return r;
}

static bool agrees(uint64_t wish, uint64_t made, uint64_t default_value)
{
	return !wish || wish == (made ? made : default_value);
}

bool slot_spec_agrees(const struct config *c, const struct slot_spec *wish,
		      const struct slot_spec *made)
{
	uint32_t network =
		c->network == CONFIG_NETWORK_HOST ? SLOT_NETWORK_HOST : SLOT_NETWORK_NONE;

	return agrees(wish->network, made->network, network) &&
	       agrees(wish->memory_bytes, made->memory_bytes, c->memory_bytes) &&
	       agrees(wish->disk_bytes, made->disk_bytes, c->disk_bytes) &&
	       agrees(wish->n_pids, made->n_pids, c->n_pids);
}
