/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "executor/config_table.h"

static size_t distance(const char *a, const char *b)
{
	size_t n_a = strlen(a), n_b = strlen(b);
	size_t row[65];

	if (n_a > 64 || n_b > 64)
		return SIZE_MAX;
	for (size_t j = 0; j <= n_b; j++)
		row[j] = j;
	for (size_t i = 1; i <= n_a; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n_b; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n_b];
}

void config_suggest(const char *said, const char *name, size_t *best, const char **ret_name)
{
	size_t d = distance(said, name);

	if (d < *best) {
		*best = d;
		*ret_name = name;
	}
}
