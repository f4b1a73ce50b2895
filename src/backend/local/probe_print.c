/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "backend/local/probe.h"

void probe_print_string(const char *text, FILE *out)
{
	putc('"', out);
	for (const char *c = text; *c; c++) {
		if (*c == '"' || *c == '\\')
			fprintf(out, "\\%c", *c);
		else if ((unsigned char)*c < 0x20)
			fprintf(out, "\\u%04x", (unsigned char)*c);
		else
			putc(*c, out);
	}
	putc('"', out);
}

void probe_print_json(const struct probe *probe, FILE *out)
{
	fputs("\"layers\": {", out);
	for (unsigned i = 0; i < PLAN_N_LAYERS; i++) {
		const struct probe_row *row = &probe->rows[i];

		fprintf(out, "%s\"%s\": {\"works\": %s, \"error\": %d, \"detail\": ", i ? ", " : "",
			plan_layer_name((enum plan_layer)i), row->works ? "true" : "false",
			row->error);
		probe_print_string(row->detail, out);
		fputs(", \"remedy\": ", out);
		probe_print_string(row->remedy, out);
		putc('}', out);
	}
	putc('}', out);
}

void probe_print(const struct probe *probe, FILE *out)
{
	for (unsigned i = 0; i < PLAN_N_LAYERS; i++) {
		const struct probe_row *row = &probe->rows[i];

		fprintf(out, "%-10s %-4s %s\n", plan_layer_name((enum plan_layer)i),
			row->works ? "yes" : "no", row->detail);
		if (row->remedy[0])
			fprintf(out, "%-10s      %s\n", "", row->remedy);
	}
}

bool probe_is_full(const struct probe *probe)
{
	for (unsigned i = 0; i < PLAN_N_LAYERS; i++)
		if (!probe->rows[i].works && i != PLAN_CPU)
			return false;
	return true;
}

static const char *network_of(const struct plan *plan)
{
	return plan->params.network == PLAN_NETWORK_HOST ? "host" : "none";
}

/* The names of what is missing, in these quotes, set apart by commas. Returns how many. */
static size_t print_missing(const struct probe *probe, const char *quote, FILE *out)
{
	size_t n = 0;

	for (unsigned i = 0; i < PLAN_N_LAYERS; i++) {
		if (probe->rows[i].works)
			continue;
		fprintf(out, "%s%s%s%s", n++ ? ", " : "", quote,
			plan_layer_name((enum plan_layer)i), quote);
	}
	return n;
}

void probe_print_slot_json(const struct probe *probe, const struct plan *plan, const char *error,
			   FILE *out)
{
	fputs("\"slot\": {", out);
	if (!plan) {
		fputs("\"error\": ", out);
		probe_print_string(error, out);
		fputs(", ", out);
	} else {
		if (plan_has(plan, PLAN_MEMORY))
			fprintf(out, "\"memory\": %" PRIu64 ", ", plan->params.memory_bytes);
		else
			fputs("\"memory\": null, ", out);
		fprintf(out,
			"\"pids\": %" PRIu32 ", \"disk\": %" PRIu64
			", \"network\": \"%s\", \"shell\": ",
			plan->params.n_pids, plan->params.disk_bytes, network_of(plan));
		probe_print_string(plan->shell, out);
		fprintf(out, ", \"zygote\": %s, ", plan->has_zygote ? "true" : "false");
	}
	fputs("\"missing\": [", out);
	print_missing(probe, "\"", out);
	fputs("]}", out);
}

void probe_print_slot(const struct probe *probe, const struct plan *plan, const char *error,
		      FILE *out)
{
	if (!plan) {
		fprintf(out, "slot: none can be made: %s\n", error);
		return;
	}
	fprintf(out,
		"slot: memory %" PRIu64 "%s, disk %" PRIu64 ", processes %" PRIu32
		", network %s, shell %s%s\n",
		plan->params.memory_bytes,
		plan_has(plan, PLAN_MEMORY) ? " (its files on top)" : " (not enforced)",
		plan->params.disk_bytes, plan->params.n_pids, network_of(plan), plan->shell,
		plan->has_zygote ? " (zygote)" : "");
	fputs("missing: ", out);
	fputs(print_missing(probe, "", out) ? "\n" : "nothing\n", out);
}
