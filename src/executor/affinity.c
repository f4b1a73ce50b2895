/* SPDX-License-Identifier: Apache-2.0 */
#include "executor/affinity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "base/clock.h"
#include "executor/executor.h"

static void on_timer(struct timer *timer, void *context);

/* ---- the table ------------------------------------------------------------------------------------ */

int affinity_init(struct affinity *a, uint64_t n_trajectories_max)
{
	uint64_t n_buckets = 64;

	*a = (struct affinity){0};
	list_init(&a->due);
	list_init(&a->recovered);
	list_init(&a->hold_pool);
	while (n_buckets < n_trajectories_max)
		n_buckets *= 2;
	/*
	 * Untouched zero pages cost nothing, so the table never has to grow under way. It is read at
	 * random: where the kernel has a large page for it, that spares a walk for each look.
	 */
	a->buckets = mmap(NULL, n_buckets * sizeof(*a->buckets), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (a->buckets == MAP_FAILED) {
		a->buckets = NULL;
		return -ENOMEM;
	}
	madvise(a->buckets, n_buckets * sizeof(*a->buckets), MADV_HUGEPAGE);
	a->mask = n_buckets - 1;
	if (getrandom(&a->seed, sizeof(a->seed), 0) != sizeof(a->seed))
		return -EIO;
	return 0;
}

static void hold_free(struct affinity *a, struct hold *h)
{
	list_remove(&h->session_link);
	list_remove(&h->trajectory_link);
	list_push_front(&a->hold_pool, &h->session_link);
}

void affinity_deinit(struct affinity *a)
{
	struct list *l;

	for (uint64_t i = 0; a->buckets && i <= a->mask; i++) {
		while (a->buckets[i]) {
			struct trajectory *t = a->buckets[i];

			a->buckets[i] = t->next;
			free(t);
		}
	}
	while ((l = list_pop_front(&a->hold_pool)))
		free(container_of(l, struct hold, session_link));
	if (a->buckets)
		munmap(a->buckets, (a->mask + 1) * sizeof(*a->buckets));
	*a = (struct affinity){0};
}

/* Seeded, so that a client cannot choose ids that fall into one bucket. */
uint64_t affinity_hash(const struct affinity *a, uid_t uid, struct span id)
{
	uint64_t h = a->seed ^ ((uint64_t)uid * UINT64_C(0x9e3779b97f4a7c15)) ^ id.n;
	uint64_t word;
	size_t i = 0;

	for (; i + 8 <= id.n; i += 8) {
		memcpy(&word, id.data + i, 8);
		h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
	}
	word = 0;
	if (i < id.n)
		memcpy(&word, id.data + i, id.n - i);
	h = (h ^ word) * UINT64_C(0xc4ceb9fe1a85ec53);
	h ^= h >> 29;
	h *= UINT64_C(0xff51afd7ed558ccd);
	return h ^ (h >> 32);
}

static struct trajectory *find(struct affinity *a, uint64_t hash, uid_t uid, struct span id)
{
	struct trajectory *t = a->buckets[hash & a->mask];

	while (t && !(t->hash == hash && t->uid == uid && t->n_id == id.n &&
		      memcmp(t->id, id.data, id.n) == 0))
		t = t->next;
	return t;
}

static struct trajectory *trajectory_new(struct affinity *a, uint64_t hash, uid_t uid,
					 struct span id)
{
	struct trajectory **bucket = &a->buckets[hash & a->mask];
	struct trajectory *t;

	/* On a line of its own: random access to many of them is what the table is for. */
	if (posix_memalign((void **)&t, TRAJECTORY_LINE, sizeof(*t) + id.n))
		return NULL;
	memset(t, 0, sizeof(*t));
	t->hash = hash;
	t->uid = uid;
	t->slot = SLOT_NONE;
	t->n_id = (uint8_t)id.n;
	memcpy(t->id, id.data, id.n);
	list_init(&t->queue);
	list_init(&t->holds);
	list_init(&t->due_link);
	list_init(&t->wait_link);
	list_init(&t->recovered_link);
	t->timer.fire = on_timer;
	t->next = *bucket;
	*bucket = t;
	a->n_trajectories++;
	return t;
}

static void trajectory_free(struct executor *e, struct trajectory *t)
{
	struct trajectory **at = &e->affinity.buckets[t->hash & e->affinity.mask];

	trajectory_drop_holds(e, t);
	timer_cancel(&e->loop.timers, &t->timer);
	list_remove(&t->due_link);
	list_remove(&t->recovered_link);
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	e->affinity.n_trajectories--;
	free(t);
}

/* ---- who holds what ------------------------------------------------------------------------------- */

int trajectory_hold(struct executor *e, struct trajectory *t, struct session *s)
{
	struct list *l;
	struct hold *h;

	if (t->last_session == s)
		return 0;
	list_for_each (at, &t->holds) {
		if (container_of(at, struct hold, trajectory_link)->session != s)
			continue;
		t->last_session = s;
		return 0;
	}
	if (t->n_holds >= e->limits->trajectory_holders_max ||
	    s->n_holds >= e->limits->trajectories_per_session_max)
		return -EUSERS;
	l = list_pop_front(&e->affinity.hold_pool);
	h = l ? container_of(l, struct hold, session_link) : malloc(sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->session = s;
	h->trajectory = t;
	list_init(&h->session_link);
	list_init(&h->trajectory_link);
	list_push_back(&s->holds, &h->session_link);
	list_push_back(&t->holds, &h->trajectory_link);
	s->n_holds++;
	t->n_holds++;
	t->last_session = s;
	return 0;
}

static void unhold(struct executor *e, struct hold *h)
{
	if (h->trajectory->last_session == h->session)
		h->trajectory->last_session = NULL;
	h->trajectory->n_holds--;
	h->session->n_holds--;
	hold_free(&e->affinity, h);
}

void trajectory_drop_holds(struct executor *e, struct trajectory *t)
{
	list_for_each_safe (l, &t->holds)
		unhold(e, container_of(l, struct hold, trajectory_link));
}

void trajectory_let_go(struct executor *e, struct trajectory *t)
{
	trajectory_drop_holds(e, t);
	list_for_each (l, &t->queue)
		trajectory_hold(e, t, container_of(l, struct call, link)->session);
}

void trajectory_session_ends(struct executor *e, struct session *s)
{
	list_for_each_safe (l, &s->holds) {
		struct hold *h = container_of(l, struct hold, session_link);
		struct trajectory *t = h->trajectory;

		unhold(e, h);
		/* One that is being parked is not given back after all. */
		if (t->n_holds == 0 && !t->kept && t->slot_state != TRAJECTORY_RELEASES)
			trajectory_doom(e, t);
	}
}

/* ---- time ----------------------------------------------------------------------------------------- */

static void on_timer(struct timer *timer, void *context)
{
	struct trajectory *t = container_of(timer, struct trajectory, timer);
	struct executor *e = context;

	if (list_empty(&t->due_link))
		list_push_back(&e->affinity.due, &t->due_link);
}

/*
 * One timer for each trajectory with a slot, set once and not moved by its calls: when it fires, the
 * time of the last use says whether it was idle for so long, or when to look again.
 */
static void watch_idle(struct executor *e, struct trajectory *t)
{
	if (!timer_is_set(&t->timer))
		timer_set(&e->loop.timers, &t->timer, t->used_ns + t->idle_ttl_ns);
}

static void handle_due(struct executor *e, struct trajectory *t)
{
	bool busy = t->running || !list_empty(&t->queue);
	char text[96];

	if (t->slot_state == TRAJECTORY_ACQUIRES) {
		trajectory_fail_queue(e, t, TR_UNAVAILABLE,
				      "no slot was made ready in time (acquire timeout)");
	} else if (t->slot_state == TRAJECTORY_WAITS) {
		snprintf(text, sizeof(text), "no slot became free within %g s (acquire timeout)",
			 (double)e->config->acquire_timeout_ns / (double)NS_PER_S);
		trajectory_fail_queue(e, t, TR_UNAVAILABLE, text);
		trajectory_advance(e, t);
	} else if (t->slot_state == TRAJECTORY_HAS_SLOT) {
		if (busy)
			t->used_ns = e->loop.now_ns;
		if (t->recovered || e->loop.now_ns >= t->used_ns + t->idle_ttl_ns)
			trajectory_doom(e, t);
		else
			watch_idle(e, t);
	}
}

/* ---- from the queue to the slot ------------------------------------------------------------------- */

void trajectory_dequeue(struct executor *e, struct call *call)
{
	list_remove(&call->link);
	e->calls.n_queued--;
	if (call->trajectory)
		call->trajectory->n_queued--;
}

void trajectory_fail_queue(struct executor *e, struct trajectory *t, enum tr_verdict verdict,
			   const char *error)
{
	while (!list_empty(&t->queue)) {
		struct call *call = container_of(t->queue.next, struct call, link);

		trajectory_dequeue(e, call);
		reply_error(e, call, verdict, error);
	}
}

void trajectory_doom(struct executor *e, struct trajectory *t)
{
	t->doomed = true;
	t->forgotten = !t->n_holds;
	if (t->running)
		dispatch_hurry(e, t->running);
	else
		trajectory_advance(e, t);
}

/* A slot cannot become another one, nor may the next be another than its trajectory was promised. */
static void refuse_spec(struct executor *e, struct call *call)
{
	reply_error(e, call, TR_INVALID,
		    "the trajectory has a slot made to another spec: RELEASE it first");
}

static void answer_acquire(struct executor *e, struct trajectory *t, struct call *call)
{
	struct slot_spec wish = {0};
	char name[64];

	/* Read once before, on arrival. The idle time is only a number of ours. */
	slot_spec_read(call->wire.spec, &wish, NULL, 0);
	if (!slot_spec_agrees(e->config, &wish, &t->made)) {
		refuse_spec(e, call);
		return;
	}
	if (wish.idle_ttl_ns && wish.idle_ttl_ns != t->idle_ttl_ns) {
		t->idle_ttl_ns = wish.idle_ttl_ns;
		timer_cancel(&e->loop.timers, &t->timer);
		slot_note_write(e, t);
	}
	e->backend->ops->slot_name(e->backend, t->slot, name, sizeof(name));
	reply_ok(e, call, "", span_string(name));
}

/* Takes the next call out of the queue, whose turn it is and which has a slot. */
static void start_call(struct executor *e, struct trajectory *t, struct call *call)
{
	trajectory_dequeue(e, call);
	call->at_ns[TR_PHASE_START] = e->loop.now_ns;
	if (call->wire.kind == TR_KIND_ACQUIRE) {
		answer_acquire(e, t, call);
		return;
	}
	t->running = call;
	e->calls.n_running++;
	switch (call->wire.kind) {
	case TR_KIND_RELEASE:
		dispatch_mark(e, call);
		slot_give_back(e, t, call->wire.reset_workspace);
		break;
	case TR_KIND_RESET:
		dispatch_reset(e, call);
		break;
	default:
		batch_add(e, call);
		break;
	}
}

/* The first call of a trajectory without a slot. false: it was answered. */
static bool want_slot(struct executor *e, struct trajectory *t, struct call *call)
{
	bool is_plain = slot_spec_is_plain(&t->made);
	struct slot_spec wish = {0};

	if (call->wire.kind == TR_KIND_RELEASE) {
		trajectory_dequeue(e, call);
		if (call->wire.reset_workspace) {
			t->made = (struct slot_spec){0};
			trajectory_let_go(e, t);
		}
		reply_ok(e, call, "", span_of(NULL, 0));
		return false;
	}
	if (call->wire.kind == TR_KIND_ACQUIRE)
		slot_spec_read(call->wire.spec, &wish, NULL, 0);
	if (call->wire.kind == TR_KIND_ACQUIRE && !is_plain &&
	    !slot_spec_agrees(e->config, &wish, &t->made)) {
		trajectory_dequeue(e, call);
		refuse_spec(e, call);
		return false;
	}
	if (wish.idle_ttl_ns)
		t->idle_ttl_ns = wish.idle_ttl_ns;
	else if (is_plain)
		t->idle_ttl_ns = e->config->idle_ttl_ns;
	slot_want(e, t);
	return t->slot_state != TRAJECTORY_NO_SLOT;
}

/* Nothing runs and nothing is queued. */
static void rest(struct executor *e, struct trajectory *t)
{
	if (t->slot_state != TRAJECTORY_NO_SLOT)
		watch_idle(e, t);
	else if (slot_spec_is_plain(&t->made) || !t->n_holds)
		trajectory_free(e, t);
}

void trajectory_advance(struct executor *e, struct trajectory *t)
{
	while (!t->running) {
		struct call *call = NULL;

		if (!list_empty(&t->queue))
			call = container_of(t->queue.next, struct call, link);
		if (t->slot_state == TRAJECTORY_WAITS && !call)
			slot_unwant(e, t);
		if (t->slot_state == TRAJECTORY_WAITS || t->slot_state == TRAJECTORY_ACQUIRES ||
		    t->slot_state == TRAJECTORY_RELEASES)
			return;
		if (t->doomed) {
			t->doomed = false;
			if (t->forgotten)
				t->made = (struct slot_spec){0};
			if (t->slot_state == TRAJECTORY_HAS_SLOT) {
				slot_give_back(e, t, true);
				return;
			}
		}
		if (!call) {
			rest(e, t);
			return;
		}
		if (!call->at_ns[TR_PHASE_SLOT_WAIT])
			call->at_ns[TR_PHASE_SLOT_WAIT] = e->loop.now_ns;
		if (t->slot_state == TRAJECTORY_HAS_SLOT)
			start_call(e, t, call);
		else if (want_slot(e, t, call))
			return;
	}
}

/* ---- arriving ------------------------------------------------------------------------------------- */

static struct trajectory *find_or_make(struct executor *e, struct call *call)
{
	struct affinity *a = &e->affinity;
	uid_t uid = call->session->uid;
	struct trajectory *t = find(a, call->hash, uid, call->wire.trajectory_id);

	if (t || a->n_trajectories >= e->limits->trajectories_max)
		return t;
	return trajectory_new(a, call->hash, uid, call->wire.trajectory_id);
}

static void recovered_by_its_client(struct trajectory *t)
{
	t->recovered = false;
	list_remove(&t->recovered_link);
}

static void join(struct executor *e, struct call *call)
{
	struct trajectory *t = find_or_make(e, call);
	const char *error = NULL;
	bool idle;

	if (!t)
		error = "too many trajectories (limit trajectories_max)";
	else if (t->n_queued >= e->limits->trajectory_calls_max)
		error = "too many calls wait for this trajectory (limit trajectory_calls_max)";
	else if (trajectory_hold(e, t, call->session) < 0)
		error = "the trajectory has too many holders, or the session holds too many "
			"(limits trajectory_holders_max, trajectories_per_session_max)";
	if (error) {
		e->calls.n_queued--;
		reply_error(e, call, TR_UNAVAILABLE, error);
		if (t && !t->running && list_empty(&t->queue))
			trajectory_advance(e, t);
		return;
	}
	idle = list_empty(&t->queue) && !t->running;
	call->trajectory = t;
	call->state = CALL_QUEUED;
	t->used_ns = e->loop.now_ns;
	recovered_by_its_client(t);
	if (t->kept) {
		t->kept = false;
		if (t->slot_state == TRAJECTORY_HAS_SLOT)
			slot_note_write(e, t);
	}
	t->n_queued++;
	list_push_back(&t->queue, &call->link);
	if (idle)
		trajectory_advance(e, t);
}

static void trajectory_prefetch(const struct trajectory *t)
{
	if (!t)
		return;
	__builtin_prefetch(&t->next, 1);
	__builtin_prefetch(&t->used_ns, 1);
}

void affinity_step(struct executor *e)
{
	struct list *l;

	/* Two passes, so that the lines of many trajectories are on their way at the same time. */
	list_for_each (at, &e->arrived) {
		struct call *call = container_of(at, struct call, link);

		trajectory_prefetch(e->affinity.buckets[call->hash & e->affinity.mask]);
	}
	while ((l = list_pop_front(&e->arrived)))
		join(e, container_of(l, struct call, link));
	while ((l = list_pop_front(&e->affinity.due)))
		handle_due(e, container_of(l, struct trajectory, due_link));
}

struct trajectory *trajectory_recover(struct executor *e, const struct slot_note *note,
				      uint32_t slot)
{
	struct affinity *a = &e->affinity;
	struct span id = span_of(note->id, note->n_id);
	uint64_t hash = affinity_hash(a, note->uid, id);
	struct trajectory *t;

	if (find(a, hash, note->uid, id))
		return NULL;
	t = trajectory_new(a, hash, note->uid, id);
	if (!t)
		return NULL;
	t->slot = slot;
	t->slot_state = TRAJECTORY_HAS_SLOT;
	t->kept = note->kept;
	t->recovered = !note->kept;
	t->pid = note->pid;
	t->made = note->spec;
	t->idle_ttl_ns = note->idle_ttl_ns;
	t->used_ns = e->loop.now_ns;
	if (t->recovered)
		list_push_back(&a->recovered, &t->recovered_link);
	timer_set(&e->loop.timers, &t->timer,
		  e->loop.now_ns +
			  (t->kept ? t->idle_ttl_ns : e->limits->recovery_grace_ms * NS_PER_MS));
	return t;
}

void trajectory_session_opens(struct executor *e, struct session *s)
{
	list_for_each_safe (l, &e->affinity.recovered) {
		struct trajectory *t = container_of(l, struct trajectory, recovered_link);

		if (t->uid != s->uid || t->pid != s->pid || trajectory_hold(e, t, s) < 0)
			continue;
		t->used_ns = e->loop.now_ns;
		recovered_by_its_client(t);
	}
}
