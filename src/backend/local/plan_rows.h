/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_PLAN_ROWS_H
#define BACKEND_LOCAL_PLAN_ROWS_H

/* Between the files that make a plan: plan_make.c, plan_mounts.c, plan_shell.c, plan_rules.c. */

#include "backend/local/plan_make.h"

struct plan_making {
	struct plan *plan;
	const struct plan_options *options;
	const struct probe *probe;
	char *error;
	size_t n_error;
};

/* Returns r, with the cause in the error. */
__attribute__((format(printf, 3, 4))) int plan_refuse(struct plan_making *m, int r,
						      const char *format, ...);

/* plan_mounts.c: the mount table, and with it the shell and the object it loads. */
int plan_make_mounts(struct plan_making *m);
/* plan_shell.c: is shell a bash that can load this object? Both are paths of the host. */
bool plan_shell_loads(const char *shell, const char *object);
/* plan_rules.c: Landlock. */
void plan_make_rules(struct plan_making *m);

#endif
