"""`launch.json`: what was handed to a scheduler, for its tasks and for whoever looks later.

<dataset>/logs/<scheduler>-<time>/launch.json, the scheduler being slurm or ray.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdbatch.disk import write_whole
from sdbatch.errors import UserError
from sdbatch.prompts import TableSummary

NAME = "launch.json"


@dataclass(frozen=True)
class Array:
    """One job array: its id, the number of its first task, and how many it has."""

    job: str
    first: int
    tasks: int


@dataclass(frozen=True)
class Launch:
    """One submission.

    Attributes:
        command: the words behind `python -m sdbatch` that would submit what is missing.
        cwd: the folder to type them in.
        tasks: how many share the work.
        todo: numbers of the shards to be made, ascending; None: all of the dataset.
        table: the prompt table as it was checked, so that tasks need not read it again.
        arrays: as they were submitted; none before.
        merge: id of the job that merges; None before it is submitted.
        created_at: in ISO form.
    """

    command: Sequence[str]
    cwd: str
    tasks: int
    todo: Sequence[int] | None
    table: TableSummary
    created_at: str
    arrays: Sequence[Array] = ()
    merge: str | None = None

    @property
    def resubmit_command(self) -> str:
        """What to type, in any folder, to submit only what is missing."""
        words = shlex.join(["python", "-m", "sdbatch", *self.command])
        return f"cd {shlex.quote(self.cwd)} && {words}"

    def write(self, folder: Path) -> None:
        """Write or replace `launch.json`, whole."""
        record = {"format": 1, **asdict(self), "table": self.table.as_json()}
        write_whole(folder / NAME, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def read_launch(folder: Path) -> Launch:
    """Read a folder's `launch.json`.

    Raises:
        UserError: there is none, or it is not of this form.
    """
    path = folder / NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("format") != 1:
            raise ValueError("not format 1")
        return _launch(record)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: expected a launch.json of format 1: {error}") from error


def read_launches(dataset: Path) -> list[tuple[Path, Launch]]:
    """All submissions of a dataset to Slurm, oldest first, each with its folder.

    Unreadable ones are none.

    Args:
        dataset: its folder.
    """
    found = []
    for path in sorted((dataset / "logs").glob(f"slurm-*/{NAME}")):
        try:
            found.append((path.parent, read_launch(path.parent)))
        except UserError:
            continue
    return sorted(found, key=lambda launch: launch[1].created_at)


def _launch(record: dict[str, Any]) -> Launch:
    arrays = tuple(Array(**array) for array in record.pop("arrays"))
    table = TableSummary.from_json(record.pop("table"))
    return Launch(**record, table=table, arrays=arrays)
