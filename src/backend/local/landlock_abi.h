/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_LOCAL_LANDLOCK_ABI_H
#define BACKEND_LOCAL_LANDLOCK_ABI_H

/*
 * Landlock's system calls as of its ABI 7, by hand: the headers that are installed are often older
 * than the kernel. A kernel takes a shorter struct than its own, and a longer one whose end is 0.
 */

#include <stdint.h>

#define LL_EXECUTE     (UINT64_C(1) << 0)
#define LL_WRITE_FILE  (UINT64_C(1) << 1)
#define LL_READ_FILE   (UINT64_C(1) << 2)
#define LL_READ_DIR    (UINT64_C(1) << 3)
#define LL_REMOVE_DIR  (UINT64_C(1) << 4)
#define LL_REMOVE_FILE (UINT64_C(1) << 5)
#define LL_MAKE_CHAR   (UINT64_C(1) << 6)
#define LL_MAKE_DIR    (UINT64_C(1) << 7)
#define LL_MAKE_REG    (UINT64_C(1) << 8)
#define LL_MAKE_SOCK   (UINT64_C(1) << 9)
#define LL_MAKE_FIFO   (UINT64_C(1) << 10)
#define LL_MAKE_BLOCK  (UINT64_C(1) << 11)
#define LL_MAKE_SYM    (UINT64_C(1) << 12)
#define LL_REFER       (UINT64_C(1) << 13) /* ABI 2 */
#define LL_TRUNCATE    (UINT64_C(1) << 14) /* ABI 3 */
#define LL_IOCTL_DEV   (UINT64_C(1) << 15) /* ABI 5 */
#define LL_ALL         ((UINT64_C(1) << 16) - 1)

#define LL_SCOPE_ABSTRACT_UNIX_SOCKET (UINT64_C(1) << 0) /* ABI 6 */
#define LL_SCOPE_SIGNAL               (UINT64_C(1) << 1) /* ABI 6 */

#define LL_RULE_PATH_BENEATH 1

struct ll_ruleset_attr {
	uint64_t handled_access_fs;
	uint64_t handled_access_net; /* ABI 4 */
	uint64_t scoped;             /* ABI 6 */
};

struct ll_path_beneath_attr {
	uint64_t allowed_access;
	int32_t parent_fd;
} __attribute__((packed));

#endif
