#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Lets libFuzzer look for faults for some seconds, from the target's seeds and the corpus given.
#
#   fuzz.sh REPLAY FUZZER SECONDS [CORPUS]
#
# A fault is printed with its input in base64; keep that under tests/fuzz/corpus, beside the fix.
set -eu

replay=$1
fuzzer=$2
seconds=$3
shift 3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$work/new"
"$replay" --write "$work/new"
"$fuzzer" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 \
	-artifact_prefix="$work/" "$work/new" "$@"
