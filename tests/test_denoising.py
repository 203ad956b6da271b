"""The network's calls: which rows it is given, how often it runs, what is kept between."""

from dataclasses import dataclass, field

import numpy as np
import paddle
import pytest

from sdbatch.denoising import Denoising, Reading
from sdbatch.guidance import Guidance
from sdbatch.shortcuts import Shortcuts
from tests.examples import a_request


@dataclass
class Network:
    """Predicts each row's text; deep features are each row's text too. Writes down its calls."""

    dtype: str = "float32"
    calls: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, x, timesteps, context, pooled, time_ids, scale):
        self.calls.append(("plain", len(x)))
        return x * 0 + context

    def whole(self, x, timesteps, context, pooled, time_ids, scale):
        self.calls.append(("whole", len(x)))
        return x * 0 + context, context

    def outermost(self, x, timesteps, context, deep, pooled, time_ids, scale):
        self.calls.append(("outermost", len(x)))
        assert np.array_equal(context.numpy(), deep.numpy())  # every row has its own features
        return x * 0 + deep


def texts(*values: float) -> paddle.Tensor:
    return paddle.to_tensor(values, dtype="float32").reshape([-1, 1, 1, 1])


def run(shortcuts: Shortcuts, calls: int = 6, guided: bool = True):
    """Two pictures, whose prompts say 1 and 2 and whose negative prompts say -1 and -2."""
    network = Network()
    guidance = Guidance.of([a_request(guidance_scale=3.0)] * 2) if guided else None
    reading = Reading(texts(-1, -2, 1, 2) if guided else texts(1, 2))
    plan = shortcuts.calls(calls, guided=guided)
    denoise = Denoising(network, plan, reading, guidance, None)
    outputs = [denoise(paddle.zeros([2, 1, 1, 1]), 1.0).flatten().tolist() for _ in range(calls)]
    return network.calls, outputs


GUIDED, CONDITIONAL = [5.0, 10.0], [1.0, 2.0]  # -1 + 3 * 2, -2 + 3 * 4


def test_without_shortcuts_the_network_runs_plainly_for_both_halves():
    assert run(Shortcuts()) == ([("plain", 4)] * 6, [GUIDED] * 6)


def test_without_guidance_it_runs_for_the_prompts_alone():
    assert run(Shortcuts(), guided=False) == ([("plain", 2)] * 6, [CONDITIONAL] * 6)


def test_outside_the_interval_it_runs_for_the_prompts_alone():
    calls, outputs = run(Shortcuts(guidance_interval=(0.3, 0.7)))
    assert calls == [("plain", n) for n in (2, 2, 4, 4, 2, 2)]
    assert outputs == [CONDITIONAL] * 2 + [GUIDED] * 2 + [CONDITIONAL] * 2


def test_one_call_of_so_many_is_whole():
    calls, outputs = run(Shortcuts(feature_reuse=3))
    assert calls == [("whole", 4), ("outermost", 4), ("outermost", 4)] * 2
    assert outputs == [GUIDED] * 6


def test_where_guidance_ends_the_prompts_keep_their_own_features():
    calls, outputs = run(Shortcuts(guidance_interval=(0.0, 0.3), feature_reuse=4))
    assert calls == [
        ("whole", 4), ("outermost", 4), ("outermost", 2), ("outermost", 2), ("whole", 2),
        ("outermost", 2),
    ]  # fmt: skip
    assert outputs == [GUIDED] * 2 + [CONDITIONAL] * 4


def test_where_guidance_begins_the_network_runs_whole():
    calls, outputs = run(Shortcuts(guidance_interval=(0.3, 1.0), feature_reuse=4))
    assert calls == [
        ("whole", 2), ("outermost", 2), ("whole", 4), ("outermost", 4), ("whole", 4),
        ("outermost", 4),
    ]  # fmt: skip
    assert outputs == [CONDITIONAL] * 2 + [GUIDED] * 4


@pytest.mark.parametrize("part", ["pooled", "time_ids", "guidance_scale"])
def test_the_conditional_half_is_of_all_that_is_read(part):
    half = Reading(texts(-1, 1), **{part: texts(-3, 3)}).conditional()
    assert half.context.flatten().tolist() == [1]
    assert getattr(half, part).flatten().tolist() == [3]
    assert {"pooled", "time_ids", "guidance_scale"} - {part} == {
        name for name, value in vars(half).items() if value is None
    }
