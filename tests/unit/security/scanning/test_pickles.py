"""The opcode machine: what a pickle may do, what it may not, and that nothing makes it wrong or fail."""

from __future__ import annotations

import _compat_pickle
import io
import pickle
import struct
import sys
from collections import OrderedDict, defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlwright.security.scanning import machine
from mlwright.security.scanning.allow import RENAMED, Use, allow_list
from mlwright.security.scanning.limits import Limits
from mlwright.security.scanning.spec import Verdict
from tests.unit.security.scanning.samples import (
    BENIGN,
    EVIL,
    EVIL_INST,
    EVIL_TEXT,
    named,
    program,
    report,
    rules,
    text,
)

SAFE_VALUES: list[object] = [
    {"a": [1, 2.5, -3, 2**40, 2**200, True, None], "b": ("x", b"y", bytearray(b"z")), "c": {1, 2}, "d": frozenset([3])},
    OrderedDict(a=1),
    defaultdict(list, a=[1]),
    datetime(2026, 1, 1, tzinfo=UTC),
    Decimal("1.5"),
    np.arange(6.0).reshape(2, 3),
    np.array(["a", None, {"b": 1}], dtype=object),
    np.zeros(3, dtype=[("a", "<f8"), ("b", "U4"), ("c", "i1", (2, 2))]),
    np.float64(1.5),
    np.random.default_rng(1),
    list(range(5000)),
    [float(number) for number in range(5000)],
    {str(number): number / 3 for number in range(5000)},
    [[number, (number, str(number))] for number in range(2000)],
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", SAFE_VALUES, ids=lambda value: type(value).__name__)
def test_data_is_safe_in_every_protocol(value: object, protocol: int) -> None:
    found = report(pickle.dumps(value, protocol))
    assert found.findings == ()
    assert found.kind == "pickle"


@pytest.mark.parametrize(
    ("content", "target", "opcodes"),
    [
        (EVIL, "posix.system", "STACK_GLOBAL@17 > REDUCE@25"),
        (EVIL_TEXT, "posix.system", "GLOBAL@0 > REDUCE@24"),
        (EVIL_INST, "posix.system", "INST@9 > INST@9"),
        (b"(cposix\nsystem\nS'true'\no.", "posix.system", "GLOBAL@1 > OBJ@23"),
        (program(named("posix", "system") + b")\x81"), "posix.system", "STACK_GLOBAL@17 > NEWOBJ@19"),
        (program(named("posix", "system") + b")}\x92"), "posix.system", "STACK_GLOBAL@17 > NEWOBJ_EX@20"),
        (program(named("posix", "system")), "posix.system", "STACK_GLOBAL@17"),
    ],
)
def test_a_refusal_names_the_way_to_the_call(content: bytes, target: str, opcodes: str) -> None:
    (found,) = report(content).findings
    assert (found.rule, found.target, found.opcodes) == ("pickle-global", target, opcodes)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (named("collections", "OrderedDict.__init__"), "pickle-global"),
        (named("numpy", "ndarray.tofile"), "pickle-global"),
        (named("Collections", "OrderedDict"), "pickle-global"),
        (named("collections ", "OrderedDict"), "pickle-global"),
        (named("numpy", "log1p") + b")R", "pickle-global"),  # may be named, not called
        (named("xgboost.core", "Booster") + text("/etc/passwd") + b"\x85R", "pickle-global"),  # made, without __init__
        (named("numpy", "memmap"), "pickle-global"),  # opens files
        (named("scipy.stats._distn_infrastructure", "rv_continuous_frozen"), "pickle-global"),  # executes its state
        (named("cloudpickle.cloudpickle", "_make_function"), "pickle-code"),
        (named("types", "CodeType"), "pickle-code"),
        (named("__main__", "Model"), "pickle-code"),
        (named("builtins", "list") + b")R" + b")R", "pickle-computed"),
        (named("builtins", "str") + text("posix") + b"\x85R" + text("system") + b"\x93", "pickle-computed"),
        (b"K\x01" + text("x") + b"\x93", "pickle-malformed"),
        (named("numpy", "dtype") + b"}b", "pickle-mutation"),
        (b"]}b", "pickle-mutation"),
        (named("collections", "OrderedDict") + text("k") + text("v") + b"s", "pickle-mutation"),
        (text("x") + b"K\x01a", "pickle-mutation"),
        (b"\x82\x01", "pickle-extension"),
        (b"\x83\x01\x02", "pickle-extension"),
        (b"\x84\x01\x02\x03\x04", "pickle-extension"),
        (b"Pobject\n", "pickle-persistent"),
        (text("storage") + b"\x85Q", "pickle-persistent"),
    ],
)
def test_what_a_pickle_may_not_do(body: bytes, rule: str) -> None:
    assert rule in rules(program(body))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04",
        b"\x80\x04N",
        b"\x80\x06N.",
        b"\x80\x04.",
        b"\x80\x040N.",
        b"\x80\x04e.",
        b"\x80\x04h\x05.",
        b"\x80\x04\xff.",
        b"\x80\x04B\xff\xff\xff\x7fx.",
        b"\x80\x04\x8b\xff\xff\xff\xff.",
        b"\x80\x04T\xff\xff\xff\xff.",
        b"\x80\x04p-1\n.",
        b"\x80\x04Nqx",
        b"\x80\x04N(o.",
        b"\x80\x04(NN1N",
        b"\x80\x04S'open\n.",
        b"\x80\x04cposix\n" + b"x" * 5000 + b"\n.",
        BENIGN[:-1],
        BENIGN[:-5],
    ],
)
def test_what_cannot_be_walked_to_its_end_is_refused(content: bytes) -> None:
    assert rules(content) & {"pickle-malformed", "pickle-trailing"}


def test_every_pickle_of_a_file_counts() -> None:
    assert report(BENIGN * 3).findings == ()
    assert rules(BENIGN + EVIL) == {"pickle-global"}
    assert rules(BENIGN + b"\x00junk") == {"pickle-trailing"}
    assert rules(BENIGN + b"\x00\xffjunk" + EVIL) == {"pickle-trailing", "pickle-global"}


def test_python_2_names_mean_what_python_3_takes_them_for() -> None:
    assert report(b"\x80\x02c__builtin__\nset\n]\x85R.").findings == ()
    assert rules(b"\x80\x02c__builtin__\neval\n]\x85R.") == {"pickle-global"}
    for module, name in allow_list().uses:
        old = (module.decode(), name.decode())
        assert old not in _compat_pickle.NAME_MAPPING
        assert old[0] not in _compat_pickle.IMPORT_MAPPING
    for module, new in RENAMED.items():
        assert _compat_pickle.IMPORT_MAPPING[module.decode()].encode() == new


def test_an_array_of_a_type_that_hides_its_objects_is_refused() -> None:
    honest = pickle.dumps(np.dtype("O"), 2)
    assert report(honest).findings == ()


def test_functions_that_call_what_they_are_given_are_not_a_way_around() -> None:
    booster, constructor = named("xgboost.core", "Booster"), named("numpy.random._pickle", "__generator_ctor")
    assert rules(program(constructor + text("path") + booster + b"\x86R")) == {"pickle-global"}
    rebuild = named("torch._tensor", "_rebuild_from_type_v2")
    assert rules(program(rebuild + booster + b"N)N" + b"(" + booster + b"N)Nt0R")) & {"pickle-computed"}
    assert rules(program(rebuild + b"(" + booster + b"N)NtR")) == {"pickle-global"}
    partial = named("functools", "partial") + booster + b"\x85R"
    assert rules(program(constructor + text("path") + partial + b"\x86R")) == {"pickle-computed"}
    reconstructor = named("copyreg", "_reconstructor")
    assert rules(program(reconstructor + booster + named("builtins", "object") + b"N\x87R")) == set()
    assert rules(program(reconstructor + booster + booster + text("path") + b"\x87R")) == {"pickle-global"}


@pytest.mark.parametrize(
    "body", [b"N" + b"\x85" * 300_000, (b"}\x8c\x01a" * 100_000) + b"N" + b"s" * 100_000, b"\x8c\xff" + b"x" * 255]
)
def test_what_is_nested_takes_no_more_memory_than_what_is_flat(body: bytes) -> None:
    assert rules(program(body if len(body) > 1000 else body * 30_000)) <= {"pickle-limits"}


def test_a_type_that_contradicts_itself_is_refused() -> None:
    def dtype(code: str, flags: int, size: int = -1) -> bytes:
        state = (
            b"(K\x03" + text("|") + b"NNNJ" + struct.pack("<i", size) + b"J\xff\xff\xff\xffK" + bytes([flags]) + b"t"
        )
        return program(named("numpy", "dtype") + text(code) + b"\x89\x88\x87R" + state + b"b")

    assert rules(dtype("O8", 63)) == set()
    assert rules(dtype("f8", 0)) == set()
    assert rules(dtype("O8", 0)) == {"array-malformed"}
    assert rules(dtype("f8", 63)) == {"array-malformed"}
    assert rules(dtype("V8", 0, 80)) == {"array-malformed"}
    assert rules(dtype("nonsense", 0)) == {"array-malformed"}


def torch_before_1_6(storages: bytes, count: int = 4) -> bytes:
    """What torch.save wrote before it wrote zip archives."""
    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + bytes([0x4B, count]) + b"NtQ"
    )
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    head = b"".join(pickle.dumps(part, 2) for part in parts)
    return head + b"\x80\x02" + storage + b"." + pickle.dumps(["0"], 2) + storages


def test_old_files_of_pytorch_have_numbers_behind_their_pickles() -> None:
    assert report(torch_before_1_6(struct.pack("<q", 4) + bytes(16))).findings == ()
    assert rules(torch_before_1_6(struct.pack("<q", 4) + bytes(12))) == {"array-malformed"}
    assert "pickle-trailing" in rules(torch_before_1_6(struct.pack("<q", 4) + bytes(16) + EVIL))


def test_text_is_no_pickle_though_it_begins_like_one() -> None:
    for content in (
        b"click\nnumpy\npandas\n",
        b"import os\nos.system('x')\n",
        b"N.B. read this\n",
        b"(see below)\n",
        b"]",
    ):
        assert report(content + b"words\n").kind == "text"


@pytest.mark.parametrize("limit", [10, 1000])
def test_too_many_values_are_refused(limit: int) -> None:
    limits = Limits(values=limit)
    assert "pickle-limits" in rules(b"\x80\x04" + b"N" * (limit + 400) + b".", limits)
    assert "pickle-limits" in rules(b"\x80\x04" + b"(" * (limit + 400) + b".", limits)
    assert "pickle-limits" in rules(b"\x80\x04N" + b"\x94" * (limit + 400) + b".", limits)
    assert "pickle-limits" in rules(b"\x80\x04" + b"G12345678" * (limit + 400) + b".", limits)


def test_a_long_memo_keeps_what_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_RICH_MEMO", 3)
    words = b"".join(text(f"word{number}") + b"\x940" for number in range(500))
    later = words + text("posix") + b"\x94" + b"0" + text("numpy") + b"\x940"
    known = later + b"j" + struct.pack("<I", 501) + text("dtype") + b"\x93"
    assert report(program(known)).findings == ()
    forgotten = later + b"j" + struct.pack("<I", 500) + text("system") + b"\x93"
    assert rules(program(forgotten)) == {"pickle-computed"}


def test_findings_come_to_an_end() -> None:
    many = b"".join(named("posix", f"f{number}") + b"0" for number in range(1000))
    assert len(report(program(many + b"N")).findings) <= Limits().findings + 1


# --- properties ---

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.binary(max_size=300)
_DATA = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=20) | st.integers(), inner)
    ),
    max_leaves=60,
)


@settings(deadline=None, max_examples=150)
@given(value=_DATA, protocol=st.integers(0, 5), copies=st.integers(1, 3))
def test_whatever_plain_data_is_pickled_is_safe(value: object, protocol: int, copies: int) -> None:
    """Also where the same objects come again through the memo."""
    content = pickle.dumps([value] * copies, protocol)
    found = report(content)
    assert found.findings == (), content


class _ReachedError(Exception):
    """A loader came to import something that is not allowed."""


class _Inert:
    """Stands for all that is imported: calling, filling and setting it does nothing."""

    def __init__(self, *args: Any, **keywords: Any) -> None: ...
    def __setstate__(self, state: object) -> None: ...
    def __setitem__(self, key: object, value: object) -> None: ...
    def append(self, item: object) -> None: ...
    def extend(self, items: object) -> None: ...
    def add(self, item: object) -> None: ...


class _Loader(pickle._Unpickler):
    """Python's own loader, with nothing to import."""

    proto = 0

    def find_class(self, module: str, name: str) -> object:
        if self.proto < 3:
            if (module, name) in _compat_pickle.NAME_MAPPING:
                module, name = _compat_pickle.NAME_MAPPING[module, name]
            elif module in _compat_pickle.IMPORT_MAPPING:
                module = _compat_pickle.IMPORT_MAPPING[module]
        if allow_list().use(module.encode("utf-8", "replace"), name.encode("utf-8", "replace")) is Use.NOTHING:
            raise _ReachedError(module, name)
        return _Inert


def reached(content: bytes) -> tuple[str, str] | None:
    """Module and name of the first thing that Python's loader would import though it is not allowed."""
    try:
        _Loader(io.BytesIO(content)).load()
    except _ReachedError as error:
        module, name = error.args
        return module, name
    # Damaged pickles raise all kinds of errors.
    except Exception:
        return None
    return None


_SEEDS = [
    EVIL,
    EVIL_TEXT,
    EVIL_INST,
    BENIGN,
    *(pickle.dumps(value, protocol) for value in SAFE_VALUES[:9] for protocol in (0, 2, 4)),
    program(b"\x95\x10\0\0\0\0\0\0\0" + named("numpy", "dtype") + text("f8") + b"\x85R\x94h\x00"),
    b"\x80\x02cnumpy\ndtype\nq\x00U\x02f8\x85Rq\x01h\x00cposix\nsystem\nU\x04true\x85R.",
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Two pickles, cut, spliced and with some bytes changed."""
    first, second = draw(st.sampled_from(_SEEDS)), draw(st.sampled_from(_SEEDS))
    content = first[: draw(st.integers(0, len(first)))] + second[draw(st.integers(0, len(second))) :]
    changed = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        if changed:
            place = draw(st.integers(0, len(changed) - 1))
            opcode = draw(
                st.sampled_from([*b"()0124NRbcilo]}abdehjpqtu\x80\x81\x85\x93\x94\x95.", draw(st.integers(0, 255))])
            )
            changed[place] = opcode
    return bytes(changed)


@settings(deadline=None, max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
@given(content=damaged())
@example(content=EVIL_TEXT[:20])
def test_damage_never_makes_an_unsafe_pickle_safe(content: bytes) -> None:
    found = report(content)
    assert not [each for each in found.findings if "scanner failed" in each.message], found
    target = reached(content)
    if target is None:
        return
    package = target[0].partition(".")[0]
    importable = package in sys.stdlib_module_names or package.encode() in allow_list().packages
    # At the end of a file, pickle.py takes a line without its end for a name; nothing can be called after that.
    complete = bool(target[1]) and target[1].encode() + b"\n" in content
    if content[:1] == b"\x80" or (importable and complete):
        assert found.verdict is Verdict.UNSAFE, (content, target)


@settings(deadline=None, max_examples=300)
@given(
    content=st.binary(max_size=600),
    head=st.sampled_from([b"", b"\x80\x04", b"PK\x03\x04", b"\x1f\x8b", b"{", b"\x93NUMPY"]),
)
def test_no_bytes_make_the_scanner_fail(content: bytes, head: bytes) -> None:
    found = report(head + content)
    assert not [each for each in found.findings if "scanner failed" in each.message], found
