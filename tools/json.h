/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_JSON_H
#define TOOLS_JSON_H

/*
 * JSON to and from what msgpack can say. Bytes that are no text are written as
 * {"$base64": "..."}, and that form is read back as bytes.
 */

#include <jansson.h>

#include <toolring/toolring.h>

/*
 * Converts text. The tree borrows from *ret_json: free the value first (json_value_deinit), then
 * json_decref. On failure nothing is to be freed and error, of n bytes, says why.
 */
int json_value_parse(const char *text, json_t **ret_json, struct tr_value *ret_value, char *error,
		     size_t n);
void json_value_deinit(struct tr_value *value);

/* NULL: no memory. Text that is not UTF-8 gets U+FFFD for what is wrong; NaN becomes null. */
json_t *json_from_value(const struct tr_value *value);
json_t *json_from_text(const char *data, size_t n);
/* A packed map, as in tr_result.metadata; {} if it is empty, null if malformed. */
json_t *json_from_packed(const void *data, size_t n);

static inline void json_cleanup(json_t **json)
{
	json_decref(*json);
}

#endif
