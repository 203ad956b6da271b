"""Doing less for a picture: what is left out of the network's calls, and out of which.

All of it changes pictures, so all of it is off unless asked for, and part of the fingerprint. What
each costs and saves: docs/shortcuts.md. The room is pure and imports no Paddle.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class NetworkCall:
    """How one call of the network is made.

    Attributes:
        guided: both halves of guidance are computed, else the conditional one alone.
        whole: the whole network runs, else its outermost level with deep features that were kept.
    """

    guided: bool
    whole: bool


@dataclass(frozen=True)
class Shortcuts:
    """What is left out; as it stands, nothing.

    Attributes:
        guidance_interval: the part of the network calls, from and to a share of them in 0..1,
            within which guidance is computed; None: all. Kynkäänniemi et al. 2024,
            arXiv 2404.07724.
        token_merging: the share of tokens, 0..0.75, that are merged before self-attention at the
            highest resolution that has any. Bolya and Hoffman 2023, arXiv 2303.17604.
        feature_reuse: one call of so many runs the whole network, the others its outermost level
            only. Ma et al. 2023, arXiv 2312.00858.
    """

    guidance_interval: tuple[float, float] | None = None
    token_merging: float = 0.0
    feature_reuse: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """Those that are on, JSON-able: for a dataset's fingerprint. Empty where nothing is."""
        used = {
            item.name: value
            for item in fields(self)
            if (value := getattr(self, item.name)) != item.default
        }
        return {k: list(v) if isinstance(v, tuple) else v for k, v in used.items()}

    def calls(self, count: int, first: int = 0, *, guided: bool) -> tuple[NetworkCall, ...]:
        """How the calls of one trajectory are made, from number `first` on.

        Args:
            count: calls of the whole trajectory, of which the interval takes its shares.
            first: where image-to-image starts.
            guided: whether the pictures ask for guidance.
        """
        made: list[NetworkCall] = []
        for call in range(first, count):
            guides = guided and self._within_interval((call + 0.5) / count)
            # Where guidance begins, the unconditional half has no features yet.
            begins = guides and bool(made) and not made[-1].guided
            due = (call - first) % self.feature_reuse == 0
            made.append(NetworkCall(guides, whole=due or begins))
        return tuple(made)

    def _within_interval(self, share: float) -> bool:
        start, end = self.guidance_interval or (0.0, 1.0)
        return start <= share <= end


NO_SHORTCUTS = Shortcuts()
