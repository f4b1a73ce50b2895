/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_PROBE_H
#define BACKEND_LOCAL_PROBE_H

/* What this machine allows, layer by layer, found out by trying each in a child process. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "backend/local/plan.h"

struct probe_row {
	bool works;
	int error;        /* errno of what was refused; 0 */
	char detail[160]; /* works: what was found ("ABI 7"); else what was refused */
	char remedy[320]; /* what to do about it; "" if it works */
};

struct probe {
	struct probe_row rows[PLAN_N_LAYERS];
	uint32_t landlock_abi;
	struct plan_cgroup cgroup; /* without prefix and weight */
	bool is_root;
	/* cgroup v2, to be undone: */
	char home[PLAN_PATH_MAX]; /* where slots' cgroups go; "": nothing to undo */
	char leaf[PLAN_PATH_MAX]; /* below it, where we went ourselves; "": we stayed */
	uint32_t enabled;         /* 1 << enum plan_layer: switched on for those below home */
};

/* Leaves nothing behind, but moves this process into a leaf cgroup of its own where v2 wants it. */
void probe_machine(struct probe *probe);
/* Undoes that: for who only wanted to know, or has no slots any more. */
void probe_undo(struct probe *probe);

/* Is all there that a slot is to have? (All but the CPU weight.) */
bool probe_is_full(const struct probe *probe);

/* One member of a JSON object: "layers": {...}. */
void probe_print_json(const struct probe *probe, FILE *out);
void probe_print(const struct probe *probe, FILE *out);

/* Likewise "slot": what one would have. plan is NULL if none can be made, for a reason: error. */
void probe_print_slot_json(const struct probe *probe, const struct plan *plan, const char *error,
			   FILE *out);
void probe_print_slot(const struct probe *probe, const struct plan *plan, const char *error,
		      FILE *out);

/* A string of JSON, quoted. */
void probe_print_string(const char *text, FILE *out);

#endif
