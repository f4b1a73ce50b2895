# SPDX-License-Identifier: Apache-2.0
"""
Values on their way out and back: what Python can say in msgpack comes back equal, what it cannot is
refused by the name of where it stands, and what comes from the other side is read right or refused,
whatever it is, as PyPI's msgpack reads it.
"""

from __future__ import annotations

import array
import collections
import contextlib
import ctypes
import decimal
import enum
import math
import mmap
import random
import resource
import struct
import sys
import sysconfig
import tracemalloc
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

import toolring
import toolring.sync
from private import cannot
from toolring import _native  # noqa: F401  (which tells the extension its classes)
from toolring import _toolring

try:
    import msgpack  # type: ignore[import-untyped]
except ImportError:
    msgpack = None

_pack: Callable[[Any], bytes] = getattr(_toolring, "_pack")
_unpack: Callable[[Any], Any] = getattr(_toolring, "_unpack")

DEPTH_MAX = 64
# The call, its tool and the tool's arguments are maps around a value in there.
DEPTH_SENT_MAX = DEPTH_MAX - 3
MANY = 100_000


@pytest.fixture(scope="module")
def echo(fake: toolring.Daemon) -> Iterator[toolring.sync.Trajectory]:
    with toolring.sync.connect(fake.name) as client, client.trajectory() as t:
        yield t


def sent(echo: toolring.sync.Trajectory, value: Any) -> Any:
    """What a value is after it went out through the rings and came back."""
    return echo.call("bash", {"value": value}).metadata["arguments"]["value"]


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types all through, and nan is itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


def nested(n: int, wrap: Callable[[], Any] = list) -> Any:
    value: Any = 1
    for _ in range(n):
        value = {"k": value} if wrap is dict else [value]
    return value


# ---- there and back ------------------------------------------------------------------------------

EDGES = sorted({sign * (2**bits + step) for bits in (0, 5, 7, 8, 15, 16, 31, 32, 53, 63)
                for step in (-1, 0, 1) for sign in (-1, 1)} & set(range(-33, 34)) |
               {n for bits in (7, 8, 15, 16, 31, 32, 53, 62) for step in (-1, 0, 1)
                for n in (2**bits + step, -(2**bits) + step)} |
               {-2**63, -2**63 + 1, 2**63 - 1, 2**63, 2**64 - 1})
FLOATS = (0.0, -0.0, 0.1, 1e308, -1e308, sys.float_info.min, 5e-324, sys.float_info.max, math.inf,
          -math.inf, math.nan)
SIZES = (0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536)


def test_plain_values_come_back(echo: toolring.sync.Trajectory) -> None:
    for value in (None, True, False, *EDGES, *FLOATS):
        assert same(sent(echo, value), value), value


def test_texts_and_bytes_of_each_size_come_back(echo: toolring.sync.Trajectory) -> None:
    for n in (*SIZES, 3_000_000):
        for value in ("a" * n, "\u00e9" * (n // 2), b"\xff" * n):
            assert same(sent(echo, value), value), n
    for text in ("\0", "\u20ac\U0001f600\U0010ffff", "\ud7ff\ue000", "\ufeff", "a\r\n\u2028"):
        assert same(sent(echo, text), text)
    assert same(sent(echo, bytes(range(256))), bytes(range(256)))


def test_containers_of_each_size_come_back(echo: toolring.sync.Trajectory) -> None:
    for n in SIZES:
        for value in (list(range(n)), {str(i): i for i in range(n)}):
            assert same(_unpack(_pack(value)), value), n
            if n <= 256:
                assert same(sent(echo, value), value), n
    with pytest.raises(toolring.InvalidCall, match="too many objects"):
        sent(echo, [None] * 1_000_000)
    mixed = {"": [[], {}, [[]], {"a": {}}], "k\0": {"\u20ac": [None, True, 1.5, "x", b"y"]}}
    assert same(sent(echo, mixed), mixed)


class Shouting(str):
    def __str__(self) -> str:
        return "not this"


class Counted(int):
    pass


class Level(enum.IntEnum):
    HIGH = 3


class Named(str, enum.Enum):
    A = "a"


class Ordered(dict[str, Any]):
    pass


class Unhurried(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __init__(self, of: dict[str, Any]) -> None:
        self.of = of

    def __getitem__(self, key: str) -> Any:
        return self.of[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.of)

    def __len__(self) -> int:
        return len(self.of)


class Index:
    def __init__(self, n: int) -> None:
        self.n = n

    def __index__(self) -> int:
        return self.n


Point = collections.namedtuple("Point", "x y")


def buffers() -> Iterator[tuple[Any, bytes]]:
    yield bytearray(b"ab\0"), b"ab\0"
    yield memoryview(b"abcdef")[1:3], b"bc"
    yield memoryview(bytearray(16)).cast("B", (4, 4)), bytes(16)
    yield array.array("B", b"ab"), b"ab"
    yield array.array("b", [-1]), b"\xff"
    yield (ctypes.c_char * 3)(b"a", b"b", b"c"), b"abc"
    page = mmap.mmap(-1, mmap.PAGESIZE)
    yield page, bytes(mmap.PAGESIZE)


def test_what_is_like_one_of_these_is_sent_as_it(echo: toolring.sync.Trajectory) -> None:
    pairs: list[tuple[Any, Any]] = [
        ((1, (2, ())), [1, [2, []]]), (Point(1, "y"), [1, "y"]), (Counted(7), 7), (Level.HIGH, 3),
        (Shouting("this"), "this"), (Named.A, "a"), (Index(-5), -5), (Index(2**64 - 1), 2**64 - 1),
        (Ordered(a=1), {"a": 1}), (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (Unhurried({"a": (1,)}), {"a": [1]}), (types.MappingProxyType({"a": 1}), {"a": 1}),
        (collections.UserDict(a=1), {"a": 1}), (collections.ChainMap({"a": 1}, {"a": 2}), {"a": 1}),
        ({Shouting("k"): 1}, {"k": 1}), *buffers(),
        # As NumPy's bool is.
        (memoryview(b"\1").cast("?", ()), True), (memoryview(b"\0").cast("?", ()), False),
    ]
    for value, expected in pairs:
        assert same(sent(echo, value), expected), value
        assert same(_unpack(_pack(value)), expected), value


def test_arguments_themselves_may_be_any_mapping(echo: toolring.sync.Trajectory) -> None:
    for arguments in (Unhurried({"a": 1}), types.MappingProxyType({"a": 1}), Ordered(a=1)):
        assert echo.call("bash", arguments).metadata["arguments"] == {"a": 1}
    for wrong in (None, [], "text", 5, [("a", 1)]):
        if wrong is not None:  # which stands for none
            with pytest.raises(toolring.InvalidCall):
                echo.call("bash", wrong)  # type: ignore[arg-type]


def test_nesting_has_an_end(echo: toolring.sync.Trajectory) -> None:
    for wrap in (list, dict):
        value = nested(DEPTH_SENT_MAX, wrap)
        assert same(sent(echo, value), value)
        for n in (DEPTH_SENT_MAX + 1, DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1, 100_000):
            with pytest.raises(toolring.InvalidCall, match="deeper than 64"):
                sent(echo, nested(n, wrap))
        assert same(_unpack(_pack(nested(DEPTH_MAX, wrap))), nested(DEPTH_MAX, wrap))
        with pytest.raises(toolring.InvalidCall, match="deeper than 64"):
            _pack(nested(DEPTH_MAX + 1, wrap))
    assert same(sent(echo, 1), 1)  # nothing was spoilt


# ---- what is refused -----------------------------------------------------------------------------

def cyclic_list() -> Any:
    value: list[Any] = [1]
    value.append({"again": value})
    return value


def cyclic_dict() -> Any:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


REFUSED: list[tuple[Any, str, str]] = [
    (2**64, "", "does not fit 64 bits"), (-2**63 - 1, "", "does not fit 64 bits"),
    (10**400, "", "does not fit 64 bits"), (Index(2**64), "", "does not fit 64 bits"),
    ("a\ud800", "", "surrogate"), ({"\udfff": 1}, "", "surrogate"),
    ({"a": [0, "\ud83d"]}, ".a[1]", "surrogate"),
    ({1: 2}, "", "key"), ({"a": {None: 2}}, ".a", "key"), ({b"k": 1}, "", "key"),
    (object(), "", "object cannot be sent"), ([{1, 2}], "[0]", "set cannot be sent"),
    (1j, "", "complex cannot be sent"), ([0, decimal.Decimal(1)], "[1]", "Decimal cannot be sent"),
    (iter([]), "", "cannot be sent"), (range(3), "", "range cannot be sent"),
    (len, "", "cannot be sent"), (dict, "", "cannot be sent"), (..., "", "cannot be sent"),
    ({"a": {"b": [None, (1, {"c": object()})]}}, ".a.b[1][1].c", "object cannot be sent"),
    (memoryview(b"abcdef")[::2], "", "run of bytes"),
    (array.array("h", [1, -1]), "", "more than a byte"),
    (memoryview(bytes(8)).cast("d"), "", "more than a byte"),
    (ctypes.c_float(1.5), "", "c_float "), (ctypes.c_char(b"7"), "", "c_char "),
    (memoryview(b"7").cast("B", ()), "", "memoryview "),
    (cyclic_list(), "[1].again[1].again", "contains itself"),
    (cyclic_dict(), ".self.self.self", "contains itself"),
]


@pytest.mark.parametrize("value, path, why", REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_sent_is_named(echo: toolring.sync.Trajectory, value: Any, path: str,
                                      why: str) -> None:
    with pytest.raises(toolring.InvalidCall) as caught:
        sent(echo, value)
    said = str(caught.value)
    assert said.startswith(f"arguments.value{path}") and why in said, said
    assert isinstance(caught.value, ValueError)
    result = caught.value.result
    assert result is not None and result.verdict == "invalid" and result.error == said
    assert len(said) < 600 and "\n" not in repr(result)


def test_long_paths_and_names_are_cut(echo: toolring.sync.Trajectory) -> None:
    long = type("N" * 500, (), {})()
    for value in ({"k" * 1000: long}, {"\u20ac" * 200: {"\U0001f600" * 99: long}},
                  {"\u20ac" * 200: {"k" * n: [long] for n in range(8)}}):
        with pytest.raises(toolring.InvalidCall) as caught:
            sent(echo, value)
        said = str(caught.value)
        assert len(said) < 600 and "\ufffd" not in said, said


def test_exceptions_of_a_value_go_through(echo: toolring.sync.Trajectory) -> None:
    class Angry(Unhurried):
        def __len__(self) -> int:
            raise ZeroDivisionError("of the value's own")

        def __iter__(self) -> Iterator[str]:
            raise ZeroDivisionError("of the value's own")

    class AngryIndex:
        def __index__(self) -> int:
            raise ZeroDivisionError("of the value's own")

    for value in (Angry({}), AngryIndex(), [AngryIndex()]):
        with pytest.raises(ZeroDivisionError, match="of the value's own"):
            sent(echo, value)
    assert sent(echo, 1) == 1


def test_a_released_buffer_is_refused(echo: toolring.sync.Trajectory) -> None:
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(toolring.InvalidCall, match="bytes"):
        sent(echo, view)


class Meddler:
    """Does something to what it stands in when it is packed."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def __index__(self) -> int:
        self.what()
        return 1


def meddled_dict(what: str) -> Any:
    """A dict that changes while it is packed, its size before and after being the same or not."""
    value: dict[str, Any] = {f"k{i}": i for i in range(100)}
    for i in range(50):
        del value[f"k{i}"]  # which leaves holes, to be closed when it grows

    def swap() -> None:
        for i in range(80):
            value[f"new{i}"] = i
        for i in range(79):
            del value[f"new{i}"]
        del value["k99"]

    value["k50"] = Meddler({"swap": swap, "clear": value.clear, "grow": lambda: value.update(a=1),
                            "shrink": lambda: value.popitem()}[what])
    return value


@pytest.mark.parametrize("what", ["swap", "clear", "grow", "shrink"])
def test_a_dict_that_changes_meanwhile_is_refused(echo: toolring.sync.Trajectory,
                                                  what: str) -> None:
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        sent(echo, meddled_dict(what))  # of which a copy is packed there
    else:
        with pytest.raises(toolring.InvalidCall, match="changed"):
            sent(echo, meddled_dict(what))
    assert sent(echo, 1) == 1


def test_a_list_that_changes_meanwhile_is_refused(echo: toolring.sync.Trajectory) -> None:
    value: list[Any] = [0] * 100
    value[0] = Meddler(value.clear)
    with pytest.raises(toolring.InvalidCall, match="changed"):
        sent(echo, value)
    assert sent(echo, 1) == 1


# ---- as msgpack has it ---------------------------------------------------------------------------

def random_value(r: random.Random, depth: int = 0) -> Any:
    kind = r.randrange(12 if depth < 6 else 9)
    match kind:
        case 0:
            return r.choice((None, True, False))
        case 1 | 2:
            return r.choice(EDGES)
        case 3:
            return r.randrange(-2**63, 2**64)
        case 4:
            return r.choice((*FLOATS, r.random(), r.uniform(-1e300, 1e300)))
        case 5 | 6:
            return "".join(r.choices("a\0\u00e9\u20ac\U0001f600", k=r.choice((0, 3, 31, 32, 300))))
        case 7 | 8:
            return r.randbytes(r.choice((0, 1, 255, 256, 1000)))
        case 9 | 10:
            return [random_value(r, depth + 1) for _ in range(r.choice((0, 1, 5, 15, 16)))]
        case _:
            return {f"{r.randrange(99)}k": random_value(r, depth + 1)
                    for _ in range(r.choice((0, 1, 4, 16)))}


def needs_msgpack() -> None:
    if msgpack is None:
        cannot("there is no msgpack here")


def test_packed_as_msgpack_reads_and_read_as_it_packs() -> None:
    needs_msgpack()
    r = random.Random(6)
    for _ in range(2000):
        value = random_value(r)
        packed = _pack(value)
        assert same(msgpack.unpackb(packed, raw=False), value)
        assert same(_unpack(packed), value)
        assert same(_unpack(msgpack.packb(value)), value)


def test_floats_of_single_precision_are_read() -> None:
    r = random.Random(9)
    for data in (b"\0\0\0\0", b"\x80\0\0\0", b"\x7f\x80\0\0", b"\xff\x80\0\0", b"\0\0\0\1",
                 *(r.randbytes(4) for _ in range(1000))):
        assert same(_unpack(b"\xca" + data), struct.unpack(">f", data)[0])


class Refused(Exception):
    pass


def reference(data: bytes) -> Any:
    """What msgpack reads, but for what toolring's results never are."""
    def pairs(items: list[tuple[Any, Any]]) -> dict[str, Any]:
        if not all(isinstance(key, str) for key, _ in items):
            raise Refused("a key that is no string")
        return dict(items)

    def extension(*_: Any) -> Any:
        raise Refused("an extension type")

    try:
        value = msgpack.unpackb(data, raw=False, unicode_errors="replace", strict_map_key=False,
                                object_pairs_hook=pairs, ext_hook=extension, timestamp=0)
    except RecursionError:
        raise Refused("too deep") from None
    except (Refused, ValueError, msgpack.UnpackException) as error:
        raise Refused(str(error)) from error
    if any(isinstance(v, msgpack.Timestamp) for v in walk(value)) or depth(value) > DEPTH_MAX:
        raise Refused("too deep")
    return value


def walk(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict):
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from walk(item)


def depth(value: Any) -> int:
    """How deep it nests, by its levels one after another."""
    n = 0
    level = [value]
    while level := [v for v in level if isinstance(v, (list, dict))]:
        n += 1
        level = [x for v in level for x in (v.values() if isinstance(v, dict) else v)]
    return n


def check_against_reference(data: bytes) -> bool:
    """Both read the same, or neither reads it; True if they do."""
    try:
        expected = reference(data)
    except Refused:
        with pytest.raises(ValueError):
            _unpack(data)
        return False
    assert same(_unpack(data), expected), data
    return True


def test_noise_is_read_as_msgpack_reads_it_or_refused() -> None:
    needs_msgpack()
    r = random.Random(7)
    n_read = sum(check_against_reference(r.randbytes(r.randrange(12))) for _ in range(MANY))
    assert 1000 < n_read < MANY - 1000


def mutated(r: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(r.randrange(1, 4)):
        at = r.randrange(len(changed) + 1)
        match r.randrange(4):
            case 0:
                changed[at:at + 1] = r.randbytes(1)
            case 1:
                changed[at:at] = bytes([r.choice(range(0xc0, 0xe0))])
            case 2:
                del changed[at:at + r.randrange(4)]
            case _:
                changed[at:at + r.randrange(4)] = changed[:r.randrange(8)]
    return bytes(changed)


def test_mutated_messages_are_read_as_msgpack_reads_them_or_refused() -> None:
    needs_msgpack()
    r = random.Random(8)
    n_read = n = 0
    while n < MANY // 5:
        packed = _pack(random_value(r, 3))
        for _ in range(20):
            n += 1
            n_read += check_against_reference(mutated(r, packed))
    assert 100 < n_read < n - 100


def test_each_cut_of_a_message_is_refused() -> None:
    packed = _pack({"a": [1, 2**40, -5, 1.5, "text", b"bytes", None, {"k": [True]}],
                    "b" * 40: "c" * 300})
    for n in range(len(packed)):
        with pytest.raises(ValueError, match="malformed"):
            _unpack(packed[:n])
    for more in (b"\0", b"\xc1", packed):
        with pytest.raises(ValueError, match="malformed"):
            _unpack(packed + more)


@contextlib.contextmanager
def little_memory(n_max: int = 1 << 20) -> Iterator[None]:
    """Nothing in here may take more, of Python's memory or of the system's."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < n_max
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 64 << 20


LIES = [
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\xdd\x7f\xff\xff\xff" + b"\xc0" * 1000, b"\xdf\x7f\xff\xff\xff" + b"\xa1k\xc0" * 1000,
    b"\xdb\x80\x00\x00\x00" + b"a" * 1000, b"\xc6\x80\x00\x00\x00" + b"a" * 1000,
    b"\xdc\xff\xff" + b"\xc0" * 1000, b"\xde\xff\xff" + b"\xa1k\xc0" * 1000,
    b"\x81\xdb\xff\xff\xff\xffkey\xc0", b"\x81\xd9\xff" + b"k" * 200 + b"\xc0", b"\x81\xda\xff\xff",
    b"\xd9\x05abcd", b"\xa5abcd", b"\xc4\x05abcd", b"\x92\x01", b"\x82\xa1a\x01",
]


@pytest.mark.parametrize("data", LIES, ids=range(len(LIES)))
def test_sizes_that_lie_are_refused_and_cost_nothing(data: bytes) -> None:
    for message in (data, b"\x92\x01" + data, b"\x81\xa1k" + data):
        with little_memory(), pytest.raises(ValueError, match="malformed"):
            _unpack(message)


def test_containers_within_containers_that_lie_cost_nothing() -> None:
    # Each level claims as much as is left.
    data = b"".join(b"\xdd" + struct.pack(">I", 5 * (60 - i)) for i in range(60)) + b"\xc0" * 300
    with little_memory(), pytest.raises(ValueError, match="malformed"):
        _unpack(data)


@pytest.mark.parametrize("step", [b"\x91", b"\x81\xa1k", b"\xdc\0\1", b"\xdf\0\0\0\1\xa0"])
def test_depth_bombs_are_refused(step: bytes) -> None:
    assert depth(_unpack(step * DEPTH_MAX + b"\x01")) == DEPTH_MAX
    for n in (DEPTH_MAX + 1, 1_000_000):
        data = step * n + b"\x01"
        with little_memory(), pytest.raises(ValueError, match="malformed"):
            _unpack(data)


def test_what_is_no_msgpack_of_a_result_is_refused() -> None:
    for data in (b"", b"\xc1", b"\xc7\0\5", b"\xc8\0\0\5", b"\xc9\0\0\0\0\5", b"\xd4\5a",
                 b"\xd5\5ab", b"\xd6\xff\0\0\0\0", b"\xd7\xff" + bytes(8),
                 b"\xd8\5" + bytes(16), b"\x81\x01\x02", b"\x81\xc0\x02", b"\x81\xc4\x01k\x02",
                 b"\x81\x90\x02"):
        with pytest.raises(ValueError, match="malformed"):
            _unpack(data)
    with pytest.raises(TypeError):
        _unpack("text")


def test_text_that_is_none_reads_with_replacement_characters() -> None:
    assert _unpack(b"\xa3a\xffb") == "a\ufffdb"
    assert _unpack(b"\x81\xa2k\xff\x01") == {"k\ufffd": 1}
    assert _unpack(b"\x82\xa1k\x01\xa1k\x02") == {"k": 2}
