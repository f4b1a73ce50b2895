/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/slot/artifact_say.h"

#include <errno.h>
#include <string.h>

#include "base/decimal.h"
#include "base/utf8.h"
#include "tool/slot/cause.h"
#include "tool/slot/text.h"

#define ROOM_KEPT 256 /* of the error, for what stands behind a long path */

static void add(struct artifact_result *ret, struct span text, size_t n_max)
{
	size_t at = strlen(ret->error), n = 0, step;

	while (n < text.n) {
		step = utf8_character(text.data + n, text.n - n);
		if (step == 0 || at + n + step >= n_max)
			break;
		n += step;
	}
	memcpy(ret->error + at, text.data, n);
	ret->error[at + n] = 0;
}

static void add_path(struct artifact_result *ret, struct span path)
{
	uint8_t bytes[TEXT_BYTES_MAX(PATH_MAX)];
	struct buf text = {.data = bytes, .size = sizeof(bytes), .n_max = sizeof(bytes)};

	if (path.n >= PATH_MAX || text_decode(&text, path) < 0) {
		artifact_say_more(ret, "(the path)");
		return;
	}
	add(ret, span_of(text.data, text.n), sizeof(ret->error) - ROOM_KEPT);
}

void artifact_say(struct artifact_result *ret, enum tr_verdict verdict, const char *text,
		  struct span path)
{
	memset(ret, 0, sizeof(*ret));
	ret->verdict = verdict;
	artifact_say_more(ret, text);
	if (path.n)
		add_path(ret, path);
}

void artifact_say_more(struct artifact_result *ret, const char *text)
{
	add(ret, span_string(text), sizeof(ret->error));
}

void artifact_say_number(struct artifact_result *ret, uint64_t number)
{
	char text[24] = "";

	decimal_append(text, sizeof(text), number);
	artifact_say_more(ret, text);
}

int artifact_refuse(struct artifact_result *ret, int error, struct span path)
{
	const struct cause *cause;

	switch (-error) {
	case ENOENT:
		artifact_say(ret, TR_FAILED, "Not found: ", path);
		ret->flags = SLOT_NOT_FOUND;
		return 0;
	case EISDIR:
	case ENOTDIR:
		artifact_say(ret, TR_INVALID,
			     error == -EISDIR ? "Not a file: " : "Not a folder: ", path);
		ret->flags = SLOT_MISUSED;
		return 0;
	case EIO:
		artifact_say(ret, TR_FAILED, "Input/output error: ", path);
		return 0;
	default:
		break;
	}
	cause = cause_of(error);
	if (!cause)
		return error;
	artifact_say(ret, cause->verdict, cause->text,
		     cause->text[strlen(cause->text) - 1] == ' ' ? path : span_of(NULL, 0));
	if (error == -EACCES || error == -EPERM || error == -EROFS)
		ret->verdict = TR_DENIED;
	return 0;
}
