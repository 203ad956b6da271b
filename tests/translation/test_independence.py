"""A translation depends on its own text alone, and translating leaves nothing changed."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paddle
import pytest

from sdbatch.translation import search
from sdbatch.translation.config import MarianConfig
from sdbatch.translation.network import Marian
from sdbatch.translation.search import GROUP, STEP, padded
from tests.translation.folders import record, translator

BEAMS = 5  # so that the rows are no power of two
WIDE = MarianConfig(999, 96, 2, 2, 4, 4, 200, 200, 64, "swish", True)


@pytest.fixture(scope="module")
def wide() -> Marian:
    """Of random weights, wide enough for several blocks of a matrix product."""
    generator = np.random.default_rng(0)
    network = Marian(WIDE)
    network.eval()
    for parameter in network.parameters():
        values = generator.standard_normal(parameter.shape, np.float32)
        parameter.set_value(paddle.to_tensor(values * np.float32(0.3)))
    return network


def logits_of(network: Marian, rows: list[list[int]], steps: int) -> np.ndarray:
    """Logits of each text after the same tokens: [steps, texts, beams, vocabulary]."""
    with paddle.no_grad():
        ids, bias = padded(rows, STEP * 2, 998)
        text = network.read(network.encode(ids, bias))
        before, found = [None] * len(text), []
        for position in range(steps):
            last = [(row[0] + beam + position) % 998 for row in rows for beam in range(BEAMS)]
            tokens = paddle.to_tensor(np.asarray(last, np.int64))
            logits, before = network.step(tokens, position, before, text, bias)
            found.append(logits.numpy().reshape(len(rows), BEAMS, -1))
    return np.stack(found)


def test_every_bit_of_the_logits_is_the_same_in_any_company(wide):
    generator = random.Random(0)
    own = [generator.randrange(998) for _ in range(21)]
    alone = logits_of(wide, [own] * GROUP, 6)[:, 0]
    for place in range(GROUP):
        rows = [
            [generator.randrange(998) for _ in range(generator.randint(STEP + 1, STEP * 2))]
            for _ in range(GROUP)
        ]
        rows[place] = own
        assert np.array_equal(logits_of(wide, rows, 6)[:, place], alone)


@pytest.mark.parametrize("name", ["stored", "computed"])
def test_translations_are_the_same_in_any_company(name):
    ready, texts = translator(name), record()["texts"]
    together = ready.translate(texts)
    order = list(range(len(texts)))
    random.Random(1).shuffle(order)
    mixed = ready.translate([texts[i] for i in order])
    assert mixed == [together[i] for i in order]
    for i in order[:25]:
        assert ready.translate([texts[i]]) == [together[i]]


def test_the_group_has_its_size_whatever_is_given(monkeypatch):
    shapes, ready = [], translator("stored")
    searched = search._searched

    def seen(network, ids, bias, config):
        shapes.append(tuple(ids.shape))
        return searched(network, ids, bias, config)

    monkeypatch.setattr(search, "_searched", seen)
    pairs = zip(record()["stored"]["ids"], record()["texts"], strict=True)
    short = {tuple(ids): text for ids, text in pairs if 3 < len(ids) <= STEP}
    ready.translate(list(short.values())[:1])
    ready.translate(list(short.values())[: GROUP + 1])
    assert {shape[0] for shape in shapes} == {GROUP}
    assert {shape[1] for shape in shapes} == {STEP}
    assert len(shapes) == 3


def test_equal_texts_are_translated_once(monkeypatch):
    calls, ready = [], translator("stored")
    searched = search._searched
    monkeypatch.setattr(search, "_searched", lambda *a: calls.append(1) or searched(*a))
    found = ready.translate(["一座桥"] * (GROUP * 3))
    assert len(calls) == len(set(found)) == 1


def test_blank_texts_stay_as_they_are():
    assert translator("stored").translate(["", " ", "\n"]) == ["", " ", "\n"]
    assert translator("stored").translate([]) == []


def test_translating_in_a_thread_changes_nothing():
    ready, texts = translator("stored"), record()["texts"][30:36]
    expected = ready.translate(texts)
    paddle.seed(3)
    drawn = paddle.randn([3]).numpy()
    paddle.seed(3)
    paddle.set_default_dtype("float16")
    try:
        with ThreadPoolExecutor(1) as pool:

            def job():
                with paddle.no_grad():
                    return ready.translate(texts), paddle.is_grad_enabled()

            assert pool.submit(job).result() == (expected, False)
        assert paddle.get_default_dtype() == "float16"
    finally:
        paddle.set_default_dtype("float32")
    assert paddle.is_grad_enabled()
    assert np.array_equal(paddle.randn([3]).numpy(), drawn)
    assert all(parameter.stop_gradient for parameter in ready.network.parameters())
