"""The beam search of one text, as pure bookkeeping. Imports no Paddle.

Source: transformers 4.46 `generation/beam_search.py`, `BeamSearchScorer` and `BeamHypotheses`. With
one beam it is greedy search, as `generate` has it then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sdbatch.translation.config import SearchConfig

Ids = tuple[int, ...]
"""A translation or its beginning, with the start, without the end."""


@dataclass(frozen=True)
class Candidate:
    """One more token for one beginning.

    Attributes:
        score: sum of the logarithms of probabilities.
        beam: of the beginning.
        token: that follows.
    """

    score: float
    beam: int
    token: int


@dataclass
class Beams:
    """The beginnings that are followed, and the translations that have ended.

    Attributes:
        config: how translations are looked for.
        begun: one for each beam.
        scores: of those.
        ended: (score for its length, translation).
        worst: the least score among those.
        done: whether no better one is to be expected.
    """

    config: SearchConfig
    begun: list[Ids] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    ended: list[tuple[float, Ids]] = field(default_factory=list)
    worst: float = 1e9
    done: bool = False

    def __post_init__(self) -> None:
        beams = self.config.num_beams
        self.begun = [(self.config.start,)] * beams
        # So that only the first is followed at first: they are all the same then.
        self.scores = [0.0] + [-1e9] * (beams - 1)

    def follow(self, candidates: Sequence[Candidate]) -> list[int]:
        """Take the best candidates.

        Args:
            candidates: at least twice as many as beams, best first.

        Returns:
            For each beam the one that it goes on from.
        """
        config, taken = self.config, []
        for rank, candidate in enumerate(candidates):
            if candidate.token != config.eos:
                taken.append(candidate)
            elif rank < config.num_beams:
                self._end(self.begun[candidate.beam], candidate.score, 1)
            if len(taken) == config.num_beams:
                break
        length = len(self.begun[0])  # with the new token, without the start
        self.begun = [(*self.begun[each.beam], each.token) for each in taken]
        if config.num_beams > 1:  # greedy search compares logits, which are not added up
            self.scores = [each.score for each in taken]
        self.done = self._is_done(candidates[0].score, length)
        return [each.beam for each in taken]

    def best(self) -> Ids:
        """The best translation, without the start, with the end where there is room for it."""
        if not self.done:
            for begun, score in zip(self.begun, self.scores, strict=True):
                self._end(begun, score, 0)
        found = sorted(self.ended, key=lambda each: each[0])[-1][1]
        end = (self.config.eos,) if len(found) < self.config.max_length else ()
        return found[1:] + end

    def _end(self, ids: Ids, score: float, end: int) -> None:
        score /= (len(ids) - 1 + end) ** self.config.length_penalty
        if len(self.ended) >= self.config.num_beams and score <= self.worst:
            return
        self.ended.append((score, ids))
        if len(self.ended) > self.config.num_beams:
            order = sorted((each[0], i) for i, each in enumerate(self.ended))
            del self.ended[order[0][1]]
            self.worst = order[1][0]
        else:
            self.worst = min(score, self.worst)

    def _is_done(self, best: float, length: int) -> bool:
        """Whether enough have ended, and no beginning can become better, by the config's rule."""
        config = self.config
        if len(self.ended) < config.num_beams:
            return False
        if config.early_stopping is True or config.num_beams == 1:
            return True
        if config.early_stopping == "never" and config.length_penalty > 0:
            length = config.max_length - 1
        return self.worst >= best / length**config.length_penalty
