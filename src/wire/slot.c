/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/slot.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "base/write.h"
#include "wire/slot_sound.h"

#define N_PARTS_MAX    8
#define SEALS_REQUIRED (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

_Static_assert(SLOT_N_REQUEST_PARTS <= N_PARTS_MAX, "parts of a request");
_Static_assert(SLOT_N_REPLY_PARTS <= N_PARTS_MAX, "parts of a reply");
_Static_assert(sizeof(struct slot_request) <= SLOT_MESSAGE_MAX - SLOT_INLINE_MAX, "request");
_Static_assert(sizeof(struct slot_reply) <= SLOT_MESSAGE_MAX - SLOT_INLINE_MAX, "reply");

/* One descriptor; the padding of it holds a second one, which is looked at as well. */
union control {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int))];
};

/* ---- sending ----------------------------------------------------------------------------------- */

/* One message: io[0] is the header. */
static int send_message(int socket, struct iovec *io, size_t n_io, int fd, int flags)
{
	struct msghdr m = {.msg_iov = io, .msg_iovlen = n_io};
	union control c;
	ssize_t r;

	if (fd >= 0) {
		memset(&c, 0, sizeof(c));
		m.msg_control = &c;
		m.msg_controllen = sizeof(c);
		c.header.cmsg_level = SOL_SOCKET;
		c.header.cmsg_type = SCM_RIGHTS;
		c.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&c.header), &fd, sizeof(int));
	}
	do {
		r = sendmsg(socket, &m, flags | MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int write_parts(int fd, const struct span *parts, size_t n_parts)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n_parts; i++)
		r = write_all(fd, parts[i]);
	return r;
}

/* The parts in a file of memory that can never change again. Returns its descriptor or -errno. */
static int seal_parts(const struct span *parts, size_t n_parts)
{
	_cleanup_(cleanup_close) int fd =
		memfd_create("toolring-parts", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	r = write_parts(fd, parts, n_parts);
	if (r < 0)
		return r;
	if (fcntl(fd, F_ADD_SEALS, SEALS_REQUIRED | F_SEAL_SEAL) < 0)
		return -errno;
	return fd_steal(&fd);
}

/* n and flags: the header's own fields, filled in here. */
static int send_parts(int socket, void *header, size_t n_header, const struct span *parts,
		      size_t n_parts, uint64_t *n, uint32_t *flags_field, int flags)
{
	_cleanup_(cleanup_close) int fd = -1;
	struct iovec io[1 + N_PARTS_MAX] = {{.iov_base = header, .iov_len = n_header}};
	size_t n_io = 1, total = 0;

	for (size_t i = 0; i < n_parts; i++) {
		n[i] = parts[i].n;
		if (parts[i].n > SLOT_FILE_MAX - total)
			return -EMSGSIZE;
		total += parts[i].n;
		if (parts[i].n)
			io[n_io++] = (struct iovec){.iov_base = (void *)parts[i].data,
						    .iov_len = parts[i].n};
	}
	*flags_field &= ~(uint32_t)SLOT_IN_FILE;
	if (total > SLOT_INLINE_MAX) {
		fd = seal_parts(parts, n_parts);
		if (fd < 0)
			return fd;
		*flags_field |= SLOT_IN_FILE;
		n_io = 1;
	}
	return send_message(socket, io, n_io, fd, flags);
}

int slot_request_send(int socket, struct slot_request *header,
		      const struct span parts[SLOT_N_REQUEST_PARTS], int flags)
{
	header->magic = SLOT_MAGIC;
	return send_parts(socket, header, sizeof(*header), parts, SLOT_N_REQUEST_PARTS, header->n,
			  &header->flags, flags);
}

int slot_reply_send(int socket, struct slot_reply *header,
		    const struct span parts[SLOT_N_REPLY_PARTS], int flags)
{
	header->magic = SLOT_MAGIC;
	return send_parts(socket, header, sizeof(*header), parts, SLOT_N_REPLY_PARTS, header->n,
			  &header->flags, flags);
}

int slot_reply_send_file(int socket, struct slot_reply *header, int file, int flags)
{
	struct iovec io = {.iov_base = header, .iov_len = sizeof(*header)};
	struct stat st;

	if (fcntl(file, F_ADD_SEALS, SEALS_REQUIRED | F_SEAL_SEAL) < 0 || fstat(file, &st) < 0)
		return -errno;
	if (st.st_size > (off_t)SLOT_FILE_MAX)
		return -EMSGSIZE;
	header->magic = SLOT_MAGIC;
	header->flags |= SLOT_IN_FILE;
	memset(header->n, 0, sizeof(header->n));
	header->n[SLOT_OUTPUT] = (uint64_t)st.st_size;
	return send_message(socket, &io, 1, file, flags);
}

/* ---- receiving --------------------------------------------------------------------------------- */

/* The one descriptor, or -1 if there is none. -EBADMSG: several; all are closed then. */
static int take_fd(struct msghdr *m, int *ret_fd)
{
	size_t n = 0;
	int fd = -1;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		size_t n_here;

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		n_here = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n_here; i++, n++) {
			fd_close(&fd);
			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
		}
	}
	if (n > 1) {
		fd_close(&fd);
		return -EBADMSG;
	}
	*ret_fd = fd;
	return 0;
}

/* Bytes received, at least n_header; 0: the other side is gone (or says nothing, which is the same). */
static ssize_t receive_message(int socket, void *buffer, size_t n_header, int *ret_fd, int flags)
{
	struct iovec io = {.iov_base = buffer, .iov_len = SLOT_MESSAGE_MAX};
	union control c;
	struct msghdr m = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = &c,
		.msg_controllen = sizeof(c),
	};
	int fd = -1;
	ssize_t n;
	int r;

	do {
		n = recvmsg(socket, &m, flags | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	r = take_fd(&m, &fd);
	if (r == 0 && n > 0 && ((size_t)n < n_header || (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))))
		r = -EBADMSG;
	if (r < 0 || n == 0) {
		fd_close(&fd);
		return r;
	}
	*ret_fd = fd;
	return n;
}

/*
 * Maps a file of exactly n bytes whose pages are all there and will stay as they are, so that no
 * access to them can fault or cost memory of ours: memory file system, sealed, without a hole.
 */
static int map_file(int fd, size_t n, struct slot_message *ret_m)
{
	struct statfs fs;
	struct stat st;
	int seals;
	void *map;

	if (n == 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != (off_t)n)
		return -EBADMSG;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & SEALS_REQUIRED) != SEALS_REQUIRED)
		return -EBADMSG;
	if (fstatfs(fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC)
		return -EBADMSG;
	if (lseek(fd, 0, SEEK_HOLE) != (off_t)n)
		return -EBADMSG;
	map = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	*ret_m = (struct slot_message){.map = map, .n_map = n};
	return 0;
}

/* rest: what stood behind the header. */
static int find_parts(struct span rest, int fd, bool in_file, const uint64_t *n, size_t n_parts,
		      struct span *ret_parts, struct slot_message *ret_m)
{
	struct slot_message m = {.map = NULL};
	const uint8_t *at = rest.data;
	uint64_t total = 0;
	int r;

	for (size_t i = 0; i < n_parts; i++) {
		if (n[i] > SLOT_FILE_MAX - total)
			return -EBADMSG;
		total += n[i];
	}
	if (in_file != (fd >= 0) || rest.n != (in_file ? 0 : total))
		return -EBADMSG;
	if (in_file) {
		r = map_file(fd, (size_t)total, &m);
		if (r < 0)
			return r;
		at = m.map;
	}
	for (size_t i = 0; i < n_parts; i++) {
		ret_parts[i] = span_of(at, (size_t)n[i]);
		at += n[i];
	}
	*ret_m = m;
	return 0;
}

int slot_request_receive(int socket, void *buffer, struct slot_request *ret_header,
			 struct span parts[SLOT_N_REQUEST_PARTS], struct slot_message *m, int flags)
{
	_cleanup_(cleanup_close) int fd = -1;
	struct slot_request header;
	ssize_t n = receive_message(socket, buffer, sizeof(header), &fd, flags);
	struct span rest;
	int r;

	if (n <= 0)
		return (int)n;
	memcpy(&header, buffer, sizeof(header));
	if (!slot_request_is_sound(&header))
		return -EBADMSG;
	rest = span_of((const uint8_t *)buffer + sizeof(header), (size_t)n - sizeof(header));
	r = find_parts(rest, fd, header.flags & SLOT_IN_FILE, header.n, SLOT_N_REQUEST_PARTS, parts,
		       m);
	if (r < 0)
		return r;
	if (!slot_request_parts_are_sound(parts)) {
		slot_message_done(m);
		return -EBADMSG;
	}
	*ret_header = header;
	return 1;
}

int slot_reply_receive(int socket, void *buffer, struct slot_reply *ret_header,
		       struct span parts[SLOT_N_REPLY_PARTS], struct slot_message *m, int flags)
{
	_cleanup_(cleanup_close) int fd = -1;
	struct slot_reply header;
	ssize_t n = receive_message(socket, buffer, sizeof(header), &fd, flags);
	struct span rest;
	int r;

	if (n <= 0)
		return (int)n;
	memcpy(&header, buffer, sizeof(header));
	if (!slot_reply_is_sound(&header))
		return -EBADMSG;
	rest = span_of((const uint8_t *)buffer + sizeof(header), (size_t)n - sizeof(header));
	r = find_parts(rest, fd, header.flags & SLOT_IN_FILE, header.n, SLOT_N_REPLY_PARTS, parts,
		       m);
	if (r < 0)
		return r;
	if (!slot_reply_parts_are_sound(&header, parts)) {
		slot_message_done(m);
		return -EBADMSG;
	}
	*ret_header = header;
	return 1;
}

void slot_message_done(struct slot_message *m)
{
	if (m->map)
		munmap(m->map, m->n_map);
	*m = (struct slot_message){.map = NULL};
}
