"""The plan of a dataset: which pictures, in which shards, and made how.

The fingerprint covers what changes pixels, and nothing else: not paths, devices, batch size, engine
or shard order. A dataset folder belongs to one fingerprint for good.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from sdbatch.inputs import ImageRef
from sdbatch.noise import MAX_SEED
from sdbatch.prompts import DEFAULT_STRENGTH, PromptRow, translation_of
from sdbatch.request import ImageRequest, SizeHints
from sdbatch.text.chinese import has_chinese

NUMERICS_VERSION = 2
"""Raised whenever the same settings would give other pixels than before."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides the pixels of a whole dataset. Rows may override some of it.

    `label` is what pictures say of themselves, empty for nothing; `safety` is who
    changes or drops some of them. `shortcuts` holds those that are
    on, so that without any a dataset is what it was before there were shortcuts.
    """

    family: str
    weights_sha256: str
    model_config_sha256: str
    loras: str
    embeddings: str
    scheduler: str
    scheduler_settings: Mapping[str, Any]
    steps: int
    guidance_scale: float
    guidance_rescale: float
    strength: float | None
    width: int
    height: int
    negative_prompt: str
    text: Mapping[str, Any]
    images_per_prompt: int
    precision: str
    seed: int
    noise: str
    image_format: str
    label: Mapping[str, Any]
    safety: Mapping[str, Any]
    table_sha256: str
    numerics_version: int = NUMERICS_VERSION
    shortcuts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all fields; of `shortcuts` where there are any."""
        values = asdict(self)
        if not self.shortcuts:
            del values["shortcuts"]
        text = json.dumps(values, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class PlannedImage:
    """One picture of the dataset: its row, its sample number, its name and its request."""

    row: PromptRow
    sample: int
    image_id: str
    request: ImageRequest


@dataclass(frozen=True)
class Plan:
    """A dataset to be made: its settings, and its table's rows cut into shards of equal length."""

    settings: Settings
    rows: int
    images: int
    shard_size: int

    @property
    def shards(self) -> int:
        """How many shards there are; the last one may be shorter."""
        return -(-self.rows // self.shard_size)

    def shard_name(self, shard: int) -> str:
        """Folder name of a shard, e.g. 00042."""
        return f"{shard:05d}"

    def shard_rows(self, shard: int) -> tuple[int, int]:
        """First row, and one past the last row, of a shard."""
        start = shard * self.shard_size
        return start, min(start + self.shard_size, self.rows)

    def images_of(self, rows: Sequence[PromptRow]) -> list[PlannedImage]:
        """The pictures of some rows, in plan order."""
        return [
            plan_image(self.settings, row, sample)
            for row in rows
            for sample in range(row.images_per_prompt or self.settings.images_per_prompt)
        ]


def plan_image(settings: Settings, row: PromptRow, sample: int) -> PlannedImage:
    """The request for one sample of a row: the row's own values, else the settings'."""

    def chosen(name: str) -> Any:
        value = getattr(row, name)
        return getattr(settings, name) if value is None else value

    width, height = chosen("width"), chosen("height")
    init_image, mask = ImageRef.from_cell(row.init_image), ImageRef.from_cell(row.mask)
    strength = chosen("strength")
    translations = settings.text.get("translation_column")
    if strength is None:
        strength = DEFAULT_STRENGTH if mask is None else 1.0
    request = ImageRequest(
        prompt=row.prompt,
        negative_prompt=chosen("negative_prompt"),
        seed=image_seed(settings.seed, row, sample),
        width=width,
        height=height,
        steps=chosen("steps"),
        guidance_scale=chosen("guidance_scale"),
        guidance_rescale=chosen("guidance_rescale"),
        init_image=init_image,
        mask=mask,
        strength=None if init_image is None else strength,
        sizes=_size_hints(row, width, height),
        translation=_translation(row, "prompt", translations),
        negative_translation=_translation(row, "negative_prompt", translations),
    )
    return PlannedImage(row, sample, f"{row.id}-{sample:03d}", request)


def _translation(row: PromptRow, name: str, column: str | None) -> str | None:
    """What the row's own columns have in place of a Chinese text."""
    text = getattr(row, name)
    if column is None or text is None or not has_chinese(text):
        return None
    return row.carried.get(translation_of(name, column))


def _size_hints(row: PromptRow, width: int, height: int) -> SizeHints | None:
    """What the row says of sizes, completed; None where it says nothing."""
    own = SizeHints(width, height, 0, 0, width, height)
    given = {
        item.name: getattr(row, item.name)
        for item in fields(SizeHints)
        if getattr(row, item.name) is not None
    }
    return replace(own, **given) if given else None


def image_seed(run_seed: int, row: PromptRow, sample: int) -> int:
    """Seed of one picture, 0..2^63-1: the row's seed + sample, else a hash of (run, id, sample).

    It depends on nothing else, so a row keeps its pictures when the table around it changes.
    """
    if row.seed is not None:
        return row.seed + sample
    key = json.dumps([run_seed, row.id, sample], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") & MAX_SEED
