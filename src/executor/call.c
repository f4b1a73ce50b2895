/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/call.h"

#include <stdlib.h>
#include <string.h>

/* Enough for the pipelines of a few clients; what comes back beyond is freed. */
#define POOL_MAX       4096
#define BUF_BYTES_KEPT 4096

void calls_init(struct calls *c)
{
	*c = (struct calls){0};
	list_init(&c->pool);
}

static void call_destroy(struct call *call)
{
	buf_deinit(&call->data);
	buf_deinit(&call->reply);
	free(call);
}

void calls_deinit(struct calls *c)
{
	struct list *l;

	while ((l = list_pop_front(&c->pool)))
		call_destroy(container_of(l, struct call, link));
	c->n_pool = 0;
}

struct call *call_new(struct calls *c, size_t n_data_max, size_t n_reply_max)
{
	struct list *l = list_pop_front(&c->pool);
	struct call *call;
	struct buf data, reply;

	if (l) {
		call = container_of(l, struct call, link);
		c->n_pool--;
		data = call->data;
		reply = call->reply;
		data.n = reply.n = 0;
	} else {
		call = malloc(sizeof(*call));
		if (!call)
			return NULL;
		buf_init(&data, n_data_max);
		buf_init(&reply, n_reply_max);
	}
	memset(call, 0, sizeof(*call));
	list_init(&call->link);
	list_init(&call->op.link);
	call->data = data;
	call->reply = reply;
	return call;
}

void call_free(struct calls *c, struct call *call)
{
	if (c->n_pool >= POOL_MAX) {
		call_destroy(call);
		return;
	}
	buf_trim(&call->data, BUF_BYTES_KEPT);
	buf_trim(&call->reply, BUF_BYTES_KEPT);
	list_push_front(&c->pool, &call->link);
	c->n_pool++;
}
