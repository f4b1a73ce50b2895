/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/slot/cause.h"

#include <errno.h>
#include <stddef.h>

static const struct cause causes[] = {
	{EXDEV, TR_DENIED, "Access denied: path outside workspace"},
	{EINVAL, TR_INVALID, "Invalid path: it has a NUL byte"},
	{ENOENT, TR_FAILED, "File not found: "},
	{ENOTDIR, TR_FAILED, "Not a directory: "},
	{EISDIR, TR_FAILED, "Not a file: "},
	{EACCES, TR_FAILED, "Permission denied: "},
	{EPERM, TR_FAILED, "Permission denied: "},
	{EROFS, TR_FAILED, "Read-only file system: "},
	{ELOOP, TR_FAILED, "Too many levels of symbolic links: "},
	{EAGAIN, TR_FAILED, "File is busy: "},
	{ETXTBSY, TR_FAILED, "File is busy: "},
	{ENAMETOOLONG, TR_INVALID, "File name too long: "},
	{EMLINK, TR_LIMIT, "Too many files in a folder: "},
	{ENOSPC, TR_LIMIT, "No space left on device: "},
	{EDQUOT, TR_LIMIT, "No space left on device: "},
	{ENOMEM, TR_LIMIT, "No memory left for file: "},
	{EFBIG, TR_LIMIT, "File larger than allowed: "},
};

const struct cause *cause_of(int error)
{
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
		if (causes[i].error == -error)
			return &causes[i];
	return NULL;
}
