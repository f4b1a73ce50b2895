/* SPDX-License-Identifier: Apache-2.0 */

#include <stdbool.h>
#include <stdint.h>

#include <linux/elf.h>
#include <linux/errno.h>
#include <linux/mman.h>
#include <linux/prctl.h>

#include "slot/zygote_image.h"
#include "slot/zygote_kernel.h"

void *memcpy(void *to, const void *from, size_t n)
{
	unsigned char *t = to;
	const unsigned char *f = from;

#if defined(__x86_64__)
	__asm__ volatile("rep movsb" : "+D"(t), "+S"(f), "+c"(n) : : "memory");
#endif
	for (size_t i = 0; i < n; i++) {
		t[i] = f[i];
		__asm__ volatile("" ::: "memory"); /* else the loop becomes a call of itself */
	}
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	unsigned char *t = to;

	for (size_t i = 0; i < n; i++) {
		t[i] = (unsigned char)byte;
		__asm__ volatile("" ::: "memory");
	}
	return to;
}

/* Settled once, before the first fork. */
static struct {
	uintptr_t page; /* bytes of one */
	bool has_mm;    /* mm may be given to PR_SET_MM_MAP */
	struct prctl_mm_map mm;
} image = {.page = 4096};

/* Linker's: the object's first byte. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static void replace_by_copy(uintptr_t from, size_t n, int protection)
{
	long copy = call6(__NR_mmap, 0, (long)n, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (copy < 0 && copy > -4096)
		return;
	memcpy((void *)copy, (const void *)from, n);
	/* The move puts the same bytes where they were, the code that is running among them. */
	if (call3(__NR_mprotect, copy, (long)n, protection) < 0 ||
	    call6(__NR_mremap, copy, (long)n, (long)n, MREMAP_MAYMOVE | MREMAP_FIXED, (long)from,
		  0) < 0)
		call3(__NR_munmap, copy, (long)n, 0);
}

void image_hide_object(void)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)__ehdr_start;
	const Elf64_Phdr *segment = (const Elf64_Phdr *)(__ehdr_start + header->e_phoff);
	unsigned n_segments = header->e_phnum;

	for (unsigned i = 0; i < n_segments; i++) {
		uintptr_t first = (uintptr_t)__ehdr_start + segment[i].p_vaddr;
		uintptr_t end = first + segment[i].p_memsz;
		uint32_t flags = segment[i].p_flags;

		if (segment[i].p_type != PT_LOAD)
			continue;
		first &= ~(image.page - 1);
		end = (end + image.page - 1) & ~(image.page - 1);
		replace_by_copy(first, end - first,
				(flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) |
					(flags & PF_X ? PROT_EXEC : 0));
	}
}

/* Takes the segments of the program at header, as the kernel does when it loads one. */
static void mm_from_program(struct prctl_mm_map *mm, uintptr_t headers, size_t n_headers)
{
	const Elf64_Phdr *segment = (const Elf64_Phdr *)headers;
	uintptr_t bias = 0;

	for (size_t i = 0; i < n_headers; i++)
		if (segment[i].p_type == PT_PHDR)
			bias = headers - segment[i].p_vaddr;
	mm->start_code = UINT64_MAX;
	for (size_t i = 0; i < n_headers; i++) {
		uint64_t first = bias + segment[i].p_vaddr;
		uint64_t end = first + segment[i].p_filesz;

		if (segment[i].p_type != PT_LOAD)
			continue;
		if ((segment[i].p_flags & PF_X) && first < mm->start_code)
			mm->start_code = first;
		if ((segment[i].p_flags & PF_X) && end > mm->end_code)
			mm->end_code = end;
		if (first > mm->start_data)
			mm->start_data = first;
		if (end > mm->end_data)
			mm->end_data = end;
		if (first + segment[i].p_memsz > mm->start_brk)
			mm->start_brk = first + segment[i].p_memsz;
	}
}

/*
 * The kernel shows as a process's command line what lies between two addresses it was given at exec.
 * Here its record is rebuilt from what it left on the stack, /proc not being at hand (the zygote is no
 * member of the room's pid namespace), and the zygote's own line is wiped.
 */
void image_take_arguments(char **env)
{
	static const struct prctl_mm_map none;
	uintptr_t *word = (uintptr_t *)env;
	uintptr_t headers = 0;
	size_t n_headers = 0;
	size_t n_env = 0;
	uint32_t size = 0;
	char *end;

	while (env[n_env])
		n_env++;
	for (uintptr_t *aux = word + n_env + 1; aux[0] != 0; aux += 2) {
		if (aux[0] == 3) /* AT_PHDR */
			headers = aux[1];
		if (aux[0] == 5) /* AT_PHNUM */
			n_headers = aux[1];
		if (aux[0] == 6) /* AT_PAGESZ */
			image.page = aux[1];
	}
	/* Downwards from envp: NULL, argv from its last to its first, argc. */
	word -= 2;
	while (*word > 65536)
		word--;
	char *arg = (char *)word[1];

	end = (char *)word[*word];
	while (*end)
		end++;
	/* argv[0] stays: the C library says it in front of errors of its own. */
	for (char *at = *word > 1 ? (char *)word[2] : end; at < end; at++)
		*at = 0;
	image.mm = none;
	if (!headers || n_env == 0)
		return;
	mm_from_program(&image.mm, headers, n_headers);
	image.mm.brk = (uint64_t)call3(__NR_brk, 0, 0, 0);
	image.mm.start_stack = (uint64_t)(uintptr_t)word;
	image.mm.arg_start = (uint64_t)(uintptr_t)arg;
	image.mm.arg_end = (uint64_t)(uintptr_t)end + 1;
	image.mm.env_start = (uint64_t)(uintptr_t)env[0];
	for (end = env[n_env - 1]; *end; end++)
		;
	image.mm.env_end = (uint64_t)(uintptr_t)end + 1;
	image.mm.exe_fd = UINT32_MAX;
	image.has_mm =
		call6(__NR_prctl, PR_SET_MM, PR_SET_MM_MAP_SIZE, (long)&size, 0, 0, 0) == 0 &&
		size == sizeof(image.mm);
}

/* Where the kernel cannot be told another place, as much as there is room for. */
void image_show_arguments(char *arguments, size_t n)
{
	char *old = (char *)(uintptr_t)image.mm.arg_start;
	size_t n_old = (size_t)(image.mm.arg_end - image.mm.arg_start);

	if (image.has_mm) {
		image.mm.arg_start = (uint64_t)(uintptr_t)arguments;
		image.mm.arg_end = image.mm.arg_start + n;
		image.mm.brk = (uint64_t)call3(__NR_brk, 0, 0, 0);
		if (call6(__NR_prctl, PR_SET_MM, PR_SET_MM_MAP, (long)&image.mm, sizeof(image.mm),
			  0, 0) == 0)
			return;
	}
	if (n_old > 0)
		memcpy(old, arguments, n < n_old ? n : n_old - 1);
}
