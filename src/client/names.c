/* SPDX-License-Identifier: Apache-2.0 */
#include <toolring/toolring.h>

#include "wire/call.h"
#include "wire/result.h"

const char *tr_verdict_name(enum tr_verdict verdict)
{
	return wire_verdict_name(verdict);
}

const char *tr_kind_name(enum tr_kind kind)
{
	return wire_kind_name(kind);
}

const char *tr_version(void)
{
	return TR_VERSION;
}
