"""Layers are built without values and filled strictly: every weight once, exactly."""

import gc

import numpy as np
import paddle
import pytest
from paddle import nn
from safetensors.numpy import save_file

from sdbatch.errors import UserError
from sdbatch.models import layers
from sdbatch.weights.files.safetensors import open_safetensors
from sdbatch.weights.files.tensor_file import widened
from sdbatch.weights.load import bfloat16_bits, build, fill
from sdbatch.weights.maps import Layout
from tests.weights.files.handmade import bfloat16_file, rounded_to_bfloat16

SHAPES = {  # as PyTorch stores them
    "square.weight": (4, 4),
    "square.bias": (4,),
    "wide.weight": (6, 4),
    "wide.bias": (6,),
    "conv.weight": (4, 4, 3, 3),
    "conv.bias": (4,),
    "ours.weight": (4, 4),
    "ours.bias": (4,),
    "norm.weight": (4,),
    "norm.bias": (4,),
    "table.weight": (4, 4),
}


class Network(nn.Layer):
    """One layer of each kind that owns weights."""

    def __init__(self):
        super().__init__()
        self.square = nn.Linear(4, 4)
        self.wide = nn.Linear(4, 6)
        self.conv = nn.Conv2D(4, 4, 3)
        self.ours = layers.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.table = nn.Embedding(4, 4)


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {key: generator.standard_normal(s).astype(np.float32) for key, s in SHAPES.items()}


AS_IS = Layout()


def filled(weights, dtype="float32", layout=AS_IS) -> nn.Layer:
    network = build(Network, dtype)
    fill(network, weights.items(), layout, source="folder/unet")
    return network


def refusal(weights, layout=AS_IS) -> str:
    with pytest.raises(UserError) as caught:
        filled(weights, layout=layout)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert line.startswith("folder/unet: ")
    return line.removeprefix("folder/unet: ")


def assert_holds(network, weights) -> None:
    """Every parameter is the PyTorch weight; only those of `nn.Linear` are transposed."""
    found = dict(network.named_parameters())
    assert found.keys() == weights.keys()
    for key, expected in weights.items():
        if key in ("square.weight", "wide.weight"):
            expected = expected.T
        assert np.array_equal(found[key].numpy(), expected), key


class TestBuild:
    def test_gives_shapes_but_no_values(self):
        for parameter in build(Network, "float32").parameters():
            assert parameter.shape
            assert not parameter._is_initialized()

    def test_gives_the_dtype_and_leaves_the_default_alone(self):
        before = paddle.get_default_dtype()
        network = build(Network, "float16")
        assert {p.dtype for p in network.parameters()} == {paddle.float16}
        assert paddle.get_default_dtype() == before

    def test_is_for_inference(self):
        network = build(Network, "float32")
        assert not network.training
        assert all(p.stop_gradient for p in network.parameters())


class TestFill:
    def test_sets_every_weight_and_transposes_only_paddles_linear_ones(self, weights):
        assert_holds(filled(weights), weights)

    def test_a_bare_linear_layer_is_transposed_too(self, weights):
        layer = build(lambda: nn.Linear(4, 4), "float32")
        names = {"weight": weights["square.weight"], "bias": weights["square.bias"]}
        fill(layer, names.items(), AS_IS, source="x")
        assert np.array_equal(layer.weight.numpy(), weights["square.weight"].T)

    def test_a_filled_layer_computes_what_pytorch_would(self, weights):
        network = filled(weights)
        x = np.arange(8, dtype=np.float32).reshape(2, 4)
        for name in ("square", "wide", "ours"):
            expected = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
            found = getattr(network, name)(paddle.to_tensor(x)).numpy()
            assert np.allclose(found, expected, atol=1e-5), name

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    def test_casts_to_the_layers_dtype(self, weights, dtype):
        weights = {key: array.astype(dtype) for key, array in weights.items()}
        network = filled(weights)
        assert {p.dtype for p in network.parameters()} == {paddle.float32}
        assert_holds(network, {k: a.astype(np.float32) for k, a in weights.items()})

    def test_casts_to_float16_by_rounding_to_the_nearest(self, weights):
        network = filled(weights, "float16")
        assert {p.dtype for p in network.parameters()} == {paddle.float16}
        assert_holds(network, {k: a.astype(np.float16) for k, a in weights.items()})

    def test_casts_to_bfloat16_by_rounding_to_the_nearest_even(self):
        values = np.array([1.0, 1.00390625, 1.01171875, 1.005, -1.003, np.inf], np.float32)
        layer = build(lambda: nn.LayerNorm(6), "bfloat16")
        fill(layer, {"weight": values, "bias": values}.items(), AS_IS, source="x")
        assert layer.weight.dtype == paddle.bfloat16
        found = layer.weight.astype("float32").numpy().tolist()
        assert found == [1.0, 1.0, 1.015625, 1.0078125, -1.0, np.inf]

    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    def test_weights_outlive_their_file(self, weights, tmp_path, dtype):
        path = tmp_path / "x.safetensors"
        weights = {key: array.astype(dtype) for key, array in weights.items()}
        save_file(weights, path)
        network = build(Network, "float32")
        fill(network, open_safetensors(path).items(), AS_IS, source=str(path))
        path.unlink()
        gc.collect()
        junk = [np.full(1000, np.nan) for _ in range(1000)]  # takes memory that was set free
        assert_holds(network, {k: a.astype(np.float32) for k, a in weights.items()})
        del junk

    def test_casts_from_bfloat16_files(self, weights, tmp_path):
        path = tmp_path / "x.safetensors"
        path.write_bytes(bfloat16_file(weights))
        network = build(Network, "float32")
        fill(network, open_safetensors(path).items(), AS_IS, source=str(path))
        assert_holds(network, {k: rounded_to_bfloat16(a) for k, a in weights.items()})

    def test_a_layer_filled_from_a_file_never_writes_to_it(self, weights, tmp_path):
        path = tmp_path / "x.safetensors"
        save_file(weights, path)
        before = path.read_bytes()
        network = build(Network, "float32")
        fill(network, open_safetensors(path).items(), AS_IS, source=str(path))
        with paddle.no_grad():
            for parameter in network.parameters():
                parameter.set_value(paddle.zeros_like(parameter))
        assert path.read_bytes() == before


class TestRefuses:
    def test_a_key_that_nobody_uses(self, weights):
        line = refusal({**weights, "extra.weight": np.zeros(3)})
        assert line == "extra.weight: unexpected key, no such weight in this model"

    def test_a_weight_that_nobody_sets(self, weights):
        del weights["norm.bias"]
        assert refusal(weights) == "missing key: norm.bias not in the checkpoint"

    def test_several_missing_weights_by_the_first_and_their_number(self, weights):
        del weights["norm.bias"], weights["conv.bias"], weights["table.weight"]
        assert refusal(weights) == "missing key: conv.bias and 2 more not in the checkpoint"

    def test_a_weight_that_is_set_twice(self, weights):
        twice = {**weights, "old.norm.bias": weights["norm.bias"]}
        line = refusal(twice, Layout(lambda key, array: [(key.removeprefix("old."), array)]))
        assert line == "old.norm.bias and norm.bias are both the weight norm.bias"

    @pytest.mark.parametrize(
        ("key", "shape"),
        [
            ("wide.weight", (4, 6)),
            ("conv.weight", (4, 4, 1, 1)),
            ("norm.bias", (4, 1)),
            ("norm.weight", ()),
            ("square.weight", (16,)),
        ],
    )
    def test_another_shape_even_of_as_many_values(self, weights, key, shape):
        line = refusal({**weights, key: np.zeros(shape, np.float32)})
        assert line == f"{key}: expected shape {list(SHAPES[key])}, found {list(shape)}"


class TestBfloat16Bits:
    def test_no_nan_becomes_a_number(self):
        nans = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7FC00000], np.uint32)
        assert np.isnan(widened(bfloat16_bits(nans.view(np.float32)))).all()

    def test_values_that_fit_stay_bit_for_bit(self):
        bits = np.arange(1 << 16, dtype=np.uint16)
        numbers = bits[~np.isnan(widened(bits))]
        assert np.array_equal(bfloat16_bits(widened(numbers)), numbers)
