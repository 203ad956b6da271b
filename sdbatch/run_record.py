"""`run.json`: which plan a dataset folder belongs to, for good; and whether another fits it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from sdbatch.disk import fsync, written_aside
from sdbatch.errors import UserError
from sdbatch.plan import Plan, Settings


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
    given = record["settings"].keys()
    known = {field.name for field in fields(Settings)}
    # A folder from before there were shortcuts was made without any.
    optional = {field.name for field in fields(Settings) if field.default_factory is not MISSING}
    if difference := sorted((known ^ given) - (optional - given)):
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
    with written_aside(path, text) as aside:
        try:
            os.link(aside, path)  # fails if the target exists, unlike a rename
        except FileExistsError:
            return False
        fsync(path.parent)
        return True


def _short(value: Any) -> str:
    """A value for a message; digests are cut to what tells them apart."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r"([0-9a-f]{12})[0-9a-f]{52}", r"\1…", text)
