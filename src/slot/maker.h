/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLOT_MAKER_H
#define SLOT_MAKER_H

/* Makes slots until the keeper hangs up and the last slot is gone. Returns the exit code. */
int maker_main(int plan_fd, int pair);

#endif
