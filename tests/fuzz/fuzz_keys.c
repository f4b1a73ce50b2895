/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a key's name, in any mode, and as a pattern to wait for. Shows: a key is one of a few
 * short sequences or the name itself, unchanged; a pattern is refused with a reason, or looked for.
 *
 * An input is a byte of modes and the name.
 */

#include "fuzz.h"
#include "tool/slot/terminal.h"

#define SEQUENCE_MAX 16

static void check_pattern(struct terminal *t, struct span text, bool is_regex)
{
	const char *error = NULL;
	struct terminal_pattern *p = terminal_pattern_new(text, is_regex, &error);
	int r;

	if (!p) {
		FUZZ_CHECK(is_regex && error && *error);
		return;
	}
	r = terminal_shows(t, p);
	FUZZ_CHECK(r == 0 || r == 1);
	terminal_pattern_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const modes[] = {"\033[?1h", "\033=", "\033[>4;1m",
					    "aab ab\xc3\xa9 b\r\n (x) 12 \xe4\xb8\x96"};
	struct terminal *t = terminal_new(TERMINAL_COLUMNS_MIN, TERMINAL_ROWS_MIN, 0);
	struct buf out, replies;
	uint8_t *copy;

	if (n < 1) {
		terminal_free(t);
		return 0;
	}
	FUZZ_CHECK(t);
	copy = fuzz_copy(data + 1, n - 1);
	buf_init(&replies, 64);
	buf_init(&out, n + SEQUENCE_MAX);
	for (unsigned i = 0; i < 4; i++)
		if (data[0] & 1u << i || i == 3)
			FUZZ_CHECK(terminal_feed(t, span_string(modes[i]), 0, &replies) == 0);
	FUZZ_CHECK(terminal_keys(t, span_of(copy, n - 1), &out) == 0);
	FUZZ_CHECK(out.n <= SEQUENCE_MAX ||
		   span_equal(span_of(out.data, out.n), span_of(copy, n - 1)));
	check_pattern(t, span_of(copy, n - 1), false);
	check_pattern(t, span_of(copy, n - 1), true);
	buf_deinit(&out);
	buf_deinit(&replies);
	terminal_free(t);
	free(copy);
	return 0;
}

static const char *const seeds[] = {
	"\x01"
	"Enter",
	"\x02"
	"C-M-x",
	"\x03"
	"S-Up",
	"\x04"
	"^[",
	"\x05"
	"M-\xc3\xa9",
	"\x06"
	"0x1F600",
	"\x07"
	"C-Space",
	"\x01"
	"F12",
	"\x02"
	"KPEnter",
	"\x03"
	"C-S-PageDown",
	"\x04"
	"hello world",
	"\x04"
	"^(a|b)*c{2,3}$",
	"\x01"
	"[[:alpha:]_][^0-9]+\\b",
	"\x01"
	"(a*)*|\\w+?\\s{1,}",
	"\x01"
	"((((x{9}){9})))",
	"\x01"
	"[]a-c-]|[\\d]",
};

size_t fuzz_seed(unsigned number, uint8_t *data, size_t size)
{
	size_t n;

	if (number >= sizeof(seeds) / sizeof(seeds[0]))
		return 0;
	n = strlen(seeds[number]);
	FUZZ_CHECK(n <= size);
	memcpy(data, seeds[number], n);
	return n;
}
