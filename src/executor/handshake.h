/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXECUTOR_HANDSHAKE_H
#define EXECUTOR_HANDSHAKE_H

/* Who a client is, what it asks for, and the segment it gets (abi.h, section 1). */

#include <stdbool.h>
#include <sys/types.h>

struct executor;
struct session;

/* May this user attach? */
bool handshake_admits(const struct executor *e, uid_t uid);

/* Learns who is at the other end. -errno: it is gone. */
int handshake_peer(struct session *s, int socket);

/*
 * Reads what has come of the hello. 1: the session is open, the welcome sent; 0: more is to come;
 * -errno: refused (and told why), or gone.
 */
int handshake_read(struct session *s);

#endif
