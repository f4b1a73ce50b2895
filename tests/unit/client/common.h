/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CLIENT_COMMON_H
#define TESTS_CLIENT_COMMON_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants those above first. */
#include <cmocka.h>

#include <toolring/toolring.h>

#include "peer.h"

#define LONG_MS 20000 /* far more than anything here takes */

struct fixture {
	struct peer peer;
	struct tr_client *client;
};

static inline struct tr_client *client_to(const struct peer *p, uint32_t flags)
{
	struct tr_options o = {.size = sizeof(o), .name = p->path, .flags = flags};
	struct tr_client *c = NULL;

	assert_int_equal(tr_open_with(&c, &o), 0);
	return c;
}

static inline int setup_peer(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	peer_init(&f->peer);
	*state = f;
	return 0;
}

static inline int setup(void **state)
{
	struct fixture *f;

	setup_peer(state);
	f = *state;
	peer_start(&f->peer);
	f->client = client_to(&f->peer, 0);
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	tr_close(f->client);
	peer_deinit(&f->peer);
	free(f);
	return 0;
}

static inline struct tr_call call_of(const char *tool, const char *uniq_id)
{
	return (struct tr_call){.trajectory_id = "t", .tool = tool, .uniq_id = uniq_id};
}

static inline void assert_slice(struct tr_slice s, const char *text)
{
	assert_int_equal(s.n, strlen(text));
	assert_string_equal(s.data, text);
}

#endif
