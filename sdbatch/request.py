"""What one picture is asked to be. Shared by the plan, which makes requests, and the pipeline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageRequest:
    """All that decides one picture, given a model, a scheduler and a precision."""

    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    steps: int
    guidance_scale: float

    @property
    def guided(self) -> bool:
        """Guidance of 1 or less is none: the unconditional half is not computed."""
        return self.guidance_scale > 1

    @property
    def batch_key(self) -> tuple[int, int, int, bool]:
        """Requests with equal keys can share a micro-batch."""
        return (self.height, self.width, self.steps, self.guided)
