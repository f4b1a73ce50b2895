/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "answer.h"
#include "cli.h"
#include "json.h"

static json_t *timing_json(const struct tr_timing *timing)
{
	static const char *const names[TR_N_PHASES] = {"queue_ns", "slot_wait_ns", "start_ns",
						       "run_ns", "reply_ns"};
	json_t *json = json_object();

	for (size_t i = 0; i < TR_N_PHASES; i++)
		json_object_set_new(json, names[i], json_integer((json_int_t)timing->ns[i]));
	return json;
}

/* The payload as it came; one made by the library itself (executor gone) has none: its parts. */
static json_t *result_json(const struct tr_result *result)
{
	const char *verdict = tr_verdict_name(result->verdict);
	json_t *json = json_from_packed(result->raw.data, result->raw.n);

	if (json_is_object(json) && json_object_size(json) > 0)
		return json;
	json_decref(json);
	return json_pack("{s:b s:s s:o s:o s:o s:o s:o}", "success", result->success, "verdict",
			 verdict ? verdict : "unknown", "output",
			 json_from_text(result->output.data, result->output.n), "error",
			 json_from_text(result->error.data, result->error.n), "uniq_id",
			 json_from_text(result->uniq_id.data, result->uniq_id.n), "metadata",
			 json_from_packed(result->metadata.data, result->metadata.n), "timing",
			 timing_json(&result->timing));
}

bool answer_write_stream(const struct tr_value *whole, const char *key, FILE *file)
{
	const struct tr_value *v = tr_value_get(whole, key);

	if (!v || (v->type != TR_STRING && v->type != TR_BINARY))
		v = tr_value_get(tr_value_get(whole, "metadata"), key);
	if (!v || (v->type != TR_STRING && v->type != TR_BINARY))
		return false;
	fwrite(v->type == TR_STRING ? v->u.string : v->u.binary, 1, v->n, file);
	fflush(file);
	return true;
}

/* What a command wrote, where the result has it: the text of its output says less, or nothing. */
static int print_raw(const struct tr_result *result)
{
	_cleanup_(cli_cleanup_value) struct tr_value *whole = NULL;

	tr_value_parse(result->raw.data, result->raw.n, &whole);
	if (!answer_write_stream(whole, "stdout", stdout))
		fwrite(result->output.data, 1, result->output.n, stdout);
	fflush(stdout);
	answer_write_stream(whole, "stderr", stderr);
	if (result->error.n > 0) {
		fwrite(result->error.data, 1, result->error.n, stderr);
		if (result->error.data[result->error.n - 1] != '\n')
			fputc('\n', stderr);
	}
	return ferror(stdout) ? -EIO : 0;
}

int answer_print(const struct tr_result *result, enum answer_form form)
{
	json_t *json;
	int r;

	if (form == ANSWER_RAW)
		return print_raw(result);
	json = result_json(result);
	if (!json)
		return -ENOMEM;
	r = json_dumpf(json, stdout, form == ANSWER_LINE ? JSON_COMPACT : JSON_INDENT(2));
	json_decref(json);
	fputc('\n', stdout);
	fflush(stdout);
	return r < 0 || ferror(stdout) ? -EIO : 0;
}
