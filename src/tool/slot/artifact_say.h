/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOL_SLOT_ARTIFACT_SAY_H
#define TOOL_SLOT_ARTIFACT_SAY_H

/* What an artifact's call says when it fails, in a struct artifact_result. */

#include "tool/slot/artifact.h"

/* Forgets what else was in *ret. path: of the guest, shown as text behind it; n 0: none. */
void artifact_say(struct artifact_result *ret, enum tr_verdict verdict, const char *text,
		  struct span path);
/* More of it. What does not fit is cut, at a character. */
void artifact_say_more(struct artifact_result *ret, const char *text);
void artifact_say_number(struct artifact_result *ret, uint64_t number);

/* Of -errno that something about path gave. Forwards what is nobody's fault. */
int artifact_refuse(struct artifact_result *ret, int error, struct span path);

#endif
