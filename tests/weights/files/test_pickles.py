"""The interpreter builds what a pickle of plain values holds, and nothing of anything else."""

import argparse
import collections
import datetime
import pathlib
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.errors import UserError
from sdbatch.weights.files.file_window import FileWindow, Malformed
from sdbatch.weights.files.pickle_opcodes import ACTIONS, SHORT
from sdbatch.weights.files.pickle_values import FileBytes, Placeholder
from sdbatch.weights.files.pickles import CALLS, read_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("pickles") / "file.pkl"


def read(path, content: bytes, **options):
    """The value of a pickle, which must end with the file."""
    path.write_bytes(content)
    with FileWindow(path) as window:
        value, end = read_pickle(window, 0, len(content), **options)
    assert end == len(content)
    return value


def refusal(path, content: bytes, **options) -> str:
    with pytest.raises(UserError) as caught:
        read(path, content, **options)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line.removeprefix(f"{path}: ")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(
            st.text(max_size=5) | st.integers(-(2**62), 2**62) | st.booleans() | st.none(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


class TestPlainValues:
    @given(value=plain, protocol=st.sampled_from(PROTOCOLS))
    def test_are_what_was_pickled(self, path, value, protocol):
        assert read(path, pickle.dumps(value, protocol)) == value

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_of_every_type(self, path, protocol):
        value = {"a": [None, True, False, 0, 255, 65535, -1, 2**40, -(2**80), 1.5, "文字", ()]}
        found = read(path, pickle.dumps(value, protocol))
        assert found == value
        assert [type(x) for x in found["a"][:-2]] == [type(x) for x in value["a"][:-2]]

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_that_are_shared_or_contain_themselves(self, path, protocol):
        shared = [1]
        value = {"a": shared, "b": shared}
        value["self"] = value
        found = read(path, pickle.dumps(value, protocol))
        assert found["a"] is found["b"]
        assert found["self"] is found

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize(
        "value",
        [
            collections.OrderedDict(b=1, a=2),
            collections.defaultdict(list, {"b": 1, "a": 2}),
            collections.Counter("aba"),
        ],
    )
    def test_of_dictionaries_by_other_names(self, path, protocol, value):
        found = read(path, pickle.dumps(value, protocol))
        assert list(found.items()) == list(value.items())
        assert type(found) is dict

    def test_of_python_2(self, path):
        assert read(path, b"(dS'it\\'s'\nI01\nsS\"b\"\nL5L\ns.") == {"it's": True, "b": 5}
        assert read(path, b"U\3caf.") == "caf"

    def test_tuples_as_keys_become_text(self, path):
        assert read(path, pickle.dumps({(0, "a"): 1})) == {"(0, a)": 1}

    def test_frames_and_their_absence(self, path):
        framed = pickle.dumps(list(range(10)), 4)
        assert framed[2:3] == b"\x95"
        assert read(path, framed) == read(path, framed[:2] + framed[11:]) == list(range(10))


class TestBytesStayInTheFile:
    @pytest.mark.parametrize("protocol", [3, 4, 5])
    @pytest.mark.parametrize("size", [0, 5, SHORT, SHORT + 1, 10**5])
    def test_where_they_stand(self, path, protocol, size):
        value = bytes(range(256)) * (size // 256) + bytes(size % 256)
        found = read(path, pickle.dumps([value], protocol))[0]
        assert path.read_bytes()[found.start : found.stop] == value
        assert not found.as_text

    @pytest.mark.parametrize("protocol", [1, 2])
    @pytest.mark.parametrize("size", [1, SHORT + 1])
    def test_as_text_in_protocol_2(self, path, protocol, size):
        value = bytes([0xE9]) * size
        found = read(path, pickle.dumps([value], protocol))[0]
        assert found.as_text
        assert path.read_bytes()[found.start : found.stop].decode().encode("latin-1") == value

    def test_bytearrays_and_nothing_at_all(self, path):
        found = read(path, pickle.dumps([bytearray(b"ab"), b""], 5))
        assert path.read_bytes()[found[0].start : found[0].stop] == b"ab"
        assert read(path, pickle.dumps(b"", 2)) == FileBytes(0, 0)

    def test_long_text_as_well(self, path):
        found = read(path, pickle.dumps("é" * SHORT))
        assert path.read_bytes()[found.start : found.stop].decode() == "é" * SHORT

    def test_without_being_touched(self, path):
        with path.open("wb") as file:
            file.write(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40))
            file.truncate((1 << 40) + 11)
            file.seek(0, 2)
            file.write(b".")
        with FileWindow(path) as window:
            assert read_pickle(window, 0, window.size)[0] == FileBytes(11, (1 << 40) + 11)


class Anything:
    """A class that a checkpoint might name."""

    def __init__(self):
        self.content = {"a": 1}


class Dictionary(dict):
    """A dictionary with a class of its own, like Lightning's AttributeDict."""


class TestObjectsOfUnknownClasses:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_stand_in_and_keep_nothing(self, path, protocol):
        found = read(path, pickle.dumps(Anything(), protocol))
        assert found == Placeholder(__name__, "Anything", made=True)

    def test_take_items_and_keep_none(self, path):
        found = read(path, pickle.dumps([Dictionary(a=1), {1, 2}, frozenset("ab")], 4))
        assert all(isinstance(value, Placeholder) and value.made for value in found)

    def test_can_be_named(self, path):
        found = read(path, pickle.dumps({Anything: argparse.Namespace(a=1)}, 2))
        assert found == {
            Placeholder(__name__, "Anything"): Placeholder("argparse", "Namespace", made=True)
        }

    @pytest.mark.parametrize("value", [pathlib.PurePosixPath("a"), datetime.date(2026, 1, 2), 1j])
    def test_of_a_few_that_are_made_by_calls(self, path, value):
        assert read(path, pickle.dumps(value, 2)).made

    def test_are_never_looked_up(self, path):
        content = b"cnosuchmodule\nNothing\n)\x81}b."
        assert read(path, content) == Placeholder("nosuchmodule", "Nothing", made=True)


class TestPersistentObjects:
    def test_come_from_a_function(self, path):
        assert read(path, b"(K\1K\2tQ.", persistent=lambda identity: [identity]) == [(1, 2)]

    def test_are_refused_where_there_is_none(self, path):
        assert "kept outside the pickle; expected none" in refusal(path, b"K\1Q.")


class TestSeveralPicklesInOneFile:
    def test_follow_each_other(self, path):
        path.write_bytes(b"junk" + pickle.dumps(1) + pickle.dumps("b") + b"rest")
        with FileWindow(path) as window:
            first, end = read_pickle(window, 4, window.size)
            second, end = read_pickle(window, end, window.size)
            assert (first, second, window.read(end, 4)) == (1, "b", b"rest")

    def test_do_not_reach_into_each_other(self, path):
        path.write_bytes(pickle.dumps("abc"))
        with FileWindow(path) as window, pytest.raises(Malformed, match="truncated"):
            read_pickle(window, 0, window.size - 3)


class TestRefuses:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "truncated: 1 bytes should follow byte 0, there are 0"),
            (b".", "nothing on the stack"),
            (b"\xff.", "unknown opcode (opcode 0xff before byte 1)"),
            (b"\x80\x06N.", "protocol 6; expected at most 5"),
            (b"0.", "no mark on the stack"),
            (b"K\1a.", "nothing on the stack"),
            (b"K\1K\2a.", "items for int; expected a list"),
            (b"]K\1K\2s.", "2 keys and values for list"),
            (b"}(K\1u.", "1 keys and values for dict"),
            (b"}]K\1s.", "list as a dictionary key"),
            (b"}N\x85\x85Ns.", "tuple as a dictionary key"),
            (b"}\x8a\x09" + bytes(8) + b"\1Ns.", "a large int as a dictionary key"),
            (b"](K\1\x90.", "members for list; expected a set"),
            (b"h\0.", "nothing is remembered as 0"),
            (b"g-1\n.", "a memo index that is no number"),
            (b"X\xff\xff\xff\xffabc.", "truncated: 4294967295 bytes should follow"),
            (b"\x8e" + b"\xff" * 8 + b".", "truncated: 18446744073709551615 bytes"),
            (b"\x8b\xff\xff\xff\x7f.", "an integer of 2147483647 bytes"),
            (b"\x8a\x21" + bytes(33) + b".", "an integer of 33 bytes"),
            (b"I" + b"1" * 71 + b"\n.", "a malformed line: 111"),
            (b"Fone\n.", "a malformed line: one"),
            (b"Sabc\n.", "a malformed line: abc"),
            (b"V\\ud800\n.", "a malformed line"),
            (b"I1", "has no end"),
            (b"X\3\0\0\0\xed\xa0\x80.", "text that is not UTF-8"),
            (b"K\1K\2\x93.", "a name of int and int"),
            (b"ca\n\xff\n.", "a name that is not UTF-8"),
            (b"ca\nb\nN\x81.", "expected a class"),
            (b"K\1)\x81.", "a new object of int; expected a class"),
            (b"K\1}b.", "a state for int"),
            (b"ca\nb\n}b.", "a state for Placeholder"),
            (b"Pid\n.", "a reference to something outside the file"),
            (b"ccollections\nOrderedDict\nN\x85R.", "made of something else than pairs"),
            (b"ccollections\nOrderedDict\n](K\1e\x85R.", "made of something else than pairs"),
            (b"ccollections\nOrderedDict\nNR.", "a call with NoneType for its arguments"),
            (
                b"c_codecs\nencode\n\x8c\1a\x8c\5utf-8\x86R.",
                "encoded as something else than latin1",
            ),
            (b"c_codecs\nencode\nK\1\x8c\6latin1\x86R.", "something else than text, encoded"),
            (b"cnumpy\ndtype\n)R.", "a NumPy dtype without a name"),
            (b"(o.", "an object of no class"),
        ],
    )
    def test_what_is_damaged(self, path, content, expected):
        line = refusal(path, content)
        assert line.startswith("malformed pickle: ")
        assert expected in line

    @pytest.mark.parametrize(
        ("content", "named"),
        [
            (b"cos\nsystem\n\x8c\4true\x85R.", "os.system"),
            (b"\x8c\2os\x8c\6system\x93\x8c\4true\x85R.", "os.system"),
            (b"(ios\nsystem\n.", "os.system"),
            (b"(cos\nsystem\n\x8c\4trueo.", "os.system"),
            (b"csubprocess\nPopen\n)\x81.", "subprocess.Popen"),
            (b"csubprocess\nPopen\n)}\x92.", "subprocess.Popen"),
            (b"\x8c\5torch\x8c\x09os.system\x93)R.", "torch.os.system"),
            (b"K\1)R.", "a value of type int"),
            (b"ca\nb\n)\x81)R.", "an object of a.b"),
            (b"\x82\1.", "what is registered as an extension"),
        ],
    )
    def test_any_call_that_is_not_known(self, path, content, named):
        assert refusal(path, content) == (
            f"refused: the file asks to call {named}; only tensors and plain values are read"
        )

    def test_names_that_would_spoil_the_terminal(self, path):
        line = refusal(path, b"ca\x1b[2J\nb\x85".replace(b"\x85", b"\xc2\x85") + b"\n)R.")
        assert "asks to call a?[2J.b;" in line

    def test_what_a_caller_leaves_out(self, path):
        content = pickle.dumps(np.float32(1), 2)
        assert "asks to call numpy.dtype" in refusal(path, content, calls={})


def test_every_opcode_of_python_is_known():
    import pickletools

    known = {opcode.code.encode("latin-1") for opcode in pickletools.opcodes}
    assert known - ACTIONS.keys() == {b"."}
    assert ACTIONS.keys() <= known


def test_nothing_that_runs_code_is_among_the_calls():
    """A call is a function of ours; the real thing of that name is never reached."""
    for call in CALLS.values():
        assert call.__module__.startswith("sdbatch.weights.")
