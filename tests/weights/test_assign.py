"""What becomes of a tensor that a layer stores in another way, told by the type of the layer."""

import numpy as np
import pytest
from paddle import nn

from sdbatch.errors import UserError
from sdbatch.models import layers
from sdbatch.weights.assign import Targets, assigned
from sdbatch.weights.load import build, fill
from sdbatch.weights.maps import Layout


class Network(nn.Layer):
    """Linear layers of both kinds, convolutions of both kinds, running statistics."""

    def __init__(self):
        super().__init__()
        self.theirs = nn.Linear(3, 3, bias_attr=False)
        self.ours = layers.Linear(3, 3, bias=False)
        self.point = nn.Conv2D(3, 3, 1, bias_attr=False)
        self.norm = nn.BatchNorm2D(3, weight_attr=False, bias_attr=False)


SQUARE = np.arange(9, dtype=np.float32).reshape(3, 3)
WEIGHTS = {
    "theirs.weight": SQUARE,
    "ours.weight": SQUARE,
    "point.weight": SQUARE[:, :, None, None],
    "norm.running_mean": np.float32([1, 2, 3]),
    "norm.running_var": np.float32([4, 5, 6]),
    "norm.num_batches_tracked": np.array(7),
}


@pytest.fixture
def targets() -> Targets:
    return Targets.of(build(Network, "float32"))


def given(targets, weights, layout=None, **more) -> dict[str, np.ndarray]:
    """Target name -> array, in PyTorch's order."""
    found = assigned(targets, weights.items(), layout or Layout(), source="folder", **more)
    return {item.target: item.array for item in found}


def test_running_statistics_have_other_names_and_their_counter_goes_nowhere(targets):
    found = given(targets, WEIGHTS)
    assert found["norm._mean"].tolist() == [1, 2, 3]
    assert found["norm._variance"].tolist() == [4, 5, 6]
    assert found.keys() == targets.tensors.keys()


def test_a_filled_batch_norm_has_them():
    network = build(Network, "float32")
    fill(network, WEIGHTS.items(), Layout(), source="folder")
    assert network.norm._mean.numpy().tolist() == [1, 2, 3]
    assert network.norm._variance.numpy().tolist() == [4, 5, 6]


def test_only_batch_norms_rename(targets):
    weights = dict(WEIGHTS)
    weights["ours.running_mean"] = weights.pop("norm.running_mean")
    with pytest.raises(UserError, match=r"ours\.running_mean: unexpected key"):
        given(targets, weights)


def test_both_kinds_of_linear_weights_are_marked(targets):
    found = assigned(targets, WEIGHTS.items(), Layout(), source="folder")
    assert {item.target for item in found if item.linear} == {"theirs.weight", "ours.weight"}


def test_a_source_in_paddles_order_is_turned_even_where_square(targets):
    found = given(targets, WEIGHTS, Layout(linear_in_out=True))
    assert np.array_equal(found["theirs.weight"], SQUARE.T)
    assert np.array_equal(found["ours.weight"], SQUARE.T)
    assert np.array_equal(found["point.weight"][:, :, 0, 0], SQUARE)


def test_a_1x1_convolution_is_a_linear_layer_and_the_reverse(targets):
    weights = {
        **WEIGHTS,
        "theirs.weight": SQUARE[:, :, None, None],
        "ours.weight": SQUARE[:, :, None, None],
        "point.weight": SQUARE,
    }
    for layout in (Layout(), Layout(linear_in_out=True)):  # convolutions are the same in Paddle
        found = given(targets, weights, layout)
        assert np.array_equal(found["theirs.weight"], SQUARE)
        assert np.array_equal(found["ours.weight"], SQUARE)
        assert np.array_equal(found["point.weight"], SQUARE[:, :, None, None])


def test_a_patch_sees_diffusers_names_and_pytorchs_order(targets):
    seen = {}

    def patch(name, array):
        seen[name] = array
        return array + 1

    layout = Layout(lambda key, array: [(key.removeprefix("x."), array)], linear_in_out=True)
    weights = {f"x.{key}": array for key, array in WEIGHTS.items()}
    found = given(targets, weights, layout, patch=patch)
    assert np.array_equal(seen["theirs.weight"], SQUARE.T)
    assert np.array_equal(found["theirs.weight"], SQUARE.T + 1)


def test_what_a_patch_makes_must_fit_too(targets):
    with pytest.raises(UserError, match=r"theirs\.weight: expected shape \[3, 3\], found \[4, 3\]"):
        given(targets, WEIGHTS, patch=lambda name, array: np.concatenate([array, array[:1]]))


def test_droppable_keys_are_left_out_and_only_those(targets):
    weights = {**WEIGHTS, "position_ids": np.arange(3)}
    layout = Layout(droppable=((r"position_ids", "a constant"),))
    assert given(targets, weights, layout).keys() == targets.tensors.keys()
    with pytest.raises(UserError, match="old_position_ids: unexpected key"):
        given(targets, {**WEIGHTS, "old_position_ids": np.arange(3)}, layout)


def test_stand_ins_without_memory_will_do(targets):
    stand_ins = {k: np.broadcast_to(np.float32(0), a.shape) for k, a in WEIGHTS.items()}
    assert given(targets, stand_ins).keys() == targets.tensors.keys()
    with pytest.raises(UserError, match="expected shape"):
        given(targets, {**stand_ins, "ours.weight": np.broadcast_to(np.float32(0), (1 << 40, 3))})
