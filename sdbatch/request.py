"""What one picture is asked to be. Shared by the plan, which makes requests, and the pipeline."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from sdbatch.inputs import ImageRef


@dataclass(frozen=True)
class SizeHints:
    """What SDXL is told of sizes, in pixels (Podell et al. 2023, arXiv 2307.01952, section 2.2).

    The size that a training picture had, the corner where it was cut, the size it was cut to.
    """

    original_width: int
    original_height: int
    crop_left: int
    crop_top: int
    target_width: int
    target_height: int

    @property
    def time_ids(self) -> tuple[int, ...]:
        """The six numbers as the network reads them: heights before widths."""
        return (
            self.original_height,
            self.original_width,
            self.crop_top,
            self.crop_left,
            self.target_height,
            self.target_width,
        )


@dataclass(frozen=True)
class ImageRequest:
    """All that decides one picture, given a model, a sampler and a precision.

    `strength` is the share of the steps that is run from `init_image`, 0..1, and None without one;
    `mask` says what of `init_image` is painted anew. `sizes` None: the picture's own size, not cut.
    `translation` and `negative_translation` are read in place of the prompts, where there are any.
    """

    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    steps: int
    guidance_scale: float
    guidance_rescale: float = 0.0
    init_image: ImageRef | None = None
    mask: ImageRef | None = None
    strength: float | None = None
    sizes: SizeHints | None = None
    translation: str | None = None
    negative_translation: str | None = None

    @property
    def text(self) -> str:
        """What the model reads for the prompt."""
        return self.prompt if self.translation is None else self.translation

    @property
    def negative_text(self) -> str:
        """What the model reads for the negative prompt."""
        negative = self.negative_translation
        return self.negative_prompt if negative is None else negative

    @property
    def guided(self) -> bool:
        """Guidance of 1 or less is none: the unconditional half is not computed."""
        return self.guidance_scale > 1

    @property
    def batch_key(self) -> Hashable:
        """Requests can share a micro-batch only if their keys are equal."""
        kind = (self.init_image is not None, self.mask is not None, self.strength)
        return (self.height, self.width, self.steps, self.guided, *kind)

    @property
    def size_hints(self) -> SizeHints:
        """`sizes`, or those of a picture that was not cut."""
        return self.sizes or SizeHints(self.width, self.height, 0, 0, self.width, self.height)


@dataclass(frozen=True)
class ImageInputs:
    """The pixels that a request names, at the size of its picture.

    Attributes:
        init: float32 [3, height, width] in -1..1.
        mask: float32 [1, height, width]; 1 is painted anew, 0 is kept.
    """

    init: np.ndarray | None = None
    mask: np.ndarray | None = None


NO_INPUTS = ImageInputs()
