"""No file can run anything, take much memory or time, or give anything but a line of error."""

import json
import pickle
import pickletools
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from sdbatch.errors import UserError
from sdbatch.weights.files.formats import open_tensor_file
from sdbatch.weights.files.paddle_file import PADDLE_CALLS
from sdbatch.weights.files.torch_values import TORCH_CALLS
from tests.conftest import ROOT
from tests.weights.files.hostile_files import MARKER, write_all
from tests.weights.files.torch_files import (
    Call,
    Global,
    Storage,
    archive,
    dumps,
    legacy_file,
    storage,
    tensor,
    zip_file,
)

# Opens the small files of a folder, and then all, when no module is left to be loaded: whatever
# happens in the interpreter from there on is the files' doing.
PROGRAM = """
import json, sys, time
from pathlib import Path
from sdbatch.errors import UserError
from sdbatch.weights.files.formats import open_tensor_file

def peak():
    # Not getrusage: that of a process includes what its parent had before.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])

def message(path):
    try:
        return f"read: {open_tensor_file(path)}"[:1000]
    except UserError as error:
        return str(error)

modules = set(sys.modules)
paths = sorted(Path(sys.argv[1]).glob("*.ckpt"))
for path in paths:
    if path.stat().st_size < 100_000:
        message(path)
events, found = set(), {}
sys.addaudithook(lambda event, arguments: events.add(event))
for path in paths:
    start = time.perf_counter()
    found[path.name] = message(path), time.perf_counter() - start
print(json.dumps([found, sorted(events), sorted(set(sys.modules) - modules), peak()]))
"""


@dataclass(frozen=True)
class Outcome:
    """Every hostile file opened in a process of its own: what they are, and what happened.

    Attributes:
        folder: where the files are, and that process was.
        expected: file name -> what it is, and a part of its error.
        found: file name -> its error, and how many seconds that took.
        events: what the interpreter was asked to do, as its audit hooks call it.
        modules: what was imported after the readers themselves.
        peak: memory of the process in KiB.
    """

    folder: Path
    expected: dict[str, tuple[str, str]]
    found: dict[str, tuple[str, float]]
    events: list[str]
    modules: list[str]
    peak: int


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> Outcome:
    folder = tmp_path_factory.mktemp("hostile")
    expected = write_all(folder)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(folder)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stderr == ""
    return Outcome(folder, expected, *json.loads(result.stdout))


class TestHostileFiles:
    def test_are_many(self, outcome):
        assert len(outcome.expected) > 200
        assert outcome.found.keys() == outcome.expected.keys()

    def test_give_one_line_that_names_the_file_and_what_is_wrong(self, outcome):
        for name, (what, says) in outcome.expected.items():
            line = outcome.found[name][0]
            assert line.startswith(f"{outcome.folder / name}: "), (what, line)
            assert len(line.splitlines()) == 1, (what, line)
            assert says in line, (what, line)
            assert len(line) < 1000, (what, len(line))

    def test_run_nothing(self, outcome):
        assert not (outcome.folder / MARKER).exists()
        assert set(outcome.events) <= {"open", "builtins.id"}

    def test_import_nothing(self, outcome):
        assert all(name.startswith("encodings.") for name in outcome.modules)

    def test_take_little_memory(self, outcome):
        assert outcome.peak * 1024 < 200_000_000

    def test_take_little_time(self, outcome):
        slowest = max(outcome.found, key=lambda name: outcome.found[name][1])
        assert outcome.found[slowest][1] < 15, outcome.expected[slowest]


VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)
GENUINE = [
    zip_file({"state_dict": {"w": tensor("0", VALUES)}, "epoch": 1, "x": np.float32(2)}),
    legacy_file({"state_dict": {"w": tensor("0", VALUES)}, "epoch": 1}),
    pickle.dumps({"w": VALUES, "b": ("name", VALUES.T), "StructuredToParameterName@@": {}}, 4),
    pickle.dumps({"w": VALUES, "b": np.asfortranarray(VALUES)}, 2),
    save({"w": VALUES, "b": VALUES.astype(np.float16)}, {"format": "pt"}),
]
FUZZ = settings(
    max_examples=2500, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


@st.composite
def damaged(draw) -> bytes:
    """A genuine file with some bytes changed, put in, taken out or repeated."""
    content = bytearray(draw(st.sampled_from(GENUINE)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        size = draw(st.integers(0, 8))
        piece = draw(st.binary(max_size=8) | st.sampled_from([b"\xff" * 8, b"\0" * 8]))
        other = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["replace", "insert", "cut", "repeat", "end"]))
        if kind == "replace":
            content[at : at + len(piece)] = piece
        elif kind == "insert":
            content[at:at] = piece
        elif kind == "cut":
            del content[at : at + size]
        elif kind == "repeat":
            content[at:at] = content[other : other + size]
        else:
            del content[at:]
    return bytes(content)


NAMES = [
    *("collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage"),
    *("numpy.core.multiarray _reconstruct", "numpy.core.multiarray scalar", "numpy dtype"),
    *(
        "numpy ndarray",
        "_codecs encode",
        "builtins tuple",
        "builtins eval",
        "copyreg _reconstructor",
    ),
    *(
        "torch._tensor _rebuild_from_type_v2",
        "builtins bytearray",
        "os system",
        "a.b C",
        "torch Size",
    ),
]
texts = st.sampled_from(["", "a", "f4", "<", "latin1", "storage", "0", "data", "é", "b"])
lines = st.sampled_from([b"", b"1", b"01", b"-5", b"1.5", b"'a'", b"nan", b"7L", b"\\u0041"])


def argument(opcode: pickletools.OpcodeInfo) -> st.SearchStrategy[bytes]:
    """Bytes that may follow an opcode."""
    if opcode.arg is None:
        return st.just(b"")
    if opcode.code in "ci":
        return st.sampled_from([name.replace(" ", "\n").encode() + b"\n" for name in NAMES])
    size = opcode.arg.n
    if size == pickletools.UP_TO_NEWLINE:
        return lines.map(lambda line: line + b"\n")
    if size >= 0:
        return st.integers(0, 3).map(lambda n: bytes([n]).ljust(size, b"\0")) | st.binary(
            min_size=size, max_size=size
        )
    width = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT8U: 8}.get(size, 4)
    honest = texts.map(str.encode).map(lambda t: struct.pack("<Q", len(t))[:width] + t)
    return honest | st.binary(min_size=width, max_size=width)


OPCODES = [
    argument(opcode).map(opcode.code.encode("latin-1").__add__) for opcode in pickletools.opcodes
]
fragments = [
    *(b"}", b"]", b"(", b")", b"\x85", b"\x86", b"\x87", b"t", b"e", b"u", b"R", b"b", b"0", b"2"),
    *(b"K\1", b"N", b"\x88", b"\x94", b"h\0", b"h\1", b"Q"),
    *(b"c" + name.replace(" ", "\n").encode() + b"\n" for name in NAMES),
    b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" + b"0X\3\0\0\0cpuK\6tQ",
    b"cnumpy\ndtype\n\x8c\2f4\x89\x88\x87R",
    b"(K\1K\2K\3\x86",
]
# Values instead of opcodes reach further: known functions, with anything for arguments.
known = st.sampled_from(
    [Global(*name) for name in sorted({*TORCH_CALLS, *PADDLE_CALLS, ("torch", "uint16")})]
)
simple = (
    st.sampled_from([None, True, False, 0, 1, 2, 4, 6, 8, -1, 2**31, 2**63, 2**70, 0.5, (), (2, 3)])
    | st.sampled_from(
        ["", "data", "f4", "i8", "O8", "<", "|", ">", "C", "latin1", "é" * 3, "x" * 24]
    )
    | st.binary(max_size=24)
    | st.sampled_from([bytes(24), storage("0", VALUES), Storage("1", Global("a", "b"), None, b"")])
    | st.sampled_from([tensor("0", VALUES), VALUES, np.float32(1), np.array(["a"])])
    | known
)
values = st.recursive(
    simple,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=8).map(tuple)
        | st.dictionaries(st.sampled_from(["a", "b", "data", 0, None, (1, "a")]) | known, inner)
        | st.builds(
            Call,
            known,
            st.lists(inner, max_size=7).map(tuple),
            st.none() | st.lists(inner).map(tuple),
        )
    ),
    max_leaves=12,
)
programs = st.lists(st.one_of(*OPCODES) | st.sampled_from(fragments), max_size=25).map(b"".join)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "file"


def check(path, content: bytes) -> None:
    """It is read, or refused in one line that names the file."""
    path.write_bytes(content)
    try:
        for _ in open_tensor_file(path).items():
            pass
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        assert str(error).startswith(f"{path}: ")


class TestAnyFileIsReadOrRefused:
    """Nothing but a UserError of one line ever comes out."""

    @FUZZ
    @given(content=damaged())
    def test_damaged_files(self, path, content):
        check(path, content)

    @FUZZ
    @given(program=programs)
    def test_random_opcodes(self, path, program):
        check(path, b"\x80\x04" + program + b".")

    @FUZZ
    @given(program=programs)
    def test_random_opcodes_in_a_zip_archive(self, path, program):
        members = {"a/data.pkl": b"\x80\x02" + program + b".", "a/data/0": VALUES.tobytes()}
        check(path, archive(members))

    @FUZZ
    @given(program=programs, rest=st.binary(max_size=40))
    def test_random_opcodes_in_a_legacy_file(self, path, program, rest):
        start = legacy_file({})
        check(path, start[: start.index(b"\x80\x02}", 30)] + b"\x80\x02" + program + b"." + rest)

    @FUZZ
    @given(value=values, protocol=st.integers(2, 5))
    def test_random_calls(self, path, value, protocol):
        named = {"w": value}
        check(path, dumps(named, protocol) if protocol > 3 else zip_file(named, protocol=protocol))
