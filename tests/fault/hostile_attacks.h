/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAULT_HOSTILE_ATTACKS_H
#define TESTS_FAULT_HOSTILE_ATTACKS_H

/* What a hostile client does, each in a process of its own, which may die of it. */

#include <stddef.h>

#include "daemon.h"

struct attack {
	const char *name;
	/* Ends the process by check() where the executor did not do what it must. */
	void (*run)(const char *socket, struct dice *dice);
};

/* On shared memory, and on the socket and with records. */
extern const struct attack memory_attacks[];
extern const size_t n_memory_attacks;
extern const struct attack record_attacks[];
extern const size_t n_record_attacks;

#endif
