"""`.pdparams` files are read like `paddle.load` reads them, and written so that it can."""

import errno
import pickle
import warnings
import weakref
from functools import partial

import numpy as np
import paddle
import pytest

from sdbatch.errors import UserError
from sdbatch.weights.files.paddle_file import open_paddle, write_paddle
from sdbatch.weights.files.tensor_file import DTYPES
from tests.weights.files.refusing import refusal_by
from tests.weights.files.torch_files import Call, Global, dumps

PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3, 4])
PADDLE_TYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8"},
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model_state.pdparams"


def read(path, content: bytes) -> dict[str, np.ndarray]:
    path.write_bytes(content)
    return dict(open_paddle(path).items())


refusal = partial(refusal_by, read)


def state_dict() -> dict[str, paddle.Tensor]:
    """A tensor of every type that Paddle has, and of every number of axes that matters."""
    values = np.random.default_rng(0).integers(0, 2, (2, 3))
    tensors = {name: paddle.to_tensor(values).astype(name) for name in PADDLE_TYPES.values()}
    tensors["scalar"] = paddle.to_tensor(2.5)
    tensors["many"] = paddle.arange(2000, dtype="float32").reshape([5, 20, 20])
    return tensors


class TestReadsWhatPaddleWrote:
    @PROTOCOLS
    def test_a_state_dict(self, path, protocol):
        paddle.save(state_dict(), str(path), protocol=protocol)
        file = open_paddle(path)
        assert list(file.tensors) == list(state_dict())  # and not the table of parameter names
        for name, expected in state_dict().items():
            found = file.read(name)
            assert list(found.shape) == list(expected.shape)
            if name == "bfloat16":
                assert (file.tensors[name].dtype, found.dtype) == ("BF16", np.float32)
                expected = expected.astype("float32")
            assert np.array_equal(found, expected.numpy())
            assert found.dtype == expected.numpy().dtype

    @PROTOCOLS
    def test_tensors_within_something_else(self, path, protocol):
        one = paddle.ones([2], dtype="bfloat16")
        value = {"model": {"w": one}, "list": [paddle.zeros([1])], "step": 7, "lr": 0.5}
        paddle.save(value, str(path), protocol=protocol)
        file = open_paddle(path)
        assert list(file.tensors) == ["model.w", "list.0"]
        assert file.read("model.w").tolist() == [1, 1]
        assert file.metadata == {"step": 7, "lr": 0.5}

    @PROTOCOLS
    def test_a_lone_tensor(self, path, protocol):
        paddle.save(paddle.ones([3]), str(path), protocol=protocol)
        assert open_paddle(path).read("").tolist() == [1, 1, 1]

    @PROTOCOLS
    def test_tensors_of_static_programs(self, path, protocol):
        core = paddle.base.core
        dense = (core.DenseTensor if hasattr(core, "DenseTensor") else core.LoDTensor)()
        dense.set(np.arange(3, dtype=np.float32), paddle.CPUPlace())
        paddle.save({"w": dense, "step": 1}, str(path), protocol=protocol)
        assert b"eval" in path.read_bytes()
        assert open_paddle(path).read("w").tolist() == [0, 1, 2]

    @PROTOCOLS
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_arrays_in_either_order(self, path, protocol, order):
        # 600 values: protocol 2 writes them as text of two lengths
        for shape in [(2, 3, 100), (7,), (1, 5), (0, 3), ()]:
            array = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
            found = read(path, pickle.dumps({"w": np.asarray(array, order=order)}, protocol))
            assert found["w"].shape == shape
            assert np.array_equal(found["w"], array)

    def test_every_byte_as_text(self, path):
        array = np.arange(256, dtype=np.uint8).repeat(20).reshape(2, -1)
        for order in "CF":
            found = read(path, pickle.dumps({"w": np.asarray(array, order=order)}, 2))
            assert np.array_equal(found["w"], array)

    def test_text_longer_than_what_is_read_at_once(self, path):
        array = np.random.default_rng(0).integers(0, 256, 3 << 20).astype(np.uint8)
        assert np.array_equal(read(path, pickle.dumps({"w": array}, 2))["w"], array)

    def test_files_of_python_2(self, path):
        values = np.array([1.5, -2.5], np.float32).tobytes()
        content = (
            b"\x80\x02}U\1wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R"
            b"(K\1K\2\x85cnumpy\ndtype\nU\2f4K\0K\1\x87R(K\3U\1<NNNJ\xff\xff\xff\xff"
            b"J\xff\xff\xff\xffK\0tb\x89U\x08" + values + b"tbs."
        )
        assert read(path, content)["w"].tolist() == [1.5, -2.5]


class TestRefuses:
    def test_tensors_in_pieces(self, path):
        pieces = {"w@@.0": np.ones(2), "UnpackBigParamInfor@@": {"w": {"slices": ["w@@.0"]}}}
        line = refusal(path, pickle.dumps(pieces, 2))
        assert line.startswith("has tensors of over 1 GiB in pieces")
        assert "protocol=4" in line

    def test_what_follows_the_pickle(self, path):
        content = pickle.dumps({"w": np.ones(2)}, 4)
        line = refusal(path, content + b"more")
        assert line.startswith(f"expected {len(content)} bytes, found {len(content) + 4}")

    @pytest.mark.parametrize("cut", [1, 2, 10, 30, 100])
    def test_a_file_that_is_cut(self, path, cut):
        content = pickle.dumps({"w": np.ones(100)}, 4)
        assert "truncated: " in refusal(path, content[:-cut])

    @pytest.mark.parametrize(
        ("array", "expected"),
        [
            (np.array([{}, []], object), "NumPy dtype |O8 is not supported"),
            (np.zeros(2, "c8"), "NumPy dtype <c8 is not supported"),
            (np.zeros(2, ">f4"), "NumPy dtype >f4 is not supported"),
            (np.zeros(2, "U3"), "NumPy dtype <U3 is not supported"),
            (np.zeros(2, "f4,i4"), "a NumPy array of a structured dtype"),
            (np.zeros(2, "M8[s]"), "NumPy dtype <M8 is not supported"),
        ],
    )
    @PROTOCOLS
    def test_other_types(self, path, protocol, array, expected):
        line = refusal(path, pickle.dumps({"layer.w": array}, protocol))
        assert expected in line

    @pytest.mark.parametrize("value", [None, 7, "text", {1, 2}])
    def test_a_pickle_of_something_else(self, path, value):
        assert refusal(path, pickle.dumps(value, 4)).startswith("expected tensors by name")

    @pytest.mark.parametrize(
        "args",
        [
            ("__import__('os').system('true')", {"data": np.ones(1)}),
            ("data", {"data": 1}),
            ("data", {"other": np.ones(1)}),
            ("data", {"data": np.ones(1), "__builtins__": {}}),
            ("data", [np.ones(1)]),
            ("data",),
            ("data", {"data": np.ones(1)}, {}),
        ],
    )
    def test_eval_of_anything_but_what_paddle_writes(self, path, args):
        content = dumps({"w": Call(Global("builtins", "eval"), args)}, 4)
        assert refusal(path, content).startswith("refused: the file asks to call builtins.eval;")


def written() -> list[tuple[str, np.ndarray, str]]:
    values = np.random.default_rng(0).integers(0, 2, (3, 5))
    arrays = [(f"w.{dtype}", values.astype(DTYPES[dtype]), dtype) for dtype in PADDLE_TYPES]
    return [
        *arrays,
        ("empty", np.zeros((0, 3), np.float32), "F32"),
        ("scalar", np.array(2.5, np.float16), "F16"),
        ("transposed", np.arange(6.0).reshape(2, 3).T, "F64"),
        ("字", np.arange(10**5, dtype=np.float32), "F32"),
        *((f"size {i}", np.arange(i, dtype=np.uint8), "U8") for i in range(70)),
    ]


class TestWrites:
    def test_what_paddle_loads(self, path):
        write_paddle(path, written())
        found = paddle.load(str(path))
        assert list(found) == [name for name, _, _ in written()]
        for name, array, dtype in written():
            assert isinstance(found[name], paddle.Tensor)
            assert found[name].dtype == getattr(paddle, PADDLE_TYPES[dtype])
            assert list(found[name].shape) == list(array.shape)
            if dtype == "BF16":
                array = (array.astype("<u4") << 16).view("<f4")
                found[name] = found[name].astype("float32")
            assert np.array_equal(found[name].numpy(), array)

    def test_the_arrays_that_paddle_would_have_written(self, path, tmp_path):
        tensors = state_dict()
        paddle.save(tensors, str(tmp_path / "other"))
        items = ((name, tensor.numpy()) for name, tensor in tensors.items())
        kinds = {v: k for k, v in PADDLE_TYPES.items()}
        write_paddle(path, ((n, a, kinds.get(n, "F32")) for n, a in items))
        expected = paddle.load(str(tmp_path / "other"), return_numpy=True)
        found = paddle.load(str(path), return_numpy=True)
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert isinstance(found[name], np.ndarray)
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name], array)

    def test_what_layers_take(self, path):
        layer = paddle.nn.Linear(2, 3)
        weights = [("weight", np.full((2, 3), 7, np.float32), "F32")]
        write_paddle(path, [*weights, ("bias", np.ones(3, np.float32), "F32")])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            missing, unexpected = layer.set_state_dict(paddle.load(str(path)))
        assert not missing
        assert not unexpected
        assert layer.weight.numpy().tolist() == [[7, 7, 7]] * 2

    def test_what_is_read_here(self, path):
        write_paddle(path, written())
        file = open_paddle(path)
        for name, array, dtype in written():
            assert file.tensors[name].dtype == dtype
            if dtype != "BF16":
                assert np.array_equal(file.read(name), array)

    def test_each_tensor_at_a_multiple_of_64(self, path):
        write_paddle(path, written())
        assert all(info.start % 64 == 0 for info in open_paddle(path).tensors.values())

    def test_one_tensor_at_a_time(self, path):
        before = None

        def tensors():
            nonlocal before
            for i in range(5):
                assert before is None or before() is None
                array = np.ones(1000, np.float32)
                before = weakref.ref(array)
                yield f"w{i}", array, "F32"
                del array

        write_paddle(path, tensors())
        assert len(open_paddle(path).tensors) == 5

    def test_an_empty_file(self, path):
        write_paddle(path, [])
        assert paddle.load(str(path)) == {}
        assert open_paddle(path).tensors == {}

    @pytest.mark.parametrize("dtype", ["U16", "U32", "U64"])
    def test_no_type_that_paddle_lacks(self, path, dtype):
        with pytest.raises(UserError, match=f"w: Paddle has no dtype {dtype}"):
            write_paddle(path, [("w", np.ones(1, DTYPES[dtype]), dtype)])

    def test_no_values_of_another_type(self, path):
        for array, dtype in [(np.ones(1, np.float32), "BF16"), (np.ones(1, ">f4"), "F32")]:
            with pytest.raises(ValueError, match="values for"):
                write_paddle(path, [("w", array, dtype)])

    def test_where_nothing_can_be_written(self, tmp_path):
        with pytest.raises(FileNotFoundError) as caught:
            write_paddle(tmp_path / "nowhere" / "x", [])
        assert caught.value.filename == str(tmp_path / "nowhere" / "x")

    @pytest.mark.parametrize("size", [1, 10**6])
    def test_on_a_disk_that_is_full(self, tmp_path, size):
        (tmp_path / "x").symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left on device") as caught:
            write_paddle(tmp_path / "x", [("w", np.ones(size, np.float32), "F32")])
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "x"))

    def test_what_the_tensors_raise_is_not_of_the_disk(self, path):
        def tensors():
            yield "w", np.ones(1, np.float32), "F32"
            raise FileNotFoundError("the source is gone")

        with pytest.raises(FileNotFoundError, match="the source is gone"):
            write_paddle(path, tensors())
