/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One session with a toolringd for a test in another language: calls come as frames on stdin, results
 * leave as frames on stdout, each as it ends. A program of its own, and not the library loaded
 * there, so that it works under the sanitizers too.
 *
 *   in:  u32 tag, u32 kind (enum tr_kind), u32 n, then n bytes: the call's payload
 *        of a CANCEL: the tag of the call to cancel, as u32
 *   out: u32 tag, i32 error (0, or -errno of a call that could not be made), u32 n, n bytes: the
 *        result's payload, or a map of its verdict and error where the library made it up itself
 *
 * At the end of stdin the session is closed.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <toolring/toolring.h>

#define TAGS_MAX 65536 /* calls in flight, by far */

struct frame {
	uint32_t tag;
	uint32_t kind_or_error;
	uint32_t n;
};

/* false: the other side is gone. */
static bool write_all(const void *data, size_t n)
{
	const char *at = data;

	while (n > 0) {
		ssize_t done = write(STDOUT_FILENO, at, n);

		if (done < 0 && errno != EINTR)
			return false;
		if (done > 0) {
			at += done;
			n -= (size_t)done;
		}
	}
	return true;
}

/* false: the end of it. */
static bool read_all(void *data, size_t n)
{
	char *at = data;

	while (n > 0) {
		ssize_t done = read(STDIN_FILENO, at, n);

		if (done == 0 || (done < 0 && errno != EINTR))
			return false;
		if (done > 0) {
			at += done;
			n -= (size_t)done;
		}
	}
	return true;
}

static bool answer(uint32_t tag, int error, const void *payload, size_t n)
{
	struct frame frame = {tag, (uint32_t)error, (uint32_t)n};

	return write_all(&frame, sizeof(frame)) && write_all(payload, n);
}

static bool answer_result(const struct tr_result *result)
{
	uint32_t tag = (uint32_t)(uintptr_t)result->user_data;
	struct tr_member members[] = {
		{"success", tr_bool(result->success)},
		{"verdict", tr_string(tr_verdict_name(result->verdict))},
		{"error", tr_string_n(result->error.data, result->error.n)},
	};
	struct tr_value value = tr_map(members, sizeof(members) / sizeof(members[0]));
	void *packed;
	size_t n;
	bool fine;

	if (result->raw.n > 0)
		return answer(tag, 0, result->raw.data, result->raw.n);
	if (tr_value_pack(&value, &packed, &n) < 0)
		return false;
	fine = answer(tag, 0, packed, n);
	free(packed);
	return fine;
}

static int submit(struct tr_client *client, const struct frame *frame, const void *payload)
{
	static uint64_t ids[TAGS_MAX];
	uint32_t tag;

	if (frame->kind_or_error == TR_KIND_CANCEL) {
		if (frame->n != sizeof(tag))
			return -EINVAL;
		memcpy(&tag, payload, sizeof(tag));
		return tr_cancel(client, ids[tag % TAGS_MAX]);
	}
	return tr_submit_raw(client, frame->kind_or_error, payload, frame->n,
			     (void *)(uintptr_t)frame->tag, 60000, &ids[frame->tag % TAGS_MAX]);
}

/* Takes one frame in. false: it was the last. */
static bool take_call(struct tr_client *client)
{
	struct frame frame;
	void *payload;
	bool fine;
	int r;

	if (!read_all(&frame, sizeof(frame)))
		return false;
	payload = malloc(frame.n + 1);
	if (!payload)
		return false;
	fine = read_all(payload, frame.n);
	if (fine) {
		r = submit(client, &frame, payload);
		if (r < 0 || frame.kind_or_error == TR_KIND_CANCEL)
			fine = answer(frame.tag, r, NULL, 0);
	}
	free(payload);
	return fine;
}

int main(int argc, char **argv)
{
	struct tr_client *client;
	struct tr_result result = {0};
	char message[256] = "";
	struct tr_options options = {.size = sizeof(options),
				     .name = argc > 1 ? argv[1] : NULL,
				     .label = "relay",
				     .message = message,
				     .n_message = sizeof(message)};
	int r = tr_open_with(&client, &options);

	if (r < 0) {
		fprintf(stderr, "relay: %s: %s\n", strerror(-r), message);
		return 1;
	}
	for (;;) {
		struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
				       {.fd = tr_fd(client), .events = POLLIN}};

		r = tr_reap(client, &result, 0);
		if (r == 0) {
			if (!answer_result(&result))
				break;
			continue;
		}
		if (poll(fds, 2, tr_fd_arm(client) > 0 ? 0 : -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents && !take_call(client))
			break;
	}
	tr_result_deinit(&result);
	tr_close(client);
	return 0;
}
