/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_PLOT_H
#define TOOLS_BENCH_PLOT_H

#include "histogram.h"

/*
 * Draws latency over percentile for a terminal: both axes logarithmic, the percentile's in nines
 * (0, 90, 99, 99.9 ...), so that the tail takes as much room as it matters.
 */
void bench_plot(const struct histogram *h);

#endif
