/* SPDX-License-Identifier: Apache-2.0 */
/* What a slot is to be: a spec, which was read before, against what the operator allows. */
#include <errno.h>
#include <stdio.h>

#include "backend/local_form.h"

static int read_spec(struct span spec, struct plan_params *params)
{
	struct wire_reader r;
	struct wire_token map, t;

	wire_reader_init(&r, spec.data, spec.n, LOCAL_STEPS_MAX);
	if (wire_read(&r, &map) < 0 || map.type != WIRE_MAP)
		return -EINVAL;
	for (uint32_t i = 0; i < map.n; i++) {
		struct span key;

		if (wire_read_key(&r, &key, &t) != 0 || wire_read(&r, &t) < 0)
			return -EINVAL;
		if (span_is(key, "memory") && t.type == WIRE_INT)
			params->memory_bytes = t.u.natural;
		else if (span_is(key, "disk") && t.type == WIRE_INT)
			params->disk_bytes = t.u.natural;
		else if (span_is(key, "pids") && t.type == WIRE_INT)
			params->n_pids = (uint32_t)t.u.natural;
		else if (span_is(key, "network") && t.type == WIRE_STRING)
			params->network = span_is(span_of(t.u.bytes, t.n), "host")
						  ? PLAN_NETWORK_HOST
						  : PLAN_NETWORK_NONE;
	}
	return 0;
}

static int too_much(char *error, size_t n_error, const char *what, uint64_t most)
{
	snprintf(error, n_error, "spec.%s may be at most %llu here", what,
		 (unsigned long long)most);
	return -EPERM;
}

int local_spec_read(struct span spec, const struct plan *plan, struct plan_params *ret_params,
		    char *error, size_t n_error)
{
	const struct plan_params *most = &plan->params;
	struct plan_params p = *most;
	uint32_t asked;

	p.network = 0;
	p.memory_bytes = 0;
	if (spec.n && read_spec(spec, &p) < 0) {
		snprintf(error, n_error, "spec is malformed");
		return -EINVAL;
	}
	if (p.memory_bytes && !plan_has(plan, PLAN_MEMORY)) {
		snprintf(error, n_error,
			 "spec.memory: this machine's memory cgroup is missing (accepted by the "
			 "operator), so no memory cap can be had");
		return -EPERM;
	}
	if (!p.memory_bytes)
		p.memory_bytes = most->memory_bytes;
	asked = p.network;
	if (!asked)
		p.network = most->network;
	if (p.memory_bytes > most->memory_bytes)
		return too_much(error, n_error, "memory", most->memory_bytes);
	if (p.disk_bytes > most->disk_bytes)
		return too_much(error, n_error, "disk", most->disk_bytes);
	if (p.n_pids > most->n_pids)
		return too_much(error, n_error, "pids", most->n_pids);
	if (asked == PLAN_NETWORK_HOST && most->network != PLAN_NETWORK_HOST) {
		snprintf(error, n_error, "spec.network must be \"none\" here");
		return -EPERM;
	}
	if (asked == PLAN_NETWORK_NONE && !plan_has(plan, PLAN_NETWORK)) {
		snprintf(error, n_error,
			 "spec.network cannot be \"none\": this machine cannot shut slots off");
		return -EPERM;
	}
	*ret_params = p;
	return 0;
}
