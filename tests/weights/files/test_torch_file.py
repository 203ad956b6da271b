"""Files of `torch.save` read without PyTorch: what it wrote, value for value, or one line why not.

The files in tests/golden/torch_files are PyTorch's own (tools/golden_torch_files.py); others are
made by hand, in the same bytes.
"""

import json
import re
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sdbatch.errors import UserError
from sdbatch.weights.files.tensor_file import TensorFile
from sdbatch.weights.files.torch_file import open_torch
from tests.weights.files.refusing import refusal_by
from tests.weights.files.torch_files import (
    SYSTEM,
    Call,
    Global,
    Storage,
    archive,
    legacy_file,
    storage,
    tensor,
    view,
    zip_file,
    zip_members,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "torch_files"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))["files"]
FORMS = pytest.mark.parametrize("form", [zip_file, legacy_file])
ONES = np.ones(4, np.float32)


def golden_tensors(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "expected.npz") as file:
        prefix = f"{name}/"
        return {key.removeprefix(prefix): file[key] for key in file.files if key.startswith(prefix)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.ckpt"


def opened(path, content: bytes) -> TensorFile:
    path.write_bytes(content)
    return open_torch(path)


refusal = partial(refusal_by, opened)


class TestReadsWhatPyTorchWrote:
    @pytest.mark.parametrize("name", EXPECTED)
    def test_every_tensor(self, name):
        file = open_torch(GOLDEN / name)
        expected = golden_tensors(name)
        assert file.tensors.keys() == expected.keys()
        for key, array in expected.items():
            found = file.read(key)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert found.tobytes() == array.tobytes()

    @pytest.mark.parametrize("name", EXPECTED)
    def test_every_plain_value(self, name):
        assert open_torch(GOLDEN / name).metadata == EXPECTED[name]

    def test_types_as_they_are_stored(self):
        tensors = open_torch(GOLDEN / "dtypes.pt").tensors
        assert tensors["bfloat16"].dtype == "BF16"
        assert tensors["uint16"].dtype == "U16"
        assert tensors["bool"].dtype == "BOOL"

    @pytest.mark.parametrize("name", ["views.pt", "views_legacy.pt"])
    def test_tensors_of_one_storage_lie_in_the_same_bytes(self, name):
        tensors = open_torch(GOLDEN / name).tensors
        assert tensors["base"] == tensors["tied"]
        assert tensors["row"].start == tensors["base"].start + 12 * 4
        assert tensors["row"].strides is None
        assert tensors["transposed"].strides == (1, 6)
        assert tensors["position_ids"].strides is None

    def test_but_no_whole_module(self):
        expected = "found an object of torch.nn.modules.linear.Linear"
        with pytest.raises(UserError, match=re.escape(expected)):
            open_torch(GOLDEN / "module.pt")

    def test_and_no_program(self):
        with pytest.raises(UserError, match="a TorchScript archive, which holds a program"):
            open_torch(GOLDEN / "script.pt")


class TestFilesMadeByHandAreThoseOfPyTorch:
    def test_zip(self):
        genuine = (GOLDEN / "bare.pt").read_bytes()
        members = zip_members(tensor("0", np.arange(3)))
        members[".data/serialization_id"] = re.search(rb"[0-9]{40}", genuine)[0]
        assert archive({f"bare/{name}": data for name, data in members.items()}) == genuine

    def test_legacy(self):
        genuine = (GOLDEN / "bare_legacy.pt").read_bytes()
        key = re.search(rb"LongStorage\nq.X.\0\0\0(\d+)", genuine, re.DOTALL)[1].decode()
        assert legacy_file(tensor(key, np.arange(3))) == genuine


class TestZip:
    def test_members_at_the_top(self, path):
        assert list(opened(path, archive(zip_members({"a": tensor("0", ONES)}))).tensors) == ["a"]

    def test_files_before_byteorder_was_written(self, path):
        members = zip_members({"a": tensor("0", ONES)})
        del members["byteorder"]
        assert list(opened(path, archive(members)).tensors) == ["a"]

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({"byteorder": b"big"}, "byte order big; expected little"),
            ({"constants.pkl": b"N."}, "a TorchScript archive"),
            ({"data.pkl": None, "other": b""}, "a zip archive with 0 files data.pkl"),
            ({"b/data.pkl": b"N."}, "a zip archive with 2 files data.pkl"),
            ({"data/0": None}, "a: its storage 0 is missing"),
            ({"data/0": bytes(15)}, "a: its storage 0 should have 16 bytes, the file has 15"),
            ({"data.pkl": b"N."}, "expected tensors by name (a state_dict), found a single value"),
        ],
    )
    def test_refuses_other_archives(self, path, changed, expected):
        members = zip_members({"a": tensor("0", ONES)}) | changed
        content = archive({name: data for name, data in members.items() if data is not None})
        assert refusal(path, content).startswith(expected)


class TestLegacy:
    def test_storages_that_are_parts_of_others(self, path):
        kind = Global("torch", "FloatStorage")
        content = np.arange(10, dtype=np.float32).tobytes()
        part = Storage("k", kind, 10, content, ("v", 4, 5))
        found = opened(path, legacy_file({"a": view(part, 1, (2,), (2,))}))
        assert found.read("a").tolist() == [5, 7]

    def test_modules_with_their_source(self, path):
        content = legacy_file({"a": 1})
        pickled = b"\x80\x02(X\6\0\0\0modulecmy.models\nNet\nX\1\0\0\0fX\4\0\0\0codetQ)\x81}b."
        start = content.index(b"\x80\x02}", 30)
        line = refusal(path, content[:start] + pickled + b"\x80\2].")
        assert line.endswith("found an object of my.models.Net")

    def test_refuses_the_other_byte_order(self, path):
        content = legacy_file({"a": tensor("0", ONES)}, system={**SYSTEM, "little_endian": False})
        assert refusal(path, content) == "byte order big; expected little"

    def test_refuses_storages_that_are_missing(self, path):
        content = legacy_file({"a": tensor("0", ONES)})
        at = content.index(b"\x80\x02]q\0X\1\0\0\0")  # the list of storages
        assert refusal(path, content[:at] + b"\x80\x02].") == "a: its storage 0 is missing"

    @pytest.mark.parametrize("cut", range(1, 25))
    def test_refuses_a_file_that_is_cut(self, path, cut):
        content = legacy_file({"a": tensor("0", ONES)})
        assert "truncated: " in refusal(path, content[:-cut])

    def test_refuses_tar_archives_of_the_first_versions(self, path):
        content = bytes(257) + b"ustar" + bytes(250)
        assert refusal(path, content).startswith("a tar archive, which PyTorch wrote before 0.1.10")


class TestRefusesTensors:
    @FORMS
    @pytest.mark.parametrize("kind", ["ComplexFloatStorage", "QInt8Storage", "Anything"])
    def test_of_other_types(self, path, form, kind):
        content = form({"a": tensor("0", ONES, kind)})
        assert f"torch.{kind} is not supported" in refusal(path, content)

    @pytest.mark.parametrize(
        "function",
        ["_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_meta_tensor_no_storage"],
    )
    def test_of_other_kinds(self, path, function):
        value = Call(Global("torch._utils", function), (storage("0", ONES), 0, (4,), (1,)))
        assert f"asks to call torch._utils.{function};" in refusal(path, zip_file(value))

    @pytest.mark.parametrize("mark", ["neg", "conj"])
    def test_whose_values_are_stored_as_others(self, path, mark):
        rebuild = Global("torch._utils", "_rebuild_tensor_v2")
        args = (storage("0", ONES), 0, (4,), (1,), False, OrderedDict(), {mark: True})
        assert "negated or conjugated" in refusal(path, zip_file({"a": Call(rebuild, args)}))

    def test_with_attributes_that_are_made_by_something_else(self, path):
        function = Global("torch._tensor", "_rebuild_from_type_v2")
        inner = (Global("os", "system"), Global("torch", "Tensor"), ("true",), {})
        assert "asks to call os.system;" in refusal(path, zip_file({"a": Call(function, inner)}))

    @pytest.mark.parametrize(
        "identity",
        [b"K\1", b"X\7\0\0\0storage", b"X\7\0\0\0storage\x85", b"(NNNNNt", b"(X\6\0\0\0moduleNNNt"],
    )
    @pytest.mark.parametrize("form", ["zip", "legacy"])
    def test_of_storages_without_an_id(self, path, form, identity):
        pickled = b"\x80\x02" + identity + b"Q."
        content = archive({"a/data.pkl": pickled})
        if form == "legacy":
            start = legacy_file({"a": 1})
            content = start[: start.index(b"\x80\x02}", 30)] + pickled
        assert "a malformed id of a storage" in refusal(path, content)


def test_a_missing_file_or_a_folder(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: cannot be read: No such file"):
        open_torch(tmp_path / "nowhere")
    with pytest.raises(UserError, match="cannot be read: expected a file, this is a folder"):
        open_torch(tmp_path)


def test_a_file_of_another_format(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(b"something")
    with pytest.raises(UserError, match=r"expected a file that torch\.save wrote"):
        open_torch(tmp_path / "x.ckpt")
