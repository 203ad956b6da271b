"""Networks that judge pictures: how well one fits its text, and whether it should be shown.

`open_judge` reads configs and headers, without Paddle. `scorer.load_scorer` and
`checker.load_checker` build the networks; what they give may be called from any thread.
"""

from sdbatch.scoring.files import KINDS, JudgeFiles, open_judge

__all__ = ["KINDS", "JudgeFiles", "open_judge"]
