"""The plan of a dataset: which pictures, in which shards, made how; and `run.json`, which fixes it.

The fingerprint covers what changes pixels, and nothing else: not paths, devices, batch size, engine
or shard order. A dataset folder belongs to one fingerprint for good.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sdbatch.errors import UserError
from sdbatch.inputs import ImageRef
from sdbatch.noise import MAX_SEED
from sdbatch.prompts import DEFAULT_STRENGTH, PromptRow
from sdbatch.request import ImageRequest, SizeHints

NUMERICS_VERSION = 2
"""Raised whenever the same settings would give other pixels than before."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides the pixels of a whole dataset. Rows may override some of it."""

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
    table_sha256: str
    numerics_version: int = NUMERICS_VERSION

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all fields."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
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
    )
    return PlannedImage(row, sample, f"{row.id}-{sample:03d}", request)


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


def adopt_run(
    folder: Path,
    plan: Plan,
    versions: Mapping[str, str],
    created_at: str,
    resume: str = "if_compatible",
) -> Plan:
    """Write `run.json` if the folder has none; else check that it is this run's.

    The shard size of an existing dataset is kept, whatever the config says now.

    Args:
        folder: the dataset's.
        plan: what is to be made.
        versions: of what makes it, for the record.
        created_at: for the record.
        resume: see `matching_plan`.

    Raises:
        UserError: the folder holds a dataset that does not fit; names what differs.
    """
    path = folder / "run.json"
    existing = read_run(folder)
    if existing is None:
        record = {
            "format": 1,
            "fingerprint": plan.settings.fingerprint,
            "settings": asdict(plan.settings),
            "rows": plan.rows,
            "images": plan.images,
            "shard_size": plan.shard_size,
            "shards": plan.shards,
            "versions": dict(versions),
            "created_at": created_at,
        }
        if _create(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n"):
            return plan
        # Another runner began the same dataset a moment ago.
        existing = read_run(folder)
        resume = "if_compatible" if resume == "never" else resume
    return matching_plan(path, existing, plan, resume)


def matching_plan(
    path: Path, existing: Mapping[str, Any], plan: Plan, resume: str = "if_compatible"
) -> Plan:
    """The plan with the existing run's shard size, if the dataset may be gone on with.

    Args:
        path: of the existing `run.json`, for errors.
        existing: what it says.
        plan: what is to be made now.
        resume: `if_compatible` refuses other settings, `never` any dataset that is there; `always`
            goes on with other settings, as long as the same pictures are planned.

    Raises:
        UserError: with every differing setting, old and new.
    """
    if resume == "never":
        raise UserError(
            f"{path}: there is a dataset already, and resume=never; give another output.dir"
        )
    changed = changed_settings(existing, plan)
    if changed and resume != "always":
        raise UserError(
            f"{path}: the dataset was made with other settings: {'; '.join(changed)}; "
            "give another output.dir, or the old settings"
        )
    sizes = (existing["rows"], existing["images"])
    if sizes != (plan.rows, plan.images):
        raise UserError(
            f"{path}: the dataset has {sizes[0]} rows and {sizes[1]} images, now they are "
            f"{plan.rows} and {plan.images}; not even resume=always can mix them"
        )
    return Plan(plan.settings, plan.rows, plan.images, existing["shard_size"])


def changed_settings(existing: Mapping[str, Any], plan: Plan) -> list[str]:
    """Each setting that differs from those of a `run.json`, old and new, as text."""
    old, new = _flat(existing["settings"]), _flat(asdict(plan.settings))
    return [
        f"{key} was {_short(old.get(key))}, now {_short(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings within settings by dotted keys."""
    flat = {}
    for key, value in settings.items():
        nested = isinstance(value, Mapping)
        flat.update(_flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return flat


def read_run(folder: Path) -> dict[str, Any] | None:
    """The folder's `run.json`, or None if it has none.

    Raises:
        UserError: the file is not a run.json of this format.
    """
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not _is_run(record):
        raise UserError(f"{path}: expected a run.json of format 1")
    return record


def recorded_plan(record: Mapping[str, Any], path: Path) -> Plan:
    """The plan that a `run.json` tells of.

    Args:
        record: what `read_run` read.
        path: of the file, for errors.

    Raises:
        UserError: its settings are not those of this version.
    """
    known = {field.name for field in fields(Settings)}
    if difference := sorted(known ^ record["settings"].keys()):
        raise UserError(
            f"{path}: made by another version of sdbatch: only one of them has the settings "
            f"{', '.join(difference)}"
        )
    settings = Settings(**record["settings"])
    return Plan(settings, record["rows"], record["images"], record["shard_size"])


def _is_run(record: Any) -> bool:
    """Whether it has what a later run relies on."""
    return (
        isinstance(record, dict)
        and record.get("format") == 1
        and isinstance(record.get("settings"), dict)
        and all(isinstance(record.get(key), int) for key in ("rows", "images", "shard_size"))
        and record["shard_size"] > 0
    )


def _create(path: Path, text: str) -> bool:
    """Write a file whole, unless it exists already; False if it did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # machines may share a pid
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(unfinished, path)  # fails if the target exists, unlike a rename
        return True
    except FileExistsError:
        return False
    finally:
        unfinished.unlink()


def _short(value: Any) -> str:
    """A value for a message; digests are cut to what tells them apart."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r"([0-9a-f]{12})[0-9a-f]{52}", r"\1…", text)
