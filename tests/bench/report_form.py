# SPDX-License-Identifier: Apache-2.0
"""The form of what a bench prints as JSON, whatever it measures."""

ROW_KEYS = {"name", "value", "unit", "baseline", "baseline_value", "ratio", "target", "met"}


def is_number(v):
    return isinstance(v, (int, float)) and not isinstance(v, bool)


def check_form(report, bench):
    """One object, exactly the keys of the issue; null exactly where there is no baseline or target."""
    assert set(report) == {"bench", "machine", "rows"}, report
    assert report["bench"] == bench
    machine = report["machine"]
    assert machine["cpu"] and machine["cores"] >= 1 and machine["kernel"]
    for row in report["rows"]:
        assert set(row) == ROW_KEYS, row
        assert is_number(row["value"]), row
        assert row["unit"] in ("ns", "bytes", "per_second", "count"), row
        if row["baseline"] is None:
            assert row["baseline_value"] is None and row["ratio"] is None, row
        elif row["baseline_value"] is None:
            # it could not be had: nothing is judged
            assert row["ratio"] is None and row["target"] is None, row
        else:
            assert is_number(row["baseline_value"]) and is_number(row["ratio"]), row
        if row["target"] is None:
            assert row["met"] is None, row
        else:
            sign, limit = row["target"].split()
            assert sign in ("<", "<=", ">="), row
            judged = row["value"] if row["baseline"] is None else row["ratio"]
            # met says what the target and the numbers say (shown rounded, so not at the edge)
            if abs(judged - float(limit)) > 0.01 * abs(float(limit)):
                expected = judged >= float(limit) if sign == ">=" else judged <= float(limit)
                assert row["met"] == expected, row
