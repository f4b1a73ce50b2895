/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as the payload of a result. Shows: nothing is read outside it; what passes points into
 * it, and says the same again when it is encoded and decoded once more.
 */

#include <errno.h>

#include "fuzz.h"
#include "wire/reader.h"
#include "wire/result.h"

size_t fuzz_seed(unsigned number, uint8_t *data, size_t size)
{
	static const struct wire_result results[] = {
		{.verdict = TR_OK, .success = true},
		{.verdict = TR_FAILED,
		 .output = {(const uint8_t *)"output\n", 7},
		 .error = {(const uint8_t *)"error", 5},
		 .uniq_id = {(const uint8_t *)"u-1", 3},
		 .metadata = {(const uint8_t *)"\x82\xa1k\x05\xa1l\x92\xc0\xcd\x01\x00", 11},
		 .slot_id = {(const uint8_t *)"fake-7", 6},
		 .timing_ns = {1, 200, 70000, UINT64_C(5000000000), UINT64_MAX}},
		{.verdict = TR_UNAVAILABLE,
		 .error = {(const uint8_t *)"no slot became free", 19},
		 .more = {(const uint8_t *)"\xa7"
					   "entries\x91\x81\xa4name\xa1x\xa5total\x01",
			  25},
		 .n_more = 2},
	};
	struct buf out;
	size_t n;

	if (number >= sizeof(results) / sizeof(results[0]))
		return 0;
	buf_init(&out, size);
	FUZZ_CHECK(wire_result_encode(&out, &results[number]) == 0);
	n = out.n;
	memcpy(data, out.data, n);
	buf_deinit(&out);
	return n;
}

static void check_again(const struct wire_result *result)
{
	struct wire_result again;
	struct buf out;

	buf_init(&out, 1 << 24);
	FUZZ_CHECK(wire_result_encode(&out, result) == 0);
	FUZZ_CHECK(wire_result_decode(out.data, out.n, &again) == 0);
	FUZZ_CHECK(again.verdict == result->verdict && again.success == result->success);
	FUZZ_CHECK(span_equal(again.output, result->output));
	FUZZ_CHECK(span_equal(again.error, result->error));
	FUZZ_CHECK(span_equal(again.uniq_id, result->uniq_id));
	FUZZ_CHECK(span_equal(again.slot_id, result->slot_id));
	FUZZ_CHECK(memcmp(again.timing_ns, result->timing_ns, sizeof(again.timing_ns)) == 0);
	if (result->metadata.n)
		FUZZ_CHECK(span_equal(again.metadata, result->metadata));
	buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint8_t *payload = fuzz_copy(data, n);
	struct wire_result result;
	int r = wire_result_decode(payload, n, &result);

	FUZZ_CHECK(r == 0 || r == -EBADMSG);
	if (r == 0) {
		const struct span spans[] = {result.output, result.error, result.uniq_id,
					     result.metadata, result.slot_id};

		for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++)
			FUZZ_CHECK(fuzz_inside(spans[i], payload, n));
		FUZZ_CHECK((unsigned)result.verdict < TR_N_VERDICTS);
		FUZZ_CHECK(result.n_more == 0);
		check_again(&result);
	}
	free(payload);
	return 0;
}
