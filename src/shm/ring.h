/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHM_RING_H
#define SHM_RING_H

/*
 * One ring, both ends, as abi.h describes it: lock-free and wait-free, one producer, one consumer.
 *
 * Each end keeps its own position privately and only publishes it, so that nothing the other side
 * writes can move it; what the other side publishes is copied once and checked against what is
 * possible. Staging and publishing are apart, so that a batch costs one store and one fence.
 *
 * The order of the calls around sleeping is the whole protocol:
 *
 *   consumer: ring_rx_sleep, ring_rx_poll again, then really sleep      (producer likewise)
 *   producer: ring_tx_publish, ring_tx_wake                              (consumer likewise)
 *
 * Also compiled as C++ by tests/model.
 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <toolring/abi.h>

#include "shm/order.h"

#define RING_HEADER ((uint64_t)sizeof(struct tr_record))

static inline uint64_t ring_align(uint64_t n)
{
	return (n + TR_RECORD_ALIGN - 1) & ~(uint64_t)(TR_RECORD_ALIGN - 1);
}

/* Largest payload of one record. */
static inline uint64_t ring_payload_max(uint64_t ring_bytes)
{
	return ring_bytes / 4 - RING_HEADER;
}

/* The four shared words of one ring. */
struct ring_words {
	shm_u64 *tail;
	shm_u64 *head;
	shm_u32 *consumer_wait;
	shm_u32 *producer_wait;
};

struct ring_tx {
	struct ring_words words;
	shm_bytes *area;
	uint64_t bytes;
	uint64_t tail;      /* staged up to here */
	uint64_t published; /* the consumer may know up to here */
	uint64_t head;      /* last seen */
};

struct ring_rx {
	struct ring_words words;
	const shm_bytes *area;
	uint64_t bytes;
	uint64_t head;     /* consumed up to here */
	uint64_t released; /* the producer may know up to here */
	uint64_t tail;     /* last seen */
};

/* A record as its consumer sees it: the header is a checked copy, the payload is still shared. */
struct ring_record {
	uint16_t kind;
	uint16_t flags;
	uint32_t length;
	uint64_t call_id;
	uint64_t at; /* offset of the payload in the area */
};

/* ---- producer ----------------------------------------------------------------------------------- */

/* Looks at how far the consumer is. -EBADMSG: where it cannot be. */
static inline int ring_tx_refresh(struct ring_tx *tx)
{
	uint64_t head = shm_load(tx->words.head, SITE(TX_LOAD_HEAD, SHM_ACQUIRE));

	if (head - tx->head > tx->published - tx->head || (head & (TR_RECORD_ALIGN - 1)))
		return -EBADMSG;
	tx->head = head;
	return 0;
}

/*
 * Has the consumer moved since the last look? Decides whether to look again and nothing else: before
 * the room is used, ring_tx_fits() looks properly. It also serves as the look after ring_tx_sleep(),
 * whose fence orders it.
 */
static inline bool ring_tx_moved(const struct ring_tx *tx)
{
	return shm_load(tx->words.head, SHM_RELAXED) != tx->head;
}

/* Bytes a record of n payload bytes takes at the present position, padding before it included. */
static inline uint64_t ring_tx_need(const struct ring_tx *tx, uint64_t n)
{
	uint64_t need = RING_HEADER + ring_align(n);
	uint64_t to_end = tx->bytes - (tx->tail & (tx->bytes - 1));

	return need <= to_end ? need : to_end + need;
}

/* 1: a record of n payload bytes fits; 0: not now; -EBADMSG. */
static inline int ring_tx_fits(struct ring_tx *tx, uint64_t n)
{
	uint64_t need = ring_tx_need(tx, n);
	int r;

	if (tx->bytes - (tx->tail - tx->head) >= need)
		return 1;
	r = ring_tx_refresh(tx);
	if (r < 0)
		return r;
	return tx->bytes - (tx->tail - tx->head) >= need;
}

/*
 * Stages one record, whose payload is n_first bytes of first and n of payload. 1: done; 0: no room;
 * -EBADMSG. n_first is a multiple of 8, and n_first + n at most ring_payload_max().
 */
static inline int ring_tx_put(struct ring_tx *tx, uint16_t kind, uint16_t flags, uint64_t call_id,
			      const void *first, size_t n_first, const void *payload, size_t n)
{
	uint64_t need = RING_HEADER + ring_align(n_first + n);
	uint64_t at = tx->tail & (tx->bytes - 1);
	struct tr_record header;
	int r = ring_tx_fits(tx, n_first + n);

	if (r <= 0)
		return r;
	if (tx->bytes - at < need) {
		header.length = (uint32_t)(tx->bytes - at - 8);
		header.kind = TR_KIND_PAD;
		header.flags = 0;
		shm_write(tx->area, at, &header, 8);
		tx->tail += tx->bytes - at;
		at = 0;
	}
	header.length = (uint32_t)(n_first + n);
	header.kind = kind;
	header.flags = flags;
	header.call_id = call_id;
	shm_write(tx->area, at, &header, sizeof(header));
	if (n_first)
		shm_write(tx->area, at + RING_HEADER, first, n_first);
	if (n)
		shm_write(tx->area, at + RING_HEADER + n_first, payload, n);
	tx->tail += need;
	return 1;
}

static inline void ring_tx_publish(struct ring_tx *tx)
{
	tx->published = tx->tail;
	shm_store(tx->words.tail, tx->tail, SITE(TX_STORE_TAIL, SHM_RELEASE));
}

/* After publishing: how the consumer must be woken (it is owed that wake-up now), or TR_AWAKE. */
static inline uint32_t ring_tx_wake(struct ring_tx *tx)
{
	shm_fence(SITE(TX_WAKE_FENCE, SHM_SEQ_CST));
	if (shm_load(tx->words.consumer_wait, SHM_RELAXED) == TR_AWAKE)
		return TR_AWAKE;
	return shm_exchange(tx->words.consumer_wait, TR_AWAKE, SHM_RELAXED);
}

/*
 * Announces that the producer sleeps; then ring_tx_fits(), or ring_tx_moved() where that has just
 * failed, before really sleeping.
 */
static inline void ring_tx_sleep(struct ring_tx *tx, uint32_t how)
{
	shm_store(tx->words.producer_wait, how, SHM_RELAXED);
	shm_fence(SITE(TX_SLEEP_FENCE, SHM_SEQ_CST));
}

static inline void ring_tx_awake(struct ring_tx *tx)
{
	shm_store(tx->words.producer_wait, TR_AWAKE, SHM_RELAXED);
}

/* ---- consumer ----------------------------------------------------------------------------------- */

/* 1: there is something to consume; 0: empty; -EBADMSG: tail is where it cannot be. */
static inline int ring_rx_poll(struct ring_rx *rx)
{
	uint64_t tail;

	if (rx->tail != rx->head)
		return 1;
	shm_prefetch(rx->area, rx->head & (rx->bytes - 1));
	tail = shm_load(rx->words.tail, SITE(RX_LOAD_TAIL, SHM_ACQUIRE));
	if (tail == rx->head)
		return 0;
	if (tail - rx->released > rx->bytes || tail - rx->released < rx->head - rx->released ||
	    (tail & (TR_RECORD_ALIGN - 1)))
		return -EBADMSG;
	rx->tail = tail;
	return 1;
}

/* Is there something to look at? For ring_rx_poll() to confirm: nothing is read or checked here. */
static inline bool ring_rx_pending(const struct ring_rx *rx)
{
	return shm_load(rx->words.tail, SHM_RELAXED) != rx->head;
}

/* The first 8 bytes of a record, copied once. */
static inline struct tr_record ring_rx_header(const struct ring_rx *rx, uint64_t at)
{
	uint64_t word = shm_read_word(rx->area, at);
	struct tr_record header;

	memcpy(&header, &word, sizeof(word));
	header.call_id = 0;
	return header;
}

/*
 * The next record, which stays until ring_rx_consume(). 1, 0 if the ring is empty, -EBADMSG.
 */
static inline int ring_rx_next(struct ring_rx *rx, struct ring_record *ret_record)
{
	struct tr_record header;
	uint64_t at, here, need;
	int r = ring_rx_poll(rx);

	if (r <= 0)
		return r;
	at = rx->head & (rx->bytes - 1);
	header = ring_rx_header(rx, at);
	if (header.kind == TR_KIND_PAD) {
		if (at == 0 || (uint64_t)header.length + 8 != rx->bytes - at ||
		    rx->tail - rx->head < rx->bytes - at)
			return -EBADMSG;
		rx->head += rx->bytes - at;
		r = ring_rx_poll(rx);
		if (r <= 0)
			return r;
		at = 0;
		header = ring_rx_header(rx, at);
		if (header.kind == TR_KIND_PAD)
			return -EBADMSG;
	}
	here = rx->tail - rx->head;
	if (here > rx->bytes - at)
		here = rx->bytes - at;
	if (header.length > ring_payload_max(rx->bytes))
		return -EBADMSG;
	need = RING_HEADER + ring_align(header.length);
	if (need > here)
		return -EBADMSG;
	ret_record->kind = header.kind;
	ret_record->flags = header.flags;
	ret_record->length = header.length;
	ret_record->call_id = shm_read_word(rx->area, at + 8);
	ret_record->at = at + RING_HEADER;
	return 1;
}

/* Copies n payload bytes from offset skip out of the ring. skip is a multiple of 8. */
static inline void ring_rx_copy(const struct ring_rx *rx, const struct ring_record *record,
				uint64_t skip, void *to, size_t n)
{
	if (n)
		shm_read(rx->area, record->at + skip, to, n);
}

static inline void ring_rx_consume(struct ring_rx *rx, const struct ring_record *record)
{
	rx->head += RING_HEADER + ring_align(record->length);
}

/* Gives what was consumed back to the producer. */
static inline void ring_rx_release(struct ring_rx *rx)
{
	rx->released = rx->head;
	shm_store(rx->words.head, rx->head, SITE(RX_STORE_HEAD, SHM_RELEASE));
}

/* After releasing: how the producer must be woken, or TR_AWAKE. */
static inline uint32_t ring_rx_wake(struct ring_rx *rx)
{
	shm_fence(SITE(RX_WAKE_FENCE, SHM_SEQ_CST));
	if (shm_load(rx->words.producer_wait, SHM_RELAXED) == TR_AWAKE)
		return TR_AWAKE;
	return shm_exchange(rx->words.producer_wait, TR_AWAKE, SHM_RELAXED);
}

/* Announces that the consumer sleeps; then ring_rx_poll() again before really sleeping. */
static inline void ring_rx_sleep(struct ring_rx *rx, uint32_t how)
{
	shm_store(rx->words.consumer_wait, how, SHM_RELAXED);
	shm_fence(SITE(RX_SLEEP_FENCE, SHM_SEQ_CST));
}

static inline void ring_rx_awake(struct ring_rx *rx)
{
	shm_store(rx->words.consumer_wait, TR_AWAKE, SHM_RELAXED);
}

#endif
