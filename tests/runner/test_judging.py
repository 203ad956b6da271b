"""Pictures judged in a thread of its own: each gets its own opinion, those that wait together."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sdbatch.runner.judging import Judging, Opinion
from tests.runner import runs

PATIENCE_S = 60


def picture(level: int) -> np.ndarray:
    return np.full((2, 2, 3), level, np.uint8)


def look(pictures, texts):
    return [Opinion(float(p.max()) + len(t)) for p, t in zip(pictures, texts, strict=True)]


def test_each_picture_gets_its_own_opinion():
    judging = Judging(look)
    with ThreadPoolExecutor(8) as pool:
        opinions = pool.map(lambda n: judging.opinion(picture(n), "ab"), range(200))
        assert [opinion.clip_score for opinion in opinions] == [n + 2.0 for n in range(200)]
    judging.end()


def test_pictures_that_wait_are_looked_at_together():
    begun, first, sizes = threading.Event(), threading.Event(), []

    def slow(pictures, texts):
        sizes.append(len(pictures))
        begun.set()
        assert first.wait(PATIENCE_S)
        return look(pictures, texts)

    judging = Judging(slow)
    with ThreadPoolExecutor(21) as pool:
        answers = [pool.submit(judging.opinion, picture(0), "")]
        assert begun.wait(PATIENCE_S)
        answers += [pool.submit(judging.opinion, picture(n), "") for n in range(1, 21)]
        runs.wait_until(lambda: judging._waiting.qsize() == 20, "the others")
        first.set()
        assert sorted(a.result(PATIENCE_S).clip_score for a in answers) == list(range(21))
    judging.end()
    assert sizes == [1, 16, 4]


def test_what_goes_wrong_is_told_to_all_who_wait_and_ends_nothing():
    def break_at_dark(pictures, texts):
        if any(p.max() == 0 for p in pictures):
            raise RuntimeError("dark")
        return look(pictures, texts)

    judging = Judging(break_at_dark)
    with pytest.raises(RuntimeError, match="dark"):
        judging.opinion(picture(0), "")
    assert judging.opinion(picture(3), "").clip_score == 3
    judging.end()
