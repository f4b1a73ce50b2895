/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>

#include "text.h"

static struct text scaled(double v, double step, const char *const *units, size_t n_units)
{
	struct text text;
	size_t unit = 0;

	/* 999.5 would be shown as 1000 of the smaller unit. */
	while (unit + 1 < n_units && fabs(v) >= 0.9995 * step) {
		v /= step;
		unit++;
	}
	snprintf(text.s, sizeof(text.s), "%.*f%s",
		 fabs(v) >= 99.95 || v == floor(v) ? 0
		 : fabs(v) >= 9.995                ? 1
						   : 2,
		 v, units[unit]);
	return text;
}

struct text text_ns(double ns)
{
	static const char *const units[] = {" ns", " us", " ms", " s"};

	return scaled(ns, 1000, units, sizeof(units) / sizeof(units[0]));
}

struct text text_bytes(double bytes)
{
	static const char *const units[] = {" B", " KiB", " MiB", " GiB"};

	return scaled(bytes, 1024, units, sizeof(units) / sizeof(units[0]));
}

struct text text_count(double count)
{
	static const char *const units[] = {"", " k", " M", " G"};

	return scaled(count, 1000, units, sizeof(units) / sizeof(units[0]));
}

struct text text_plain(double number)
{
	struct text text;

	snprintf(text.s, sizeof(text.s), number == floor(number) ? "%.0f" : "%.4g", number);
	return text;
}
