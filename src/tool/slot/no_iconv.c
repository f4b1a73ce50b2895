/* SPDX-License-Identifier: Apache-2.0 */

/*
 * For the static toolring-slot: no conversion of character sets. libarchive would convert names in pax
 * archives from UTF-8 to the locale's, which there is none of, and keeps the bytes where it cannot,
 * which is what we want. The C library's own iconv would read tables, and load objects, of whatever
 * system a room has for its root.
 */
#include <errno.h>
#include <iconv.h>

iconv_t iconv_open(const char *to, const char *from)
{
	(void)to;
	(void)from;
	errno = EINVAL;
	return (iconv_t)-1;
}

size_t iconv(iconv_t c, char **from, size_t *n_from, char **to, size_t *n_to)
{
	(void)c;
	(void)from;
	(void)n_from;
	(void)to;
	(void)n_to;
	errno = EBADF;
	return (size_t)-1;
}

int iconv_close(iconv_t c)
{
	(void)c;
	errno = EBADF;
	return -1;
}
