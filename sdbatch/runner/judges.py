"""Which networks look at finished pictures, and what follows from what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdbatch.config.choices import SafetyName, ScoreName
from sdbatch.config.schema import Config
from sdbatch.errors import UserError
from sdbatch.runner.judging import Judging, Look, Opinion
from sdbatch.scoring.files import JudgeFiles, open_judge
from sdbatch.weights.checkpoint import Checkpoint


@dataclass(frozen=True)
class Judges:
    """See the module.

    Attributes:
        scorer: compares pictures with their prompts.
        keep_above: the least score of rows that are marked as worth keeping.
        checker: objects to pictures.
        policy: what becomes of those: `flag`, `blur` or `drop`.
    """

    scorer: JudgeFiles | None = None
    keep_above: float | None = None
    checker: JudgeFiles | None = None
    policy: str = "flag"

    @property
    def settings(self) -> Mapping[str, Any]:
        """What of it decides what is in the files, for the dataset's settings."""
        if self.checker is None or self.policy == "flag":
            return {}
        return {"policy": self.policy, "weights_sha256": self.checker.weights_sha256}

    @property
    def reads_chinese(self) -> bool:
        """Whether the scorer compares with Chinese prompts as they are."""
        return self.scorer is not None and self.scorer.kind == "chinese_clip"

    def columns(self, opinion: Opinion) -> dict[str, Any]:
        """What the metadata tell."""
        found: dict[str, Any] = {}
        if self.scorer is not None:
            score = opinion.clip_score
            found = {"clip_score": score, "clip_model": self.scorer.name}
            if self.keep_above is not None:
                found["clip_keep"] = score >= self.keep_above
        if self.checker is not None:
            found |= {"safety_flagged": opinion.flagged, "safety_score": opinion.safety_score}
        return found


def open_judges(config: Config, checkpoint: Checkpoint) -> Judges:
    """The judges that a config names; their files are known to be sound, no weight is read.

    Raises:
        UserError: a folder is missing or is not what it should be.
    """
    scorer = checker = None
    if config.score.name is not ScoreName.none:
        scorer = open_judge(Path(config.score.model), config.score.name.value)
    if config.safety.name is not SafetyName.none:
        path = _checker_folder(config.safety.model, checkpoint)
        checker = open_judge(path, "safety")
    return Judges(scorer, config.score.keep_above, checker, config.safety.policy.value)


def _checker_folder(given: str | None, checkpoint: Checkpoint) -> Path:
    if given is not None:
        return Path(given)
    folder = checkpoint.path / "safety_checker"
    if not folder.is_dir():
        raise UserError(
            f"safety.model: {checkpoint.path} has no safety_checker folder; expected "
            "safety.model=FOLDER"
        )
    return folder


def start_judging(judges: Judges) -> Judging | None:
    """Load the judges' networks on Paddle's current device; None where there are none.

    Raises:
        UserError: a weight that does not fit.
    """
    if judges.scorer is None and judges.checker is None:
        return None
    return Judging(_look(judges))


def _look(judges: Judges) -> Look:
    from sdbatch.scoring.checker import load_checker  # imports Paddle
    from sdbatch.scoring.scorer import load_scorer

    scorer = judges.scorer and load_scorer(judges.scorer)
    checker = judges.checker and load_checker(judges.checker)

    def look(pictures: Sequence[np.ndarray], texts: Sequence[str]) -> list[Opinion]:
        nobody = [None] * len(pictures)
        scores = scorer.score(pictures, texts).tolist() if scorer else nobody
        verdicts = checker.check(pictures) if checker else nobody
        return [
            Opinion(score, verdict and verdict.flagged, verdict and verdict.score)
            for score, verdict in zip(scores, verdicts, strict=True)
        ]

    return look
