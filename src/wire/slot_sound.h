/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_SLOT_SOUND_H
#define WIRE_SLOT_SOUND_H

/* What a message between the executor and a slot may say; slot.c asks for each that came in. */

#include "wire/slot.h"

bool slot_request_is_sound(const struct slot_request *q);
bool slot_request_parts_are_sound(const struct span parts[SLOT_N_REQUEST_PARTS]);
bool slot_reply_is_sound(const struct slot_reply *p);
bool slot_reply_parts_are_sound(const struct slot_reply *p,
				const struct span parts[SLOT_N_REPLY_PARTS]);

#endif
