/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_WRITE_H
#define BASE_WRITE_H

#include <errno.h>
#include <unistd.h>

#include "base/span.h"

/* Writes all of it, to a descriptor that blocks. -errno; how much was written by then is not told. */
static inline int write_all(int fd, struct span bytes)
{
	while (bytes.n) {
		ssize_t n = write(fd, bytes.data, bytes.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes = span_of(bytes.data + n, bytes.n - (size_t)n);
	}
	return 0;
}

#endif
