/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as a request to a slot or a reply of one, alone or with files. Shows: nothing is read
 * outside of the message and its file; what passes points into them and is as it should be; no
 * descriptor is left open.
 *
 * An input is a byte of what it is (enum input), two of the message's length, the message, and the
 * file's content.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/utf8.h"
#include "fuzz.h"
#include "wire/slot.h"

enum input {
	INPUT_REPLY = 1 << 0,
	INPUT_FILES = 3 << 1, /* how many, times 2 */
	INPUT_UNSEALED = 1 << 3,
	INPUT_HOLE = 1 << 4, /* one byte more than its content, which is not there */
};

#define N_HEAD 3
#define SEALS  (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static size_t seed(uint8_t *data, size_t size, uint8_t kind, const void *header, size_t n_header,
		   const char *parts, size_t n_parts)
{
	size_t n_message = n_header + (kind & INPUT_FILES ? 0 : n_parts);

	FUZZ_CHECK(N_HEAD + n_header + n_parts <= size);
	data[0] = kind;
	data[1] = (uint8_t)n_message;
	data[2] = (uint8_t)(n_message >> 8);
	memcpy(data + N_HEAD, header, n_header);
	memcpy(data + N_HEAD + n_header, parts, n_parts);
	return N_HEAD + n_header + n_parts;
}

/* A terminal and artifacts, each asked and answered. */
static size_t seed_of_new_ops(unsigned number, uint8_t *data, size_t size)
{
	static const struct slot_request requests[] = {
		{.op = SLOT_TERMINAL,
		 .action = SLOT_TERMINAL_RESIZE,
		 .n_columns = 80,
		 .n_rows = 24},
		{.op = SLOT_ARTIFACT_READ, .flags = SLOT_SHA256, .encoding = SLOT_BASE64},
		{.op = SLOT_ARTIFACT_ARCHIVE, .format = SLOT_TAR_ZST, .encoding = SLOT_BYTES},
		{.op = SLOT_SHELL, .idle_ns = 5},
	};
	static const struct slot_reply replies[] = {
		{.op = SLOT_TERMINAL, .n_columns = 80, .n_rows = 24, .cursor_row = 3},
		{.op = SLOT_ARTIFACT_READ, .flags = SLOT_TRUNCATED, .file_size = 9},
		{.op = SLOT_ARTIFACT_LIST, .n_entries = 2},
		{.op = SLOT_SHELL, .flags = SLOT_SHELL_STARTED, .shell_lost = SLOT_SHELL_KILLED},
	};
	struct slot_request request = requests[number >> 1];
	struct slot_reply reply = replies[number >> 1];
	struct slot_entry entry = {.size = 4, .n_path = 1};
	char parts[2 * (sizeof(entry) + 1)];

	for (size_t i = 0; i < 2; i++) {
		memcpy(parts + i * sizeof(parts) / 2, &entry, sizeof(entry));
		parts[(i + 1) * sizeof(parts) / 2 - 1] = 'a';
	}
	request.magic = reply.magic = SLOT_MAGIC;
	if (number & 1) {
		reply.n[SLOT_OUTPUT] = sizeof(parts);
		return seed(data, size, INPUT_REPLY, &reply, sizeof(reply), parts, sizeof(parts));
	}
	request.n[SLOT_PATH] = 1;
	return seed(data, size, 0, &request, sizeof(request), "a", 1);
}

size_t fuzz_seed(unsigned number, uint8_t *data, size_t size)
{
	static const char asked[] = "ls\0-l\0/tmpA=1";
	static const char said[] = "h\xc3\xa9llo/workspace/a";
	struct slot_request request = {
		.magic = SLOT_MAGIC,
		.id = 7,
		.op = SLOT_EXEC,
		.flags = SLOT_KEEP,
		.timeout_ns = 1000,
		.n = {[SLOT_ARGV] = 6, [SLOT_CWD] = 4, [SLOT_ENV] = 4},
	};
	struct slot_reply reply = {
		.magic = SLOT_MAGIC,
		.id = 7,
		.op = SLOT_READ_FILE,
		.exit_code = -1,
		.ended_ns = 5,
		.size = 6,
		.n = {[SLOT_OUTPUT] = 6, [SLOT_FILE] = 12},
	};

	if (number >= 16)
		return 0;
	if (number >= 8)
		return seed_of_new_ops(number - 8, data, size);
	if (number & 2) {
		request.flags |= SLOT_IN_FILE;
		reply.flags |= SLOT_IN_FILE;
	}
	if (number & 4) {
		request.op = SLOT_WRITE_FILE;
		request.flags &= ~(uint32_t)SLOT_KEEP;
		reply.op = SLOT_EXEC;
		reply.flags |= SLOT_STUCK | SLOT_TIMED_OUT;
		reply.verdict = TR_TIMEOUT;
		reply.n_left = 1;
	}
	if (number & 1)
		return seed(data, size, (uint8_t)(INPUT_REPLY | (number & 2)), &reply,
			    sizeof(reply), said, sizeof(said) - 1);
	return seed(data, size, (uint8_t)(number & 2), &request, sizeof(request), asked,
		    sizeof(asked));
}

/* Sends what the input says. */
static void send_input(int socket, uint8_t kind, const uint8_t *message, size_t n,
		       const uint8_t *content, size_t n_content)
{
	size_t n_fds = (kind & INPUT_FILES) >> 1;
	int fds[4];

	for (size_t i = 0; i < n_fds; i++) {
		fds[i] = memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		FUZZ_CHECK(fds[i] >= 0);
		FUZZ_CHECK(write(fds[i], content, n_content) == (ssize_t)n_content);
		if (kind & INPUT_HOLE)
			FUZZ_CHECK(ftruncate(fds[i], (off_t)n_content + 8192) == 0);
		if (!(kind & INPUT_UNSEALED))
			FUZZ_CHECK(fcntl(fds[i], F_ADD_SEALS, SEALS) == 0);
	}
	FUZZ_CHECK(fdpass_send(socket, message, n, fds, n_fds, 0) == (ssize_t)n);
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
}

static void check_parts(const struct slot_message *m, const void *buffer, const struct span *parts,
			size_t n_parts)
{
	/* Read all, for a sanitizer or the kernel to object. */
	volatile uint8_t sum = 0;

	for (size_t i = 0; i < n_parts; i++) {
		FUZZ_CHECK(m->map ? fuzz_inside(parts[i], m->map, m->n_map)
				  : fuzz_inside(parts[i], buffer, SLOT_MESSAGE_MAX));
		for (size_t k = 0; k < parts[i].n; k++)
			sum = (uint8_t)(sum + parts[i].data[k]);
	}
}

static int receive_request(int socket, void *buffer, struct slot_message *m)
{
	struct span parts[SLOT_N_REQUEST_PARTS];
	struct slot_request header;
	int r = slot_request_receive(socket, buffer, &header, parts, m, MSG_DONTWAIT);

	if (r == 1) {
		check_parts(m, buffer, parts, SLOT_N_REQUEST_PARTS);
		FUZZ_CHECK(header.op >= SLOT_BASH && header.op < SLOT_N_OPS);
		FUZZ_CHECK(header.op == SLOT_TERMINAL || header.action == 0);
		FUZZ_CHECK(header.n_columns <= SLOT_COLUMNS_MAX && header.n_rows <= SLOT_ROWS_MAX);
		FUZZ_CHECK(header.format < SLOT_N_FORMATS && header.encoding < SLOT_N_ENCODINGS);
		FUZZ_CHECK(!parts[SLOT_ARGV].n || !parts[SLOT_ARGV].data[parts[SLOT_ARGV].n - 1]);
		FUZZ_CHECK(!parts[SLOT_ENV].n || !parts[SLOT_ENV].data[parts[SLOT_ENV].n - 1]);
	}
	return r;
}

/* They are entries to the last byte. */
static void check_entries(struct span row)
{
	struct slot_entry entry;
	struct span path;
	size_t n = row.n;
	int r;

	while ((r = slot_entry_next(&row, &entry, &path)) == 1) {
		FUZZ_CHECK(utf8_valid(path) && path.n && entry.is_dir <= 1);
		n -= sizeof(entry) + path.n;
	}
	FUZZ_CHECK(r == 0 && n == 0);
}

/* What passes as an answer is in the encoding that was asked for, and within its caps. */
static void check_answers(const struct slot_reply *reply, const struct span *parts)
{
	for (uint32_t encoding = 0; encoding < SLOT_N_ENCODINGS; encoding++) {
		struct slot_request q = {.op = reply->op,
					 .stdout_max = reply->size,
					 .n_entries_max = reply->n_entries,
					 .encoding = encoding};

		if (!slot_reply_answers(reply, parts, &q) || reply->op != SLOT_ARTIFACT_READ)
			continue;
		FUZZ_CHECK(encoding == SLOT_BYTES || utf8_valid(parts[SLOT_OUTPUT]));
		FUZZ_CHECK(encoding != SLOT_BYTES || parts[SLOT_OUTPUT].n <= reply->size);
	}
}

static int receive_reply(int socket, void *buffer, struct slot_message *m)
{
	struct span parts[SLOT_N_REPLY_PARTS];
	struct slot_reply header;
	int r = slot_reply_receive(socket, buffer, &header, parts, m, MSG_DONTWAIT);

	if (r == 1) {
		check_parts(m, buffer, parts, SLOT_N_REPLY_PARTS);
		FUZZ_CHECK(header.verdict < TR_N_VERDICTS);
		FUZZ_CHECK(header.exit_code >= -1 && header.exit_code <= 255);
		FUZZ_CHECK(header.n_left == 0 || (header.flags & SLOT_STUCK));
		FUZZ_CHECK(utf8_valid(parts[SLOT_ERROR]) && utf8_valid(parts[SLOT_FILE]));
		FUZZ_CHECK(header.shell_end < SLOT_SHELL_N_ENDS &&
			   header.shell_lost < SLOT_SHELL_N_ENDS);
		FUZZ_CHECK(header.n_columns <= SLOT_COLUMNS_MAX && header.n_rows <= SLOT_ROWS_MAX);
		if (header.op == SLOT_ARTIFACT_LIST)
			check_entries(parts[SLOT_OUTPUT]);
		else
			FUZZ_CHECK(header.op == SLOT_EXEC || header.op == SLOT_ARTIFACT_READ ||
				   header.op == SLOT_ARTIFACT_ARCHIVE ||
				   utf8_valid(parts[SLOT_OUTPUT]));
		check_answers(&header, parts);
	}
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static int pair[2] = {-1, -1};
	struct slot_message m = {.map = NULL};
	uint8_t *message, *buffer;
	size_t n_message;
	int r, free_before, free_after;

	if (n <= N_HEAD)
		return 0;
	n_message = (size_t)(data[1] | data[2] << 8);
	if (n_message > n - N_HEAD)
		n_message = n - N_HEAD;
	if (n_message == 0)
		return 0;
	if (pair[0] < 0)
		FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	message = fuzz_copy(data + N_HEAD, n_message);
	buffer = malloc(SLOT_MESSAGE_MAX);
	FUZZ_CHECK(buffer && (free_before = dup(0)) >= 0);
	close(free_before);
	send_input(pair[0], data[0], message, n_message, data + N_HEAD + n_message,
		   n - N_HEAD - n_message);
	r = data[0] & INPUT_REPLY ? receive_reply(pair[1], buffer, &m)
				  : receive_request(pair[1], buffer, &m);
	FUZZ_CHECK(r == 1 || r == -EBADMSG);
	if (r == 1)
		slot_message_done(&m);
	free_after = dup(0);
	FUZZ_CHECK(free_after == free_before);
	close(free_after);
	free(buffer);
	free(message);
	return 0;
}
