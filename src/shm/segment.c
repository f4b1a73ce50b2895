/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The name exists only between shm_open and shm_unlink, a few microseconds: the descriptor is what
 * travels. An executor killed just then leaves a name, which its keeper sweeps by prefix when it
 * starts the next one, as does the next start of the same instance.
 */
#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define PAGE 4096u

static uint64_t page_align(uint64_t n)
{
	return (n + PAGE - 1) & ~(uint64_t)(PAGE - 1);
}

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

uint32_t segment_round_up(uint32_t n)
{
	uint32_t p = 1;

	while (p < n && p < UINT32_C(1) << 31)
		p *= 2;
	return p;
}

/* Header page(s), table, submission, completion; each on its own pages. */
static uint64_t segment_plan(const struct segment_sizes *sizes, uint64_t *ret_calls,
			     uint64_t *ret_submission, uint64_t *ret_completion)
{
	*ret_calls = page_align(sizeof(struct tr_segment));
	*ret_submission = page_align(*ret_calls + (uint64_t)sizes->n_calls * sizeof(uint64_t));
	*ret_completion = *ret_submission + page_align(sizes->submission_bytes);
	return *ret_completion + page_align(sizes->completion_bytes);
}

static int segment_open_new(const char *prefix)
{
	uint64_t random[2];
	char name[200];
	int fd, r;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	r = snprintf(name, sizeof(name), "/%s%016llx%016llx", prefix, (unsigned long long)random[0],
		     (unsigned long long)random[1]);
	if (r < 0 || (size_t)r >= sizeof(name))
		return -ENAMETOOLONG;
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	/* ENOENT: somebody's sweep was faster. */
	if (shm_unlink(name) < 0 && errno != ENOENT) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static int segment_attach(struct segment *s, int fd, uint64_t bytes)
{
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	s->base = base;
	s->bytes = bytes;
	return 0;
}

int segment_create(struct segment *s, const char *prefix, const struct segment_sizes *sizes,
		   const struct segment_identity *identity)
{
	uint64_t calls, submission, completion;
	uint64_t bytes = segment_plan(sizes, &calls, &submission, &completion);
	_cleanup_(cleanup_close) int fd = -1;
	struct tr_segment *h;
	int r;

	*s = SEGMENT_NULL;
	fd = segment_open_new(prefix);
	if (fd < 0)
		return fd;
	do {
		r = posix_fallocate(fd, 0, (off_t)bytes);
	} while (r == EINTR);
	if (r)
		return -r;
	r = segment_attach(s, fd, bytes);
	if (r < 0)
		return r;
	h = s->base;
	h->magic = TR_MAGIC;
	h->header_bytes = sizeof(*h);
	h->segment_bytes = bytes;
	h->features = identity->features;
	h->session_id = identity->session_id;
	h->generation = identity->generation;
	h->submission = (struct tr_area){.offset = submission, .bytes = sizes->submission_bytes};
	h->completion = (struct tr_area){.offset = completion, .bytes = sizes->completion_bytes};
	h->calls_offset = calls;
	h->n_calls = sizes->n_calls;
	h->executor_pid = identity->executor_pid;
	h->call_bytes_max = identity->call_bytes_max;
	h->result_bytes_max = identity->result_bytes_max;
	__atomic_store_n(&h->layout_version, TR_LAYOUT_VERSION, __ATOMIC_RELEASE);

	s->fd = fd_steal(&fd);
	s->sizes = *sizes;
	s->call_bytes_max = identity->call_bytes_max;
	s->result_bytes_max = identity->result_bytes_max;
	s->session_id = identity->session_id;
	s->generation = identity->generation;
	s->submission_offset = submission;
	s->completion_offset = completion;
	s->calls = (uint64_t *)(void *)((uint8_t *)h + calls);
	return 0;
}

static bool area_inside(const struct tr_area *a, uint64_t bytes)
{
	return is_power_of_two(a->bytes) && a->bytes >= SEGMENT_RING_MIN &&
	       a->bytes <= UINT32_C(1) << 31 && a->offset % TR_LINE == 0 &&
	       a->offset >= sizeof(struct tr_segment) && a->offset <= bytes &&
	       a->bytes <= bytes - a->offset;
}

/* h is a private copy. */
static bool segment_sane(const struct tr_segment *h, uint64_t bytes)
{
	return h->magic == TR_MAGIC && h->layout_version == TR_LAYOUT_VERSION &&
	       h->segment_bytes == bytes && h->header_bytes >= sizeof(*h) &&
	       area_inside(&h->submission, bytes) && area_inside(&h->completion, bytes) &&
	       is_power_of_two(h->n_calls) && h->n_calls <= UINT32_C(1) << 24 &&
	       h->calls_offset % sizeof(uint64_t) == 0 && h->calls_offset >= sizeof(*h) &&
	       h->calls_offset <= bytes &&
	       (uint64_t)h->n_calls * sizeof(uint64_t) <= bytes - h->calls_offset &&
	       h->call_bytes_max > 0 && h->result_bytes_max > 0;
}

int segment_map(struct segment *s, int fd, uint64_t bytes)
{
	_cleanup_(cleanup_close) int owned = fd;
	struct tr_segment h;
	struct stat st;
	int r;

	*s = SEGMENT_NULL;
	if (fstat(owned, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || bytes < sizeof(h) || bytes > UINT64_C(1) << 34 ||
	    (uint64_t)st.st_size < bytes)
		return -EPROTO;
	r = segment_attach(s, owned, bytes);
	if (r < 0)
		return r;
	if (__atomic_load_n(&s->base->layout_version, __ATOMIC_ACQUIRE) != TR_LAYOUT_VERSION) {
		segment_deinit(s);
		return -EPROTO;
	}
	memcpy(&h, s->base, sizeof(h));
	if (!segment_sane(&h, bytes)) {
		segment_deinit(s);
		return -EPROTO;
	}
	s->sizes = (struct segment_sizes){
		.submission_bytes = (uint32_t)h.submission.bytes,
		.completion_bytes = (uint32_t)h.completion.bytes,
		.n_calls = h.n_calls,
	};
	s->call_bytes_max = h.call_bytes_max;
	s->result_bytes_max = h.result_bytes_max;
	s->session_id = h.session_id;
	s->generation = h.generation;
	s->calls = (uint64_t *)(void *)((uint8_t *)s->base + h.calls_offset);
	s->submission_offset = h.submission.offset;
	s->completion_offset = h.completion.offset;
	return 0;
}

void segment_deinit(struct segment *s)
{
	if (s->base)
		munmap(s->base, s->bytes);
	fd_close(&s->fd);
	*s = SEGMENT_NULL;
}

static struct ring_words ring_words(struct tr_ring *r)
{
	return (struct ring_words){
		.tail = &r->tail,
		.head = &r->head,
		.consumer_wait = &r->consumer_wait,
		.producer_wait = &r->producer_wait,
	};
}

static struct ring_tx make_tx(struct segment *s, struct tr_ring *r, uint64_t offset, uint64_t bytes)
{
	return (struct ring_tx){
		.words = ring_words(r),
		.area = (uint8_t *)s->base + offset,
		.bytes = bytes,
	};
}

static struct ring_rx make_rx(struct segment *s, struct tr_ring *r, uint64_t offset, uint64_t bytes)
{
	return (struct ring_rx){
		.words = ring_words(r),
		.area = (uint8_t *)s->base + offset,
		.bytes = bytes,
	};
}

void segment_client_rings(struct segment *s, struct ring_tx *tx, struct ring_rx *rx)
{
	*tx = make_tx(s, &s->base->submission_ring, s->submission_offset,
		      s->sizes.submission_bytes);
	*rx = make_rx(s, &s->base->completion_ring, s->completion_offset,
		      s->sizes.completion_bytes);
}

void segment_executor_rings(struct segment *s, struct ring_tx *tx, struct ring_rx *rx)
{
	*tx = make_tx(s, &s->base->completion_ring, s->completion_offset,
		      s->sizes.completion_bytes);
	*rx = make_rx(s, &s->base->submission_ring, s->submission_offset,
		      s->sizes.submission_bytes);
}
