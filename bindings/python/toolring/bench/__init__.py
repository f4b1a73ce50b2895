# SPDX-License-Identifier: Apache-2.0
"""
python -m toolring.bench: speed and memory of this binding, each against what it is to be compared
with in the same run, in the form of `toolring bench`.

__main__ is the command line. It runs each part of the table in _parts in a process of its own
(_part), so that none finds memory that another has left, prints what they report and judges it.
_ping, _files, _waiting, _leak, _leak_sync and _subprocess are the parts; _bench, _report, _machine,
_turns and _ledger are their tools.
"""
