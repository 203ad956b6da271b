"""A thread judges while the main thread makes pictures: neither notices the other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sdbatch.engine.cache import ProgramCache
from sdbatch.engine.device import Device
from sdbatch.engine.execution import Dygraph, Inference, Static
from sdbatch.engine.load import load_pipeline
from sdbatch.engine.options import PredictorOptions
from sdbatch.request import ImageRequest
from sdbatch.samplers import Sampler, SamplerOptions
from sdbatch.weights.source import open_checkpoint
from tests.conftest import ASSETS
from tests.scoring.recorded import SCORERS, checker, pictures, scorer, texts

SIZES = (64, 96)  # each has its own programs


@pytest.fixture(params=["dygraph", "static", "inference"])
def make_pictures(request, tmp_path):
    """`make_pictures()`: a few, by an engine that has compiled nothing yet."""
    checkpoint = open_checkpoint(ASSETS / "demo")
    sampler = Sampler.from_config(checkpoint.scheduler, SamplerOptions("ddim"))

    def make(number: int) -> list[np.ndarray]:
        cache = ProgramCache(tmp_path / str(number), 1 << 30)
        execution = {
            "dygraph": Dygraph(),
            "static": Static(),
            "inference": Inference(PredictorOptions(threads=1), cache),
        }[request.param]
        pipeline = load_pipeline(checkpoint, sampler, Device("cpu", "fp32"), execution=execution)
        return [
            pipeline.generate([ImageRequest("a red star", "", seed, side, side, 2, 3.0)])
            for side in SIZES
            for seed in (1, 2)
        ]

    return make


def judged() -> list:
    """By every judge, of every picture."""
    scores = [scorer(name).score(pictures(), texts()[:12]) for name in SCORERS]
    return [*scores, checker().scores(pictures())]


def assert_same(found: list, expected: list) -> None:
    """But for the last bits: Paddle Inference sets how many threads share a product."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_judgements_and_pictures_are_those_made_alone(make_pictures):
    scores, made = judged(), make_pictures(0)
    done, rounds = threading.Event(), []

    def judge_until_done() -> None:
        # Each time in a new thread, which may come to Paddle while a program is recorded.
        while not done.is_set() or len(rounds) < 2:
            with ThreadPoolExecutor(1) as other:
                rounds.append(other.submit(judged).result())

    with ThreadPoolExecutor(1) as beside:
        judging = beside.submit(judge_until_done)
        try:
            again = make_pictures(1)
        finally:
            done.set()
        judging.result()
    assert_same(again, made)
    for found in rounds:
        assert_same(found, scores)
