"""The reader takes what the safetensors library writes, and refuses anything else in one line."""

import json
import struct
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from sdbatch.errors import UserError
from sdbatch.weights.files.safetensors import open_safetensors
from tests.weights.files.handmade import bfloat16_file, file_bytes, rounded_to_bfloat16
from tests.weights.files.refusing import refusal_by

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DTYPES = [
    *("float64", "float32", "float16", "bool"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
]
WHOLE = save(
    {
        "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
        "half": np.ones(3, np.float16),
        "none": np.zeros((0, 4), np.int64),
        "one": np.array(7, np.int32),
    }
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("safetensors") / "file.safetensors"


def read(path, content: bytes) -> dict[str, np.ndarray]:
    path.write_bytes(content)
    return dict(open_safetensors(path).items())


refusal = partial(refusal_by, read)


class TestReads:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_what_the_library_writes(self, path, dtype):
        expected = np.random.default_rng(0).integers(0, 2, (3, 1, 4)).astype(dtype)
        found = read(path, save({"x": expected}))["x"]
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert np.array_equal(found, expected)

    def test_empty_tensors_and_scalars(self, path):
        found = read(path, WHOLE)
        assert found["none"].shape == (0, 4)
        assert found["none"].dtype == np.int64
        assert found["one"].shape == ()
        assert found["one"] == 7

    def test_bfloat16_as_float32_without_loss(self, path):
        values = np.array([[1.0, -3.140625, np.inf], [0.0, -0.0, 2.0**-133]], np.float32)
        found = read(path, bfloat16_file({"x": values}))["x"]
        assert found.dtype == np.float32
        assert np.array_equal(found, values)
        assert np.signbit(found[1, 1])

    def test_bfloat16_as_its_own_bits(self, path):
        values = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
        found = read(path, bfloat16_file({"x": values}))["x"]
        assert np.array_equal(found, rounded_to_bfloat16(values))

    def test_empty_bfloat16_as_float32(self, path):
        entry = {"dtype": "BF16", "shape": [0, 3], "data_offsets": [0, 0]}
        found = read(path, file_bytes({"x": entry}))["x"]
        assert (found.dtype, found.shape) == (np.float32, (0, 3))

    def test_a_file_without_tensors(self, path):
        assert read(path, save({}, {"format": "np"})) == {}

    def test_unaligned_data(self, path):
        header = json.dumps({"x": F32}).encode()
        header += b" " * (1 - len(header) % 2)  # an odd length: the data start at an odd byte
        values = np.array([1.5, -2.5], "<f4")
        assert np.array_equal(read(path, file_bytes(header, values.tobytes()))["x"], values)

    def test_tensors_in_the_order_they_lie_in(self, path):
        second = {**F32, "data_offsets": [8, 16]}
        assert list(read(path, file_bytes({"b": second, "a": F32}, bytes(16)))) == ["a", "b"]

    def test_only_a_private_copy_is_written_to(self, path):
        read(path, WHOLE)["matrix"][:] = 9
        assert path.read_bytes() == WHOLE


class TestRefuses:
    @given(cut=st.integers(0, len(WHOLE) - 1))
    def test_a_file_cut_at_any_byte(self, path, cut):
        refusal(path, WHOLE[:cut])

    def test_a_cut_naming_both_lengths(self, path):
        expected = f"truncated: expected {len(WHOLE)} bytes, found {len(WHOLE) - 1}"
        assert refusal(path, WHOLE[:-1]) == expected

    def test_more_bytes_than_the_header_accounts_for(self, path):
        line = refusal(path, WHOLE + b"\0")
        assert f"expected {len(WHOLE)} bytes, found {len(WHOLE) + 1}" in line

    @pytest.mark.parametrize("length", [5, 1 << 20, 1 << 40, (1 << 64) - 1])
    def test_a_header_length_beyond_the_file(self, path, length):
        line = refusal(path, struct.pack("<Q", length) + b"{}")
        assert f"the header should have {length} bytes, the file has 10 in all" in line

    @pytest.mark.parametrize("header", [b"", b"{", b"not json", b"\xff\xfe\xfd", b"[" * 10**5])
    def test_a_header_that_is_not_json(self, path, header):
        assert "its header is not JSON" in refusal(path, file_bytes(header))

    @pytest.mark.parametrize("header", [[], 1, "x", None])
    def test_a_header_that_is_not_an_object(self, path, header):
        assert "its header is not a JSON object" in refusal(path, file_bytes(header))

    @pytest.mark.parametrize(
        "change",
        [
            {"data_offsets": [-8, 0]},
            {"data_offsets": [0, -8]},
            {"data_offsets": [0]},
            {"data_offsets": ["0", "8"]},
            {"data_offsets": [0, 10**400]},
            {"shape": [-1, -2]},
            {"shape": [2.0]},
            {"shape": "2"},
            {"shape": [1] * 40},
            {"shape": [2**62, 0]},
            {"shape": [True, 2]},
            {"dtype": ["F32"]},
            {"dtype": None},
        ],
    )
    def test_a_malformed_entry(self, path, change):
        line = refusal(path, file_bytes({"the.key": {**F32, **change}}, bytes(8)))
        assert line.startswith("the.key: malformed entry in the header: ")

    @pytest.mark.parametrize("entry", [None, 1, "a\nb", [], {}, {"dtype": "F32"}])
    def test_an_entry_that_is_something_else(self, path, entry):
        assert "the.key: malformed entry" in refusal(path, file_bytes({"the.key": entry}))

    def test_an_unknown_dtype_naming_the_known_ones(self, path):
        line = refusal(path, file_bytes({"x": {**F32, "dtype": "F8_E4M3"}}, bytes(8)))
        assert line.startswith("x: dtype F8_E4M3 is not supported; expected one of F64, F32, F16,")

    def test_a_shape_that_needs_other_bytes_than_given(self, path):
        line = refusal(path, file_bytes({"x": {**F32, "shape": [3]}}, bytes(8)))
        assert line == "x: F32 of shape [3] needs 12 bytes, the header gives it 8"

    @pytest.mark.parametrize("offset", [0, 4, 12])
    def test_tensors_that_overlap_or_leave_a_gap(self, path, offset):
        other = {**F32, "data_offsets": [offset, offset + 8]}
        line = refusal(path, file_bytes({"x": F32, "y": other}, bytes(20)))
        assert "the tensors overlap or leave a gap" in line

    def test_a_missing_file_or_a_folder(self, tmp_path):
        with pytest.raises(UserError, match=r"nowhere: cannot be read: No such file"):
            open_safetensors(tmp_path / "nowhere")
        with pytest.raises(UserError, match="cannot be read: Is a directory"):
            open_safetensors(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
sizes = st.lists(st.integers(-1, 4) | st.sampled_from([2**31, 2**63]), max_size=4)
entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "BF16", "U8", "F4"]) | json_values,
        "shape": sizes | json_values,
        "data_offsets": st.lists(st.integers(-1, 40), min_size=2, max_size=2) | json_values,
    },
)
headers = st.dictionaries(st.text(max_size=4), entries | json_values, max_size=3)


class TestAnyBytesAreReadOrRefused:
    """Nothing but a UserError of one line ever comes out."""

    def check(self, path, content: bytes) -> None:
        try:
            read(path, content)
        except UserError as error:
            assert len(str(error).splitlines()) == 1
            assert str(path) in str(error)

    @given(content=st.binary(max_size=64))
    def test_random_bytes(self, path, content):
        self.check(path, content)

    @given(header=st.binary(max_size=64))
    def test_random_headers(self, path, header):
        self.check(path, file_bytes(header))

    @given(header=headers | json_values, data=st.binary(max_size=40))
    def test_random_json(self, path, header, data):
        self.check(path, file_bytes(header, data))

    @given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255))
    def test_a_whole_file_with_one_byte_changed(self, path, at, byte):
        self.check(path, WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])


def test_the_library_and_the_reader_agree_on_a_file_on_disk(tmp_path):
    tensors = {"b": np.eye(3, dtype=np.float32), "a": np.arange(5)}
    save_file(tensors, tmp_path / "x.safetensors", {"format": "pt"})
    file = open_safetensors(tmp_path / "x.safetensors")
    assert file.tensors.keys() == tensors.keys()
    for key, expected in tensors.items():
        assert np.array_equal(file.read(key), expected)
