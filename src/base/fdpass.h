/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FDPASS_H
#define BASE_FDPASS_H

/* Sending and receiving bytes together with descriptors over a Unix socket. */

#include <stddef.h>
#include <sys/types.h>

#define FDPASS_MAX 8

/*
 * Sends n bytes and n_fds descriptors with the first of them. Returns the bytes sent or -errno.
 * flags as sendmsg; MSG_NOSIGNAL is always set.
 */
ssize_t fdpass_send(int socket, const void *data, size_t n, const int *fds, size_t n_fds,
		    int flags);

/*
 * Receives up to n bytes; descriptors go to ret_fds (close-on-exec), which has room for
 * FDPASS_MAX, the rest is -1. Returns bytes, 0 at the end, or -errno; -EMSGSIZE if there were more
 * descriptors than fit (all are closed).
 */
ssize_t fdpass_receive(int socket, void *data, size_t n, int ret_fds[FDPASS_MAX], int flags);

#endif
