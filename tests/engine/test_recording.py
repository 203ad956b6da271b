"""While a program is recorded, other threads that run layers wait."""

import threading

import numpy as np
import paddle
import pytest
from paddle import nn

from sdbatch.engine.cache import ProgramCache
from sdbatch.engine.execution import Compilable, Dygraph, Inference, Static
from sdbatch.engine.options import PredictorOptions
from sdbatch.engine.tracing import RECORDING


def is_free() -> bool:
    """Whether another thread could go on."""
    found = []

    def look():
        found.append(RECORDING.acquire(blocking=False))
        if found[0]:
            RECORDING.release()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0]


class Watching(nn.Layer):
    """Twice its input; remembers at each call whether another thread could have gone on."""

    def __init__(self):
        super().__init__()
        self.free = []

    @paddle.jit.not_to_static
    def look(self):
        self.free.append(is_free())

    def forward(self, x):
        self.look()
        return 2 * x


@pytest.fixture(params=["dygraph", "static", "inference"])
def execution(request, tmp_path):
    ways = {"dygraph": Dygraph(), "static": Static()}
    inference = Inference(PredictorOptions(threads=1), ProgramCache(tmp_path / "cache", 1 << 30))
    return request.param, ways.get(request.param, inference)


@paddle.no_grad()
def test_others_wait_while_a_program_is_recorded_and_at_no_other_time(execution):
    name, way = execution
    layer = Watching()
    call = way.compile(Compilable("watching", layer, layer, {}))
    one = paddle.ones([2, 3])
    for _ in range(2):
        assert np.array_equal(call(one).numpy(), 2 * one.numpy())
    seen = set(layer.free)
    assert seen == ({True} if name == "dygraph" else {False})
    assert is_free()


@paddle.no_grad()
def test_a_program_that_cannot_be_recorded_keeps_nobody_waiting(tmp_path):
    class Failing(nn.Layer):
        def forward(self, x):
            raise RuntimeError("no")

    layer = Failing()
    way = Inference(PredictorOptions(threads=1), ProgramCache(tmp_path / "cache", 1 << 30))
    with pytest.raises(RuntimeError):
        way.compile(Compilable("failing", layer, layer, {}))(paddle.ones([1, 2]))
    assert is_free()
    assert paddle.in_dynamic_mode()
