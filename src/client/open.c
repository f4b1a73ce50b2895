/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define FLAGS            (uint32_t)(TR_OPEN_RESUBMIT | TR_OPEN_NO_RECONNECT | TR_OPEN_IN_PLACE)
#define OPEN_TIMEOUT_MS  5000
#define SPIN_US          50
#define SPIN_US_MAX      1000000
#define RESULT_BYTES_MAX (UINT64_C(256) << 20)

static int options_check(const struct tr_options *o, char *message, size_t n_message)
{
	if (o->flags & ~FLAGS) {
		snprintf(message, n_message, "options: an unknown flag in %#x", o->flags);
		return -EINVAL;
	}
	if (o->label && strlen(o->label) >= sizeof(((struct tr_hello *)NULL)->label)) {
		snprintf(message, n_message, "options: the label is longer than 31 bytes");
		return -EINVAL;
	}
	if (o->spin_us < -1 || o->spin_us > SPIN_US_MAX || o->open_timeout_ms < 0) {
		snprintf(message, n_message, "options: spin_us or open_timeout_ms is out of range");
		return -EINVAL;
	}
	return 0;
}

/* A shorter struct is an older caller's; a longer one may ask for what we do not know. */
static int options_copy(struct tr_options *to, const struct tr_options *from)
{
	size_t size = from->size ? from->size : sizeof(*from);
	const uint8_t *bytes = (const uint8_t *)from;

	*to = (struct tr_options){0};
	if (size < offsetof(struct tr_options, label) || size > 4096)
		return -EINVAL;
	for (size_t i = sizeof(*to); i < size; i++)
		if (bytes[i])
			return -EINVAL;
	memcpy(to, from, size < sizeof(*to) ? size : sizeof(*to));
	return 0;
}

static uint32_t spin_ns(int32_t us)
{
	cpu_set_t cpus;

	if (us < 0)
		return 0;
	if (us > 0)
		return (uint32_t)us * (uint32_t)NS_PER_US;
	/* On one core, spinning keeps the executor from running. */
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) == 1)
		return 0;
	return SPIN_US * (uint32_t)NS_PER_US;
}

static int alive_new(const volatile uint32_t **ret_alive)
{
	uint32_t *page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (page == MAP_FAILED)
		return -errno;
	if (madvise(page, sizeof(*page), MADV_WIPEONFORK) < 0) {
		r = -errno;
		munmap(page, sizeof(*page));
		return r;
	}
	*page = 1;
	*ret_alive = page;
	return 0;
}

static void client_free(struct tr_client *c)
{
	for (uint32_t i = 0; i < c->n_rows; i++) {
		tr_result_deinit(&c->stashes[i].result);
		if (c->copies)
			buf_deinit(&c->copies[i]);
	}
	free(c->rows);
	free(c->stashes);
	free(c->copies);
	buf_deinit(&c->pending_buf);
	buf_deinit(&c->scratch);
	buf_deinit(&c->arguments);
	message_assembly_deinit(&c->assembly);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct tr_client *tr_close(struct tr_client *c)
{
	bool alive;

	if (!c)
		return NULL;
	alive = *c->alive;
	if (!alive)
		c->segment.base = NULL; /* never came into this process (MADV_DONTFORK) */
	session_close(c);
	if (c->stats)
		munmap(c->stats, sizeof(*c->stats));
	munmap((void *)(uintptr_t)c->alive, sizeof(*c->alive));
	/* A thread that was inside at the fork may have left its buffers half changed: let them be. */
	if (!alive && pthread_mutex_trylock(&c->lock) != 0)
		return NULL;
	if (!alive)
		pthread_mutex_unlock(&c->lock);
	client_free(c);
	return NULL;
}

static int client_new(const struct tr_options *o, struct tr_client **ret_client)
{
	struct tr_client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	r = alive_new(&c->alive);
	if (r < 0) {
		free(c);
		return r;
	}
	pthread_mutex_init(&c->lock, NULL);
	c->segment = SEGMENT_NULL;
	c->fd = -1;
	c->executor_fd = -1;
	c->stats_fd = -1;
	c->kick_fd = -1;
	c->handshake.fd = -1;
	for (size_t i = 0; i < FDPASS_MAX; i++)
		c->handshake.fds[i] = -1;
	c->free_row = CLIENT_ROW_NONE;
	c->resend_first = CLIENT_ROW_NONE;
	c->cancel_first = CLIENT_ROW_NONE;
	list_init(&c->done);
	list_init(&c->followers);
	buf_init(&c->pending_buf, CLIENT_BUF_MAX);
	buf_init(&c->scratch, CLIENT_BUF_MAX);
	buf_init(&c->arguments, CLIENT_BUF_MAX);
	spin_init(&c->spin, spin_ns(o->spin_us));
	c->flags = o->flags;
	c->open_timeout_ns =
		(uint64_t)(o->open_timeout_ms ? o->open_timeout_ms : OPEN_TIMEOUT_MS) * NS_PER_MS;
	c->result_bytes_max = o->result_bytes_max ? o->result_bytes_max : RESULT_BYTES_MAX;
	if (c->result_bytes_max > CLIENT_BUF_MAX)
		c->result_bytes_max = CLIENT_BUF_MAX;
	message_assembly_init(&c->assembly, c->result_bytes_max);
	c->hello = (struct tr_hello){
		.magic = TR_MAGIC,
		.bytes = sizeof(c->hello),
		.layout_version = TR_LAYOUT_VERSION,
		.features_wanted = TR_FEATURES,
		.submission_bytes = o->submission_bytes,
		.completion_bytes = o->completion_bytes,
		.n_calls = o->n_calls,
	};
	if (o->label)
		memcpy(c->hello.label, o->label, strlen(o->label));
	*ret_client = c;
	return 0;
}

/* Waits for the first session. Only a backlog that is full is worth another attempt. */
static int client_connect(struct tr_client *c)
{
	uint64_t end = now_ns() + c->open_timeout_ns;
	int r;

	for (;;) {
		struct pollfd p = {.events = POLLIN};
		uint64_t now;

		r = session_step(c);
		if (r == 0 || (r != -EINPROGRESS && r != -EAGAIN))
			return r;
		now = now_ns();
		if (now >= end && r == -EAGAIN)
			return -ETIMEDOUT;
		p.fd = c->handshake.fd; /* -1 while nothing is connected: then this only waits */
		poll(&p, 1,
		     r == -EAGAIN || now >= end ? CLIENT_RETRY_MS
						: (int)((end - now) / NS_PER_MS) + 1);
	}
}

int tr_open_with(struct tr_client **ret_client, const struct tr_options *options)
{
	char message[CLIENT_MESSAGE_MAX] = "";
	struct tr_options o = {0};
	struct tr_client *c = NULL;
	int r;

	if (!ret_client)
		return -EINVAL;
	r = options ? options_copy(&o, options) : 0;
	if (r < 0)
		return r;
	r = options_check(&o, message, sizeof(message));
	if (r == 0)
		r = client_new(&o, &c);
	if (r == 0)
		r = client_place(o.name, c->path, message, sizeof(message));
	if (r == 0) {
		r = client_connect(c);
		memcpy(message, c->message, sizeof(message));
	}
	if (r < 0) {
		tr_close(c);
		if (o.message && o.n_message)
			snprintf(o.message, o.n_message, "%s",
				 *message ? message : strerrordesc_np(-r));
		return r;
	}
	*ret_client = c;
	return 0;
}

int tr_open(struct tr_client **ret_client, const char *name)
{
	struct tr_options o = {.size = sizeof(o), .name = name};

	return tr_open_with(ret_client, &o);
}
