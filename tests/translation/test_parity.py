"""Ids, states, logits and translations are those of transformers."""

import dataclasses

import numpy as np
import paddle
import pytest

from sdbatch.translation.files import open_translator
from sdbatch.translation.search import STEP, padded, translated
from sdbatch.translation.sentences import parts
from tests.conftest import relative_error
from tests.translation.folders import NAMES, changed, record, states, translator

TOLERANCE = 1e-4
TEXTS = len(record()["texts"])


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def _no_grad():
    with paddle.no_grad():
        yield


def test_the_texts_are_many_and_hard():
    assert TEXTS > 100
    assert "" in record()["texts"]
    assert max(record()["stored"]["uncut"]) > translator("stored").files.tokenizer.max_length


def test_ids_of_every_text(name):
    tokenizer, expected = translator(name).files.tokenizer, record()[name]
    for text, ids, uncut in zip(record()["texts"], expected["ids"], expected["uncut"], strict=True):
        assert tokenizer.encode(text) == ids, text
        assert tokenizer.fits(text) == (uncut <= tokenizer.max_length), text


def test_states_and_first_logits(name):
    network, config = translator(name).network, translator(name).files.search
    recorded = [key for key in states() if key.startswith(f"{name}/states/")]
    assert len(recorded) >= 20
    for i, row in enumerate(record()[name]["ids"][: len(recorded)]):
        # By itself, and padded as it is in a group.
        for width in (len(row), min(-(-len(row) // STEP) * STEP, 40)):
            ids, bias = padded([row], width, config.pad)
            found = network.encode(ids, bias)
            start = paddle.to_tensor(np.asarray([config.start]))
            text = network.read(found)
            logits, _ = network.step(start, 0, [None] * len(text), text, bias)
            expected = states()[f"{name}/states/{i}"]
            assert np.abs(found.numpy()[0, : len(row)] - expected).max() < TOLERANCE
            expected = states()[f"{name}/logits/{i}"]
            assert np.abs(logits.numpy()[0] - expected).max() < TOLERANCE
            assert relative_error(logits.numpy()[0], expected) < TOLERANCE / 10


@pytest.mark.parametrize(
    "search", record()["searches"], ids=lambda s: f"{s['folder']}{s['changes']}"
)
def test_translations_of_every_text(search, tmp_path):
    name = search["folder"]
    ready = translator(name)
    files = ready.files
    if search["changes"]:
        folder = changed(name, tmp_path, generation_config__json=search["changes"])
        files = open_translator(folder)
    rows = record()[name]["ids"]
    found = translated(ready.network, rows, files.search, files.network.max_position_embeddings)
    for text, ids, expected in zip(record()["texts"], found, search["ids"], strict=True):
        assert list(ids) == expected, text
    assert list(map(files.tokenizer.decode, found)) == search["texts"]


def test_texts_that_fit_are_translated_whole(name):
    ready = translator(name)
    search = next(s for s in record()["searches"] if s["folder"] == name and not s["changes"])
    pairs = [
        (text, said)
        for text, said in zip(record()["texts"], search["texts"], strict=True)
        if text.strip() and ready.files.tokenizer.fits(text)
    ]
    assert len(pairs) > TEXTS / 2
    texts, expected = zip(*pairs, strict=True)
    assert ready.translate(texts) == list(expected)


def test_texts_that_do_not_fit_are_translated_in_parts(name):
    ready = translator(name)
    tokenizer = ready.files.tokenizer
    long = [text for text in record()["texts"] if not tokenizer.fits(text)]
    assert len(long) >= 5
    split = [parts(text, tokenizer.fits) for text in long]
    assert all(len(found) > 1 and all(map(tokenizer.fits, found)) for found in split)
    pieces = [part for found in split for part in found]
    said = dict(zip(pieces, ready.translate(pieces), strict=True))
    expected = [" ".join(filter(None, map(said.get, found))) for found in split]
    assert ready.translate(long) == expected


def test_greedy_search_ends_with_the_first_end(name):
    files = translator(name).files
    config = dataclasses.replace(files.search, num_beams=1, early_stopping="never")
    row = files.tokenizer.encode("水墨画风格的城市夜景")
    (found,) = translated(translator(name).network, [row], config, 40)
    assert files.search.eos not in found[:-1]
