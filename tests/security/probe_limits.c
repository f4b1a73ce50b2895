/* SPDX-License-Identifier: Apache-2.0 */
#include "probe.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Reads a limit and sets it to what it is. */
int probe_prlimit(const char *pid)
{
	struct rlimit limit;

	if (prlimit(pid ? atoi(pid) : 0, RLIMIT_CPU, NULL, &limit) < 0)
		return -errno;
	return prlimit(pid ? atoi(pid) : 0, RLIMIT_CPU, &limit, NULL) < 0 ? -errno : 0;
}

int probe_core_limit(const char *argument)
{
	struct rlimit none = {0, 0}, limit;

	(void)argument;
	if (setrlimit(RLIMIT_CORE, &none) < 0 || getrlimit(RLIMIT_CORE, &limit) < 0)
		return -errno;
	return limit.rlim_cur == 0 ? 0 : -EPERM;
}

int probe_aio(const char *argument)
{
	aio_context_t context = 0;

	(void)argument;
	return syscall(SYS_io_setup, 1, &context) < 0 ? -errno : 0;
}

int probe_io_uring(const char *argument)
{
	struct io_uring_params params = {0};

	(void)argument;
	return syscall(SYS_io_uring_setup, 1, &params) < 0 ? -errno : 0;
}
