/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_SLOT_CAUSE_H
#define TOOL_SLOT_CAUSE_H

/* What went wrong with a path that a guest or a model named: whose doing it is, and how it is said. */

#include <toolring/abi.h>

struct cause {
	int error;
	enum tr_verdict verdict;
	const char *text; /* the path follows, but for what ends in none of ": " */
};

/* NULL: neither the call's nor the guest's fault. error: -errno. */
const struct cause *cause_of(int error);

#endif
