"""Translate ids by a network: transformers' `generate`, for a group of texts at once.

A matrix product's last bits depend on how many rows it has, and a near tie may hang on them. So a
group always has `GROUP` texts, their lengths are rounded up to the same multiple of `STEP`, and
what is too much is padded and masked: every shape follows from a text's own length, and nothing of
its translation from the others. (With as many rows as there are texts it would not.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from paddle import Tensor

from sdbatch.translation.beams import Beams, Candidate, Ids
from sdbatch.translation.config import SearchConfig
from sdbatch.translation.network import Marian

GROUP = 8
STEP = 16


def translated(
    network: Marian, rows: Sequence[Sequence[int]], config: SearchConfig, positions: int
) -> list[Ids]:
    """The translation of each row of ids, in their order.

    Args:
        network: filled.
        rows: each with its end.
        config: how translations are looked for.
        positions: the network's, the most ids that a row has.
    """
    found: dict[Ids, Ids] = {}
    groups: dict[int, list[Ids]] = {}
    for row in dict.fromkeys(map(tuple, rows)):
        width = min(-(-len(row) // STEP) * STEP, positions)
        groups.setdefault(width, []).append(row)
    for width, alike in groups.items():
        for start in range(0, len(alike), GROUP):
            texts = alike[start : start + GROUP]
            filled = texts + texts[:1] * (GROUP - len(texts))
            ids, bias = padded(filled, width, config.pad)
            found |= zip(texts, _searched(network, ids, bias, config), strict=False)
    return [found[tuple(row)] for row in rows]


def padded(rows: Sequence[Sequence[int]], width: int, pad: int) -> tuple[Tensor, Tensor]:
    """Ids int64 [n, width] and their mask float32 [n, 1, 1, width]: -inf where there is padding."""
    ids = np.full((len(rows), width), pad, np.int64)
    bias = np.full((len(rows), 1, 1, width), -np.inf, np.float32)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        bias[i, ..., : len(row)] = 0
    return paddle.to_tensor(ids), paddle.to_tensor(bias)


def _searched(network: Marian, ids: Tensor, bias: Tensor, config: SearchConfig) -> list[Ids]:
    searches = [Beams(config) for _ in range(ids.shape[0])]
    text = network.read(network.encode(ids, bias))
    before = [None] * len(text)
    barred = _over_vocabulary(network, config.barred, 0.0, -np.inf)
    ends = () if config.forced_eos is None else (config.forced_eos,)
    forced = _over_vocabulary(network, ends, -np.inf, 0.0)
    for position in range(config.max_length - 1):
        last = [begun[-1] for search in searches for begun in search.begun]
        tokens = paddle.to_tensor(np.asarray(last, np.int64))
        logits, before = network.step(tokens, position, before, text, bias)
        scores = _log_probabilities(logits) if config.num_beams > 1 else logits
        is_last = position == config.max_length - 2
        scores = paddle.zeros_like(scores) + forced if is_last and ends else scores + barred
        if config.renormalize:
            scores = _log_probabilities(scores)
        parents = []
        for i, (search, best) in enumerate(
            zip(searches, _candidates(scores, searches, config.num_beams), strict=True)
        ):
            # What goes on after a text is done is not looked at, but the group keeps its shape.
            beams = range(config.num_beams) if search.done else search.follow(best)
            parents += [i * config.num_beams + beam for beam in beams]
        if all(search.done for search in searches):
            break
        before = _reordered(before, parents)
    return [search.best() for search in searches]


def _candidates(scores: Tensor, searches: Sequence[Beams], beams: int) -> list[list[Candidate]]:
    """For each text the best tokens for its beginnings, twice as many as beams, best first."""
    vocabulary = scores.shape[1]
    sums = np.asarray([score for search in searches for score in search.scores], np.float32)
    scores = scores + paddle.to_tensor(sums).unsqueeze(1)
    best, where = paddle.topk(scores.reshape([len(searches), beams * vocabulary]), 2 * beams)
    pairs = zip(best.numpy().tolist(), where.numpy().tolist(), strict=True)
    return [
        [Candidate(score, *divmod(index, vocabulary)) for score, index in zip(*pair, strict=True)]
        for pair in pairs
    ]


def _log_probabilities(x: Tensor) -> Tensor:
    """Logarithms of probabilities. (Those of Paddle on a CPU are never below -64.)"""
    x = x - x.max(axis=-1, keepdim=True)
    return x - x.exp().sum(axis=-1, keepdim=True).log()


def _over_vocabulary(
    network: Marian, numbers: Sequence[int], others: float, value: float
) -> Tensor:
    """[vocab_size] with `value` at these ids, and another elsewhere."""
    found = np.full(network.shared.weight.shape[0], others, np.float32)
    found[list(numbers)] = value
    return paddle.to_tensor(found)


def _reordered(before: list, parents: list[int]) -> list:
    if parents == list(range(len(parents))):
        return before
    rows = paddle.to_tensor(np.asarray(parents, np.int64))
    return [tuple(paddle.index_select(x, rows, axis=0) for x in pair) for pair in before]
