/* SPDX-License-Identifier: Apache-2.0 */
/* toolring-slot: started by toolringd's keeper alone, as the maker of slots; see slot.h. */
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "slot/maker.h"

#define PLAN_FD 3
#define PAIR_FD 4

static const char usage[] = "toolring-slot is started by toolringd, not by hand.\n";

static const char name[] = "toolring-slot";

int main(int argc, char **argv)
{
	if (argc != 2 || strcmp(argv[1], "--maker") != 0) {
		if (write(STDERR_FILENO, usage, sizeof(usage) - 1) < 0)
			return 2;
		return 2;
	}
	syscall(SYS_close_range, PAIR_FD + 1, ~0u, 0);
	/* Guests see this as their rooms' /proc/1/cmdline: where we lie on the host is not for them. */
	for (char *end = argv[1] + strlen(argv[1]), *c = argv[0]; c < end; c++) {
		size_t at = (size_t)(c - argv[0]);

		*c = at < sizeof(name) ? name[at] : '\0';
	}
	return maker_main(PLAN_FD, PAIR_FD);
}
