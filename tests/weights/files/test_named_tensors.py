"""Tensors are named by the keys on the way to them, and lie where their storage is."""

from collections import OrderedDict
from functools import partial

import numpy as np
import pytest

from sdbatch.weights.files.tensor_file import TensorFile
from sdbatch.weights.files.torch_file import open_torch
from tests.weights.files.refusing import refusal_by
from tests.weights.files.torch_files import Global, legacy_file, storage, tensor, view, zip_file

FORMS = pytest.mark.parametrize("form", [zip_file, legacy_file])
ONES = np.ones(4, np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.ckpt"


def opened(path, content: bytes) -> TensorFile:
    path.write_bytes(content)
    return open_torch(path)


refusal = partial(refusal_by, opened)


class TestNames:
    @FORMS
    def test_are_the_keys_on_the_way(self, path, form):
        value = {"a.b": tensor("0", ONES), "c": [{"d": tensor("1", ONES)}, (tensor("2", ONES),)]}
        assert list(opened(path, form(value)).tensors) == ["a.b", "c.0.d", "c.1.0"]

    @FORMS
    def test_of_keys_that_are_no_strings(self, path, form):
        value = {0: tensor("0", ONES), Global("a.b", "C"): {None: tensor("1", ONES)}}
        assert list(opened(path, form(value)).tensors) == ["0", "a.b.C.None"]

    def test_of_a_lone_tensor_is_empty(self, path):
        assert list(opened(path, zip_file(tensor("0", ONES))).tensors) == [""]

    def test_once_where_a_container_is_shared(self, path):
        shared = OrderedDict(a=tensor("0", ONES))
        assert list(opened(path, zip_file({"x": shared, "y": shared})).tensors) == ["x.a"]

    def test_twice_where_a_tensor_is_shared(self, path):
        shared = tensor("0", ONES)
        assert list(opened(path, zip_file({"x": shared, "y": shared})).tensors) == ["x", "y"]

    def test_in_a_container_that_contains_itself(self, path):
        value = {"a": tensor("0", ONES)}
        value["again"] = [value, {"b": value}]
        assert list(opened(path, zip_file(value)).tensors) == ["a"]

    def test_that_come_out_the_same_are_refused(self, path):
        value = {"a": {"b": tensor("0", ONES)}, "a.b": tensor("1", ONES)}
        assert refusal(path, zip_file(value)) == "a.b: there are two tensors of that name"

    def test_nested_too_deeply_are_refused(self, path):
        value = tensor("0", ONES)
        for _ in range(40):
            value = [value]
        assert refusal(path, zip_file(value)).endswith("nested too deeply")


class TestMetadata:
    def test_has_plain_values_outside_the_optimizer(self, path):
        value = {
            "epoch": 3,
            "name": "v1",
            "nested": {"lr": 1e-4, "nothing": None},
            "optimizer_states": [{"param_groups": [{"lr": 1.0}]}],
            "long": "x" * 600,
            "longer": "x" * 2000,
            "w": tensor("0", ONES),
        }
        assert opened(path, zip_file(value)).metadata == {
            "epoch": 3,
            "name": "v1",
            "nested.lr": 1e-4,
        }

    def test_has_the_names_of_classes(self, path):
        value = {"dtype": Global("torch", "float16"), "w": tensor("0", ONES)}
        assert opened(path, zip_file(value)).metadata == {"dtype": "torch.float16"}


class TestRefuses:
    @FORMS
    @pytest.mark.parametrize(
        ("offset", "shape", "strides", "expected"),
        [
            (0, (5,), (1,), "needs more than its storage, which has 4 elements"),
            (1, (4,), (1,), "needs more than its storage"),
            (2**62, (1,), (1,), "needs more than its storage"),
            (0, (2, 2), (2, 2), "needs more than its storage"),
            (0, (2**30, 2**20), (0, 0), "needs more than its storage"),
            (0, (100,), (0,), "F32 of shape [100] at 0 with strides [0] needs more than"),
            (0, (2, 2), (2**62, 2**62), "needs more than its storage"),
            (-1, (1,), (1,), "shape [1] with 1 strides"),
            (2**64, (1,), (1,), "shape [1] with 1 strides"),
            (None, (1,), (1,), "shape [1] with 1 strides"),
            (0, (2,), (1, 1), "shape [2] with 2 strides"),
            (0, (-2,), (1,), "malformed shape"),
            (0, (2,), (-1,), "malformed strides"),
            (0, [2], (1,), "malformed shape"),
            (0, (2.0,), (1,), "malformed shape"),
            (0, (True,), (1,), "malformed shape"),
            (0, "ab", (1,), "malformed shape"),
            (0, (1,) * 33, (1,) * 33, "malformed shape"),
            (0, (2**40, 2**40, 2**40), (0, 0, 0), "is too large"),
            (0, (2**62, 0), (0, 1), "is too large"),
        ],
    )
    def test_tensors_beyond_their_storage(self, path, form, offset, shape, strides, expected):
        line = refusal(
            path, form({"layer.weight": view(storage("0", ONES), offset, shape, strides)})
        )
        assert line.startswith("layer.weight: ")
        assert expected in line
