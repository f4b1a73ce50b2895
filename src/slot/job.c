/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Artifacts, from the request to the answer.
 *
 * One file that is not large is read and written by the slot's init. All else is a job: a child of a
 * plain zygote that runs our own code with the guest's rights, in the call room or, for ANYWHERE, in
 * the shell room, and can be killed like any command. What it makes it writes to a file of memory,
 * which goes on as the reply's parts: the init never holds it. How it went it says at its end, as a
 * struct artifact_result on its standard error. The guests of the shell room have its uid: a job
 * cannot be looked into (it is not dumpable, as its zygote is not), so all that they can do to it is to
 * kill it; what it says is looked at anyway.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/utf8.h"
#include "base/write.h"
#include "slot/slot.h"
#include "slot/zygote.h"
#include "tool/slot/artifact.h"
#include "tool/slot/artifact_say.h"
#include "tool/slot/base64.h"

/* Of content that the init itself deals with: some milliseconds' worth. */
#define SHORT_BYTES_MAX (UINT64_C(8) << 20)
#define RESULT_FLAGS    (SLOT_TRUNCATED | SLOT_NOT_FOUND | SLOT_MISUSED)

static struct artifact_options options_of(const struct slot_request *request)
{
	return (struct artifact_options){
		.n_bytes_max = request->stdout_max,
		.n_entries_max = request->n_entries_max,
		.recursive = request->flags & SLOT_ALL,
		.with_sha256 = request->flags & SLOT_SHA256,
		.format = (enum slot_format)request->format,
		.encoding = (enum slot_encoding)request->encoding,
	};
}

static int make_output(int *ret_fd)
{
	int fd = memfd_create("toolring-parts", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* What is neither the call's nor the guest's fault. */
static void say_failed(struct artifact_result *ret, int error)
{
	switch (-error) {
	case ENOMEM:
		artifact_say(ret, TR_UNAVAILABLE, "the slot is out of memory", span_of(NULL, 0));
		break;
	case E2BIG:
	case EFBIG:
		artifact_say(ret, TR_LIMIT, "the answer is too large", span_of(NULL, 0));
		break;
	default:
		artifact_say(ret, TR_UNAVAILABLE, "the slot cannot get at its files",
			     span_of(NULL, 0));
		break;
	}
}

/* ---- in the job's process ------------------------------------------------------------------------- */

static int do_read(const struct workspace *w, struct span path, const struct artifact_options *o,
		   struct artifact_result *ret)
{
	struct buf out;
	int r;

	/* Content, and behind it the text that it is made. */
	buf_init(&out, 2 * SLOT_FILE_MAX);
	r = artifact_read(w, path, o, &out, ret);
	if (r == 0)
		r = write_all(STDOUT_FILENO, span_of(out.data, out.n));
	buf_deinit(&out);
	return r;
}

static int do_archive(const struct workspace *w, struct span path, const struct artifact_options *o,
		      struct artifact_result *ret)
{
	int r = artifact_archive(w, path, o, STDOUT_FILENO, ret);
	struct stat st;
	size_t n;
	void *map;

	if (r < 0 || ret->verdict != TR_OK || o->encoding != SLOT_BASE64)
		return r;
	if (fstat(STDOUT_FILENO, &st) < 0)
		return -errno;
	n = (size_t)st.st_size;
	if (ftruncate(STDOUT_FILENO, (off_t)BASE64_BYTES(n)) < 0)
		return -errno;
	map = mmap(NULL, BASE64_BYTES(n), PROT_READ | PROT_WRITE, MAP_SHARED, STDOUT_FILENO, 0);
	if (map == MAP_FAILED)
		return -errno;
	base64_encode(map, n);
	return 0;
}

static int do_write(const struct workspace *w, struct span path, const struct artifact_options *o,
		    struct artifact_result *ret)
{
	void *map = NULL;
	struct stat st;

	if (fstat(STDIN_FILENO, &st) < 0)
		return -errno;
	if (st.st_size)
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, STDIN_FILENO, 0);
	if (map == MAP_FAILED)
		return -errno;
	return artifact_write(w, path, span_of(map, (size_t)st.st_size), o, ret);
}

static int do_job(const struct slot_request *request, struct span path, struct artifact_result *ret)
{
	const struct artifact_options o = options_of(request);
	struct workspace w = {.path = request->flags & SLOT_ANYWHERE ? "/" : "/workspace"};

	w.fd = open(w.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w.fd < 0)
		return -errno;
	switch (request->op) {
	case SLOT_ARTIFACT_READ:
		return do_read(&w, path, &o, ret);
	case SLOT_ARTIFACT_LIST:
		return artifact_list(&w, path, &o, STDOUT_FILENO, ret);
	case SLOT_ARTIFACT_ARCHIVE:
		return do_archive(&w, path, &o, ret);
	case SLOT_ARTIFACT_WRITE:
		return do_write(&w, path, &o, ret);
	case SLOT_ARTIFACT_UNPACK:
		return artifact_unpack(&w, path, &o, STDIN_FILENO, ret);
	default:
		return -EINVAL;
	}
}

/* No output of a job is too large for a reply: a list may be long, and its names too. */
static void limit_output(uint32_t op)
{
	struct rlimit limit;

	if (op == SLOT_ARTIFACT_WRITE || op == SLOT_ARTIFACT_UNPACK ||
	    getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur <= SLOT_FILE_MAX)
		return;
	limit.rlim_cur = SLOT_FILE_MAX;
	setrlimit(RLIMIT_FSIZE, &limit);
}

void job_main(int command)
{
	static uint8_t bytes[sizeof(struct slot_request) + PATH_MAX];
	static struct artifact_result result;
	struct slot_request request;
	int fds[FDPASS_MAX], r;
	ssize_t n = fdpass_receive(command, bytes, sizeof(bytes), fds, 0);

	if (n < (ssize_t)sizeof(request) || fds[0] < 0 || dup2(fds[0], STDOUT_FILENO) < 0)
		_exit(0);
	memcpy(&request, bytes, sizeof(request));
	/* For the moment that this takes nobody may be in the room. */
	if (!(request.flags & SLOT_ANYWHERE))
		spawner_offer_to_oom();
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NAME, "toolring-job", 0, 0, 0);
	signal(SIGXFSZ, SIG_IGN);
	limit_output(request.op);
	r = do_job(&request, span_of(bytes + sizeof(request), (size_t)n - sizeof(request)),
		   &result);
	if (r < 0)
		say_failed(&result, r);
	r = write_all(STDERR_FILENO, span_of(&result, sizeof(result)));
	_exit(r < 0);
}

/* ---- jobs, in the init ---------------------------------------------------------------------------- */

bool job_is(const struct slot_request *request)
{
	return request->op >= SLOT_ARTIFACT_READ && request->op <= SLOT_ARTIFACT_UNPACK;
}

int job_prepare(struct run *run)
{
	return make_output(&run->output);
}

void job_order(struct run *run, struct span path)
{
	uint8_t bytes[sizeof(run->request) + PATH_MAX];
	/* One too long is too long cut off there, too. */
	size_t n_path = path.n < PATH_MAX ? path.n : PATH_MAX, n = sizeof(run->request) + n_path;
	const struct zygote_command head = {
		.magic = ZYGOTE_MAGIC,
		.n_args = ZYGOTE_JOB,
		.n_bytes = n,
	};

	memcpy(bytes, &run->request, sizeof(run->request));
	if (n_path)
		memcpy(bytes + sizeof(run->request), path.data, n_path);
	/* A child that takes nothing has ended, which is seen elsewhere. */
	if (send(run->child.command, &head, sizeof(head), MSG_NOSIGNAL) == sizeof(head))
		fdpass_send(run->child.command, bytes, n, &run->output, 1, 0);
	fd_close(&run->child.command);
	/* It is silent until it is through. */
	run->request.idle_ns = 0;
	capture_begin(&run->err, sizeof(struct artifact_result), false);
}

uint32_t job_kill(struct slot *s)
{
	struct run *run = &s->run;
	uint64_t until = now_ns() + NS_PER_S;
	struct timespec moment = ns_to_timespec(20 * NS_PER_MS);
	sigset_t none;

	sigemptyset(&none);
	kill(run->child.pid, SIGKILL);
	while (!run->has_ended && now_ns() < until) {
		ppoll(NULL, 0, &moment, &none);
		init_reap(s, WNOHANG);
	}
	return !run->has_ended;
}

/* Has it said how it went, and does that make sense? */
static bool take_result(const struct run *run, struct artifact_result *ret)
{
	if (run->err.n_total != sizeof(*ret) || run->err.bytes.n != sizeof(*ret))
		return false;
	memcpy(ret, run->err.bytes.data, sizeof(*ret));
	switch (ret->verdict) {
	case TR_OK:
	case TR_FAILED:
	case TR_LIMIT:
	case TR_DENIED:
	case TR_INVALID:
	case TR_UNAVAILABLE:
		break;
	default:
		return false;
	}
	return !(ret->flags & ~(uint32_t)RESULT_FLAGS) && ret->n_entries <= SLOT_ENTRIES_MAX &&
	       memchr(ret->error, 0, sizeof(ret->error)) && utf8_valid(span_string(ret->error));
}

static void set_result(struct slot_reply *reply, const struct artifact_result *result)
{
	reply->verdict = result->verdict;
	reply->flags |= result->flags;
	reply->size = result->size;
	reply->file_size = result->file_size;
	reply->n_entries = result->n_entries;
	memcpy(reply->sha256, result->sha256, sizeof(reply->sha256));
}

/* What is not much is no file's worth. */
static void send_output(struct slot *s, struct slot_reply *reply, int file)
{
	struct span parts[SLOT_N_REPLY_PARTS] = {0};
	struct stat st;

	if (fstat(file, &st) < 0 || st.st_size > SLOT_INLINE_MAX) {
		serve_reply_file(s, reply, file);
		return;
	}
	buf_clear(&s->output);
	if (buf_reserve(&s->output, (size_t)st.st_size) < 0 ||
	    pread(file, s->output.data, (size_t)st.st_size, 0) != st.st_size) {
		reply->verdict = TR_UNAVAILABLE;
		parts[SLOT_ERROR] = span_string("the slot is out of memory");
	} else {
		parts[SLOT_OUTPUT] = span_of(s->output.data, (size_t)st.st_size);
	}
	serve_reply(s, reply, parts);
	buf_trim(&s->output, SLOT_BYTES_KEPT);
}

void job_answer(struct slot *s, struct slot_reply *reply, struct span error)
{
	struct span parts[SLOT_N_REPLY_PARTS] = {[SLOT_ERROR] = error};
	struct artifact_result result = {0};
	bool was_through = reply->verdict == TR_OK;

	reply->stdout_bytes = reply->stderr_bytes = 0;
	/* Of a job's own process nothing else is to be known. */
	if (was_through || reply->verdict == TR_FAILED) {
		reply->exit_code = -1;
		reply->signal = 0;
	}
	if (was_through && take_result(&s->run, &result)) {
		set_result(reply, &result);
		parts[SLOT_ERROR] = span_string(result.error);
	} else if (was_through || reply->verdict == TR_FAILED) {
		/* Not the call's doing: something has killed it, which guests can in their own room. */
		bool has_guests = s->run.request.flags & SLOT_ANYWHERE;

		reply->verdict = has_guests ? TR_FAILED : TR_UNKNOWN;
		parts[SLOT_ERROR] = span_string("the process that did it died");
	}
	if (reply->verdict == TR_OK)
		send_output(s, reply, s->run.output);
	else
		serve_reply(s, reply, parts);
}

/* ---- short work, in the init ---------------------------------------------------------------------- */

bool job_is_short(const struct slot *s, const struct slot_request *request,
		  const struct span parts[SLOT_N_REQUEST_PARTS])
{
	struct workspace_file file;

	if (request->flags & SLOT_ANYWHERE)
		return false;
	if (request->op == SLOT_ARTIFACT_WRITE)
		return parts[SLOT_STDIN].n <= SHORT_BYTES_MAX;
	return request->op == SLOT_ARTIFACT_READ &&
	       (request->stdout_max <= SHORT_BYTES_MAX ||
		workspace_look(&s->workspace, parts[SLOT_PATH], &file) < 0 ||
		(uint64_t)file.st.st_size <= SHORT_BYTES_MAX);
}

void job_serve(struct slot *s, const struct slot_request *request,
	       const struct span parts[SLOT_N_REQUEST_PARTS])
{
	const struct artifact_options o = options_of(request);
	struct slot_reply reply = serve_reply_to(request);
	struct span answer[SLOT_N_REPLY_PARTS] = {0};
	static struct artifact_result result;
	int r;

	buf_clear(&s->output);
	if (request->op == SLOT_ARTIFACT_READ)
		r = artifact_read(&s->workspace, parts[SLOT_PATH], &o, &s->output, &result);
	else
		r = artifact_write(&s->workspace, parts[SLOT_PATH], parts[SLOT_STDIN], &o, &result);
	if (r < 0)
		say_failed(&result, r);
	set_result(&reply, &result);
	if (result.verdict == TR_OK)
		answer[SLOT_OUTPUT] = span_of(s->output.data, s->output.n);
	answer[SLOT_ERROR] = span_string(result.error);
	reply.ended_ns = now_ns();
	serve_reply(s, &reply, answer);
	buf_trim(&s->output, SLOT_BYTES_KEPT);
}
