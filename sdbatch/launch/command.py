"""The command line of a task, from that of the job: what any scheduler has to run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sdbatch.config import Config, quoted
from sdbatch.config.choices import EngineName, LauncherName
from sdbatch.engine.device import RANDOM
from sdbatch.runner.deadline import parse_stop_at

SPARE_S = 20
"""Seconds of a scheduler's warning that are left for what is not a shard's work."""


@dataclass(frozen=True)
class Given:
    """What was typed behind `python -m sdbatch`.

    Attributes:
        overrides: `key=value`, as Hydra reads it.
        flags: `--config-dir` and its like, which every task needs as well.
        cwd: the folder that relative paths begin at.
    """

    overrides: Sequence[str]
    flags: Sequence[str]
    cwd: Path


def planned_precision(config: Config) -> str:
    """The precision of the networks on machines that are not this one."""
    if config.engine.name is EngineName.random:
        return RANDOM
    precision = config.precision.name.value
    if precision != "auto":
        return precision
    return "fp16" if config.launcher.gpus and config.device != "cpu" else "fp32"


def resubmission(given: Given, launcher: LauncherName) -> list[str]:
    """What stands behind `python -m sdbatch` in the command that submits only what is missing."""
    replaced = ("launcher.resubmit", "launcher.dry_run", "resume")
    kept = [text for text in given.overrides if not _is_of(text, replaced)]
    asked = ["launcher.resubmit=true"] if launcher is LauncherName.slurm else []
    return [*given.flags, *kept, *asked]


def task_words(given: Given, config: Config, now: datetime) -> list[str]:
    """What stands behind `python -m sdbatch` in every task, before its index and count.

    What the tasks would settle each for itself, and could settle differently, is settled here.

    Args:
        given: the job's command.
        config: the same as it was understood.
        now: the present, for a `stop_at` that is a time of the day.

    Raises:
        UserError: there is no such moment.
    """
    settled: dict[str, str] = {"output.dir": quoted(config.output.dir)}
    if config.engine.name is not EngineName.random:
        settled["precision"] = planned_precision(config)
    if config.launcher.gpus and config.device == "auto":
        settled["device"] = "gpu"
    if config.stop_at is not None:
        settled["stop_at"] = quoted(parse_stop_at(config.stop_at, now).isoformat("T", "minutes"))
    replaced = {*settled, "resume"} if config.resume.value == "never" else settled.keys()
    kept = [text for text in given.overrides if not _is_of(text, ("launcher", *replaced))]
    if not any(_is_of(text, ("grace_s",)) for text in kept):
        settled["grace_s"] = str(max(config.launcher.warning_s - SPARE_S, 0))
    return [*given.flags, *kept, *_assignments(settled), "launcher=task"]


def _assignments(values: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def _is_of(override: str, keys: Sequence[str]) -> bool:
    """Whether an override sets one of the keys, something in it, or a group of that name."""
    name = re.match(r"[+~]*([^=@:]*)", override)[1]
    return any(name == key or name.startswith(f"{key}.") for key in keys)
