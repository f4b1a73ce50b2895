/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLOT_DENTS_H
#define SLOT_DENTS_H

/* The names in a directory, read without memory of our own making. */

#include <dirent.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

struct dents {
	int fd;
	long n;
	long at;
	_Alignas(struct dirent64) char bytes[2048];
};

/* From position on. -errno. */
static inline int dents_open(struct dents *d, int fd, off_t position)
{
	d->fd = fd;
	d->n = 0;
	d->at = 0;
	return lseek(fd, position, SEEK_SET) < 0 ? -errno : 0;
}

/* 1: *ret_name, good until the next call; 0: no more; -errno. */
static inline int dents_next(struct dents *d, const char **ret_name)
{
	const struct dirent64 *entry;

	if (d->at >= d->n) {
		d->n = syscall(SYS_getdents64, d->fd, d->bytes, sizeof(d->bytes));
		d->at = 0;
		if (d->n <= 0)
			return d->n < 0 ? -errno : 0;
	}
	entry = (const struct dirent64 *)(const void *)(d->bytes + d->at);
	d->at += entry->d_reclen;
	*ret_name = entry->d_name;
	return 1;
}

#endif
