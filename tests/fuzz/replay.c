/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Runs a fuzz target without libFuzzer, the same way each time: its seeds, the files given, and
 * pseudo-random mutations of both. With --write DIR it only writes the seeds there.
 *
 *   replay [--mutations N] [--write DIR] [FILE or DIR ...]
 */

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "fuzz.h"

#define INPUT_MAX  (64 * 1024)
#define INPUTS_MAX 1024

struct input {
	uint8_t *data;
	size_t n;
};

static struct input inputs[INPUTS_MAX];
static size_t n_inputs;
static uint64_t random_state = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static size_t random_below(size_t n)
{
	return (size_t)(random_next() % n);
}

static void add(const uint8_t *data, size_t n)
{
	if (n_inputs == INPUTS_MAX)
		return;
	inputs[n_inputs++] = (struct input){.data = fuzz_copy(data, n), .n = n};
}

static void add_seeds(void)
{
	static uint8_t data[INPUT_MAX];
	size_t n;

	for (unsigned i = 0; (n = fuzz_seed(i, data, sizeof(data))) > 0; i++)
		add(data, n);
}

static int add_file(const char *path)
{
	static uint8_t data[INPUT_MAX];
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 1;
	}
	n = fread(data, 1, sizeof(data), f);
	fclose(f);
	add(data, n);
	return 0;
}

static int add_path(const char *path)
{
	struct dirent *entry;
	DIR *dir = opendir(path);
	int r = 0;

	if (!dir)
		return add_file(path);
	while ((entry = readdir(dir))) {
		char name[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		r |= add_file(name);
	}
	closedir(dir);
	return r;
}

/* What has been added by now. */
static int write_inputs(const char *dir)
{
	for (size_t i = 0; i < n_inputs; i++) {
		char name[4096];
		bool written;
		FILE *f;

		snprintf(name, sizeof(name), "%s/seed-%zu", dir, i);
		f = fopen(name, "wb");
		written = f && fwrite(inputs[i].data, 1, inputs[i].n, f) == inputs[i].n;
		if (!f || fclose(f) || !written) {
			fprintf(stderr, "%s: %s\n", name, strerror(errno));
			return 1;
		}
	}
	return 0;
}

/* A value that decides more often than chance would: msgpack's first bytes, limits, 0, -1. */
static uint8_t telling_byte(void)
{
	static const uint8_t bytes[] = {0x00, 0x01, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x91,
					0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4,
					0xc6, 0xc9, 0xca, 0xcb, 0xcf, 0xd3, 0xd9, 0xda,
					0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xfe, 0xff};

	return random_below(4) ? bytes[random_below(sizeof(bytes))] : (uint8_t)random_next();
}

/* Takes a piece of another input in at some place, or puts it over what is there. */
static size_t splice(uint8_t *data, size_t n)
{
	const struct input *other = &inputs[random_below(n_inputs)];
	size_t from, n_piece, at = random_below(n + 1);

	if (other->n == 0)
		return n;
	from = random_below(other->n);
	n_piece = 1 + random_below(other->n - from);
	if (random_below(2)) {
		if (n_piece > INPUT_MAX - n)
			return n;
		memmove(data + at + n_piece, data + at, n - at);
		memcpy(data + at, other->data + from, n_piece);
		return n + n_piece;
	}
	if (n_piece > n - at)
		n_piece = n - at;
	memcpy(data + at, other->data + from, n_piece);
	return n;
}

static size_t mutate_once(uint8_t *data, size_t n)
{
	size_t at = random_below(n + 1), n_cut;

	switch (random_below(6)) {
	case 0:
		if (at < n)
			data[at] ^= (uint8_t)(1u << random_below(8));
		return n;
	case 1:
	case 2:
		if (at < n)
			data[at] = telling_byte();
		return n;
	case 3:
		if (n == INPUT_MAX)
			return n;
		memmove(data + at + 1, data + at, n - at);
		data[at] = telling_byte();
		return n + 1;
	case 4:
		if (at == n)
			return n;
		n_cut = random_below(4) ? 1 : 1 + random_below(n - at);
		memmove(data + at, data + at + n_cut, n - at - n_cut);
		return n - n_cut;
	default:
		return splice(data, n);
	}
}

static void run(const uint8_t *data, size_t n)
{
	uint8_t *copy = fuzz_copy(data, n);

	LLVMFuzzerTestOneInput(copy, n);
	free(copy);
}

static void run_mutations(unsigned long n_mutations)
{
	static uint8_t data[INPUT_MAX];

	for (unsigned long i = 0; i < n_mutations; i++) {
		const struct input *from = &inputs[random_below(n_inputs)];
		size_t n = from->n;

		memcpy(data, from->data, n);
		for (size_t k = 1 + random_below(6); k; k--)
			n = mutate_once(data, n);
		run(data, n);
	}
}

int main(int argc, char **argv)
{
	unsigned long n_mutations = 0;
	int r = 0;

	add_seeds();
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--mutations") == 0 && i + 1 < argc) {
			n_mutations = strtoul(argv[++i], NULL, 10);
		} else if (strcmp(argv[i], "--write") == 0 && i + 1 < argc) {
			return write_inputs(argv[++i]);
		} else {
			r |= add_path(argv[i]);
		}
	}
	for (size_t i = 0; i < n_inputs; i++)
		run(inputs[i].data, inputs[i].n);
	if (n_inputs)
		run_mutations(n_mutations);
	printf("%zu inputs and %lu mutations of them\n", n_inputs, n_mutations);
	for (size_t i = 0; i < n_inputs; i++)
		free(inputs[i].data);
	return r;
}
