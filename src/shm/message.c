/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/message.h"

int message_put(struct ring_tx *tx, uint16_t kind, uint64_t call_id, const void *data, size_t n,
		size_t *done)
{
	const uint8_t *bytes = data;
	uint64_t record_max = ring_payload_max(tx->bytes);
	uint64_t total = n;
	int r;

	if (n <= record_max && *done == 0) {
		r = ring_tx_put(tx, kind, 0, call_id, NULL, 0, bytes, n);
		if (r > 0)
			*done = n;
		return r;
	}
	while (*done < n) {
		size_t n_first = *done == 0 ? sizeof(total) : 0;
		size_t n_here = (size_t)record_max - n_first;
		uint16_t flags = *done == 0 ? TR_RECORD_FIRST : 0;

		if (n_here >= n - *done)
			n_here = n - *done;
		else
			flags |= TR_RECORD_MORE;
		r = ring_tx_put(tx, kind, flags, call_id, &total, n_first, bytes + *done, n_here);
		if (r <= 0)
			return r;
		*done += n_here;
	}
	return 1;
}

uint64_t message_ring_bytes(uint64_t ring_bytes, size_t n)
{
	uint64_t record_max = ring_payload_max(ring_bytes);
	uint64_t n_records = (n + sizeof(uint64_t) + record_max - 1) / record_max;

	/* Each record can waste its own length in padding before the ring's end, once per lap. */
	if (n <= record_max)
		return 2 * (RING_HEADER + ring_align(n));
	return n_records * (ring_bytes / 4) + ring_bytes / 4;
}

void message_assembly_init(struct message_assembly *a, size_t n_max)
{
	*a = (struct message_assembly){.active = false};
	buf_init(&a->data, n_max);
}

void message_assembly_deinit(struct message_assembly *a)
{
	buf_deinit(&a->data);
	a->active = false;
}

int message_assembly_feed(struct message_assembly *a, const struct ring_rx *rx,
			  const struct ring_record *record)
{
	bool first = record->flags & TR_RECORD_FIRST;
	bool more = record->flags & TR_RECORD_MORE;
	uint64_t skip = 0;
	size_t n;
	int r;

	if (record->flags & ~(TR_RECORD_FIRST | TR_RECORD_MORE))
		return -EBADMSG;
	if (first) {
		if (a->active || record->length < sizeof(a->total))
			return -EBADMSG;
		ring_rx_copy(rx, record, 0, &a->total, sizeof(a->total));
		if (a->total > a->data.n_max)
			return -E2BIG;
		a->kind = record->kind;
		a->call_id = record->call_id;
		a->active = true;
		buf_clear(&a->data);
		skip = sizeof(a->total);
	} else if (!a->active || record->kind != a->kind || record->call_id != a->call_id) {
		return -EBADMSG;
	}
	n = record->length - (size_t)skip;
	/* Every fragment moves it on, so a message has at most total of them. */
	if (n == 0 || n > a->total - a->data.n)
		return -EBADMSG;
	r = buf_reserve(&a->data, n);
	if (r < 0)
		return r;
	ring_rx_copy(rx, record, skip, a->data.data + a->data.n, n);
	a->data.n += n;
	if (more != (a->data.n < a->total))
		return -EBADMSG;
	if (more)
		return 0;
	a->active = false;
	return 1;
}
