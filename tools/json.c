/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static char *base64_encode(const uint8_t *data, size_t n)
{
	char *text = malloc((n + 2) / 3 * 4 + 1);
	char *out = text;

	if (!text)
		return NULL;
	for (size_t i = 0; i < n; i += 3) {
		uint32_t bits = (uint32_t)data[i] << 16;

		if (i + 1 < n)
			bits |= (uint32_t)data[i + 1] << 8;
		if (i + 2 < n)
			bits |= data[i + 2];
		*out++ = base64_digits[bits >> 18];
		*out++ = base64_digits[bits >> 12 & 63];
		*out++ = i + 1 < n ? base64_digits[bits >> 6 & 63] : '=';
		*out++ = i + 2 < n ? base64_digits[bits & 63] : '=';
	}
	*out = 0;
	return text;
}

static int base64_decode(const char *text, uint8_t **ret_data, size_t *ret_n)
{
	size_t length = strlen(text);
	uint8_t *data = malloc(length / 4 * 3 + 1);
	size_t n = 0;

	if (!data)
		return -ENOMEM;
	if (length % 4)
		goto malformed;
	for (size_t i = 0; i < length; i += 4) {
		size_t n_digits = text[i + 3] != '=' ? 4 : text[i + 2] != '=' ? 3 : 2;
		uint32_t bits = 0;

		if (n_digits < 4 && i + 4 != length)
			goto malformed;
		for (size_t k = 0; k < 4; k++) {
			const char *digit =
				k < n_digits ? strchr(base64_digits, text[i + k]) : base64_digits;

			if (!digit || !*digit)
				goto malformed;
			bits = bits << 6 | (uint32_t)(digit - base64_digits);
		}
		for (size_t k = 0; k + 1 < n_digits; k++)
			data[n++] = (uint8_t)(bits >> (16 - 8 * k));
	}
	*ret_data = data;
	*ret_n = n;
	return 0;
malformed:
	free(data);
	return -EINVAL;
}

static int to_value(const json_t *json, struct tr_value *ret_value);

static int to_array(const json_t *json, struct tr_value *ret_value)
{
	size_t n = json_array_size(json);
	struct tr_value *items = calloc(n ? n : 1, sizeof(*items));
	int r = 0;

	if (!items)
		return -ENOMEM;
	*ret_value = tr_array(items, n);
	for (size_t i = 0; i < n && r == 0; i++)
		r = to_value(json_array_get(json, i), &items[i]);
	return r;
}

static int to_map(const json_t *json, struct tr_value *ret_value)
{
	size_t n = json_object_size(json);
	struct tr_member *members = calloc(n ? n : 1, sizeof(*members));
	json_t *object = (json_t *)(uintptr_t)json; /* the iterator's type, it changes nothing */
	const char *key;
	json_t *value;
	size_t i = 0;
	int r = 0;

	if (!members)
		return -ENOMEM;
	*ret_value = tr_map(members, n);
	json_object_foreach(object, key, value)
	{
		members[i].key = key;
		if (r == 0)
			r = to_value(value, &members[i].value);
		i++;
	}
	return r;
}

static int to_value(const json_t *json, struct tr_value *ret_value)
{
	const json_t *base64;

	switch (json_typeof(json)) {
	case JSON_OBJECT:
		base64 = json_object_get(json, "$base64");
		if (base64 && json_is_string(base64) && json_object_size(json) == 1) {
			uint8_t *data;
			size_t n;
			int r = base64_decode(json_string_value(base64), &data, &n);

			if (r == 0)
				*ret_value = tr_binary(data, n);
			return r;
		}
		return to_map(json, ret_value);
	case JSON_ARRAY:
		return to_array(json, ret_value);
	case JSON_STRING:
		*ret_value = tr_string_n(json_string_value(json), json_string_length(json));
		return 0;
	case JSON_INTEGER:
		*ret_value = tr_int(json_integer_value(json));
		return 0;
	case JSON_REAL:
		*ret_value = tr_float(json_real_value(json));
		return 0;
	case JSON_TRUE:
	case JSON_FALSE:
		*ret_value = tr_bool(json_is_true(json));
		return 0;
	case JSON_NULL:
	default:
		*ret_value = tr_string(NULL);
		return 0;
	}
}

int json_value_parse(const char *text, json_t **ret_json, struct tr_value *ret_value, char *error,
		     size_t n)
{
	json_error_t where;
	struct tr_value value = {0};
	json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &where);
	int r;

	if (!json) {
		snprintf(error, n, "not JSON: %s (line %d, column %d)", where.text, where.line,
			 where.column);
		return -EINVAL;
	}
	r = to_value(json, &value);
	if (r < 0) {
		snprintf(error, n, "%s",
			 r == -EINVAL ? "a $base64 that is no base64" : "out of memory");
		json_value_deinit(&value);
		json_decref(json);
		return r;
	}
	*ret_json = json;
	*ret_value = value;
	return 0;
}

/* Strings are the json_t's; binaries, arrays and maps are ours. */
void json_value_deinit(struct tr_value *value)
{
	if (value->type == TR_ARRAY) {
		struct tr_value *items = (struct tr_value *)(uintptr_t)value->u.items;

		for (size_t i = 0; i < value->n; i++)
			json_value_deinit(&items[i]);
		free(items);
	} else if (value->type == TR_MAP) {
		struct tr_member *members = (struct tr_member *)(uintptr_t)value->u.members;

		for (size_t i = 0; i < value->n; i++)
			json_value_deinit(&members[i].value);
		free(members);
	} else if (value->type == TR_BINARY) {
		free((void *)(uintptr_t)value->u.binary);
	}
	*value = (struct tr_value){0};
}

/* Length of the UTF-8 character at s, or 0 if there is none (overlong and surrogates included). */
static size_t utf8_length(const uint8_t *s, size_t n)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length = s[0] < 0x80                   ? 1
			: s[0] >= 0xf0 && s[0] < 0xf8 ? 4
			: s[0] >= 0xe0 && s[0] < 0xf0 ? 3
			: s[0] >= 0xc0 && s[0] < 0xe0 ? 2
						      : 0;
	uint32_t point;

	if (length <= 1 || length > n)
		return length > n ? 0 : length;
	point = s[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (s[i] & 0x3f);
	}
	if (point < smallest[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
		return 0;
	return length;
}

json_t *json_from_text(const char *data, size_t n)
{
	json_t *json = json_stringn(data ? data : "", n);
	char *fixed;
	size_t n_fixed = 0;

	if (json)
		return json;
	fixed = malloc(n * 3 + 1);
	if (!fixed)
		return NULL;
	for (size_t i = 0; i < n;) {
		size_t length = utf8_length((const uint8_t *)data + i, n - i);

		memcpy(fixed + n_fixed, length ? data + i : "\xef\xbf\xbd", length ? length : 3);
		n_fixed += length ? length : 3;
		i += length ? length : 1;
	}
	json = json_stringn(fixed, n_fixed);
	free(fixed);
	return json;
}

static json_t *from_binary(const struct tr_value *value)
{
	char *text = base64_encode(value->u.binary, value->n);
	json_t *json = text ? json_pack("{s:s}", "$base64", text) : NULL;

	free(text);
	return json;
}

static json_t *from_container(const struct tr_value *value)
{
	bool map = value->type == TR_MAP;
	json_t *json = map ? json_object() : json_array();
	int r = 0;

	for (size_t i = 0; json && r == 0 && i < value->n; i++) {
		json_t *item =
			json_from_value(map ? &value->u.members[i].value : &value->u.items[i]);

		if (!item)
			r = -1;
		else if (!map)
			r = json_array_append_new(json, item);
		else if (json_object_set_new(json, value->u.members[i].key, item) < 0)
			continue; /* a key that is no UTF-8 cannot stand in JSON: left out */
	}
	if (r < 0) {
		json_decref(json);
		return NULL;
	}
	return json;
}

json_t *json_from_value(const struct tr_value *value)
{
	switch (value->type) {
	case TR_BOOL:
		return json_boolean(value->u.boolean);
	case TR_INT:
		return json_integer(value->u.integer);
	case TR_UINT: /* jansson's integers are signed: the digits past the 53rd bit are lost */
		return json_real((double)value->u.natural);
	case TR_FLOAT:
		return isfinite(value->u.real) ? json_real(value->u.real) : json_null();
	case TR_STRING:
		return json_from_text(value->u.string, value->n);
	case TR_BINARY:
		return from_binary(value);
	case TR_ARRAY:
	case TR_MAP:
		return from_container(value);
	case TR_NIL:
	default:
		return json_null();
	}
}

json_t *json_from_packed(const void *data, size_t n)
{
	struct tr_value *value;
	json_t *json;

	if (n == 0)
		return json_object();
	if (tr_value_parse(data, n, &value) < 0)
		return json_null();
	json = json_from_value(value);
	tr_value_free(value);
	return json;
}
