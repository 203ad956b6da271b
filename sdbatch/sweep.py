"""Hydra's `--multirun`: a dataset folder for each job of a sweep, and one exit code for all.

Jobs may run in this process one after another, or elsewhere (hydra/launcher=submitit_local or
submitit_slurm); what they leave in the sweep's own folder is how the command learns of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

_FOLDER = "SDBATCH_SWEEP"
"""The environment variable with the sweep's own folder, as jobs in other processes read it."""
_LONGEST = 150
"""Bytes of a folder's name; file systems take 255, and temporary names are longer."""


@dataclass(frozen=True)
class Ended:
    """How a job of the sweep ended.

    Attributes:
        code: its exit code.
        folder: where its dataset is, or would have been.
        complaint: its line of error, if there was one.
        process: the number of the one that ran it.
    """

    code: int
    folder: str
    complaint: str | None
    process: int


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for one."""
    return "--multirun" in arguments or "-m" in arguments


def begin(arguments: Sequence[str]) -> list[str]:
    """What to add to the command line of a sweep; its own folder is settled as well.

    Hydra's `override_dirname` is told which keys are the same in all jobs, and so do not belong
    into a folder's name; like this jobs in other processes know it too.
    """
    name = f"{time.strftime('%Y-%m-%dT%H-%M-%S')}-{os.getpid()}"
    os.environ[_FOLDER] = str(Path("outputs", "sweeps", name).absolute())
    fixed = [one.key_or_group for one in _parsed(arguments) if not one.is_sweep_override()]
    keys = ",".join(sorted({key for key in fixed if not key.startswith("hydra")}))
    return [f"hydra.job.config.override_dirname.exclude_keys=[{keys}]"]


def dataset_dir(default: str, overrides: Sequence[str], fixed: Collection[str]) -> str:
    """Where a job of a sweep has its dataset.

    Args:
        default: `output.dir` as composed.
        overrides: all of the job.
        fixed: keys that have one value in the whole sweep.

    Returns:
        `<output.dir>/<what is swept>` if that was given, else `outputs/<table>-sweep/<...>`: never
        inside the dataset of a single run. An `output.dir` that is swept, or made of other keys, is
        taken as it is.
    """
    parsed = _parsed(overrides)
    given = [one for one in parsed if one.key_or_group == "output.dir"]
    if given and ("output.dir" not in fixed or "${" in given[-1].input_line):
        return default
    parts = [_key_and_text(one) for one in parsed if one.key_or_group not in fixed]
    if not parts:
        return default
    return f"{default if given else f'{default}-sweep'}/{folder_name(parts)}"


def folder_name(parts: Sequence[tuple[str, str]]) -> str:
    """Keys and texts of their values as the name of a folder: others have another.

    `key-value,key-value`, by keys. No `=`: readers of Parquet would take folders for partitions.
    Letters and digits of all scripts stay in texts, and `.+-_@`; the rest is written as %XX. What
    is too long is cut, with a digest behind an ellipsis, which no other name has.
    """
    # A key has no hyphen, so the first one ends it.
    name = ",".join(f"{_escaped(key)}-{_escaped(text)}" for key, text in sorted(parts))
    if len(name.encode()) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name.encode()[: _LONGEST - 20].decode(errors='ignore')}…{digest}"


def note(code: int, folder: str, complaint: str | None, job: int) -> None:
    """Leave a job's end for the command that began the sweep; nothing where there is none."""
    if _FOLDER in os.environ:
        place = Path(os.environ[_FOLDER], "jobs")
        place.mkdir(parents=True, exist_ok=True)
        ended = Ended(code, folder, complaint, os.getpid())
        (place / f"{job:05d}.json").write_text(json.dumps(asdict(ended)), encoding="utf-8")


def ended() -> list[Ended]:
    """All jobs that have ended, in their order."""
    places = sorted(Path(os.environ[_FOLDER], "jobs").glob("*.json"))
    return [Ended(**json.loads(place.read_text(encoding="utf-8"))) for place in places]


def _parsed(overrides: Sequence[str]) -> list[Override]:
    """Those that can be read; of the others Hydra tells."""
    parser, found = OverridesParser.create(), []
    for text in overrides:
        if "=" not in text or text.startswith("-"):
            continue
        try:
            found.append(parser.parse_override(text))
        except HydraException:
            continue
    return found


def _key_and_text(override: Override) -> tuple[str, str]:
    """As they were typed; Chinese without the quotes that Hydra needs around it."""
    value = override.value()
    if isinstance(value, str) and not value.isascii():
        return override.key_or_group, value
    return override.key_or_group, override.input_line.partition("=")[2]


def _escaped(text: str) -> str:
    return re.sub(r"[^\w.+@-]", lambda match: _escape(match[0]), text)


def _escape(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())
