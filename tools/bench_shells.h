/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_SHELLS_H
#define TOOLS_BENCH_SHELLS_H

/*
 * toolring bench shells: its parts (bench_suite.h). toolringd and its slots run on whatever cores the
 * kernel gives them, and so do the baselines, but where a part says otherwise.
 */

#include "bench_suite.h"

int bench_shells_true(struct bench_suite *suite);
int bench_shells_true_placed(struct bench_suite *suite);
int bench_shells_start(struct bench_suite *suite);
int bench_shells_output(struct bench_suite *suite);
int bench_shells_keys(struct bench_suite *suite);
int bench_shells_artifact_read(struct bench_suite *suite);
int bench_shells_artifact_archive(struct bench_suite *suite);
int bench_shells_idle(struct bench_suite *suite);

#endif
