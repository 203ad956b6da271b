"""Real runs with engines that misbehave, and what every run must leave behind.

python -m tests.runner.runs LOAD key=value ...    the real command, with such an engine
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
from hydra import compose, initialize_config_dir

from sdbatch import config
from sdbatch.dataset.verify import verify
from sdbatch.runner import local
from sdbatch.runner.engines import load_engine
from tests.runner.faults import Load

ROOT = Path(__file__).resolve().parent.parent.parent

# Runs -------------------------------------------------------------------------------------------


def a_table(folder: Path, rows: int) -> Path:
    """A prompt table: `row 0`, `row 1`, ..., with ids of the same numbers."""
    path = folder / f"rows{rows}.parquet"
    pq.write_table(pa.table({"prompt": [f"row {n}" for n in range(rows)]}), path)
    return path


def overrides(table: Path, folder: Path, *more: str) -> list[str]:
    """A rehearsal by one worker with small pictures, four of them a shard; it cannot hang."""
    return [
        "engine=random", f"prompts.path={table}", f"output.dir={folder}", "output.shard_size=4",
        "width=64", "height=64", "workers=1", "max_hours=0.05", *more,
    ]  # fmt: skip


def run(table: Path, folder: Path, *more: str, load: Load = load_engine) -> local.Outcome:
    """A run whose parent is this process. Raises what the run raises."""
    given = overrides(table, folder, *more)
    config.register()
    with initialize_config_dir(str(config.conf_dir()), version_base="1.3"):
        composed = compose("config", overrides=given)
    with _as_it_was(), mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)):
        return local.run(config.validate(composed), composed, given, load=load)


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Signals and the log are afterwards as they were before."""
    log = logging.getLogger("sdbatch")
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    signals = {number: signal.getsignal(number) for number in numbers}
    handlers = list(log.handlers)
    try:
        yield
    finally:
        for number, handler in signals.items():
            signal.signal(number, handler)
        for handler in log.handlers:
            handler.close()
        log.handlers[:] = handlers
        log.propagate = True
        log.setLevel(logging.NOTSET)


def start(table: Path, folder: Path, *more: str, load: Load = load_engine) -> subprocess.Popen:
    """The real command in a process group of its own, as a shell would start it."""
    return subprocess.Popen(
        [
            sys.executable, "-m", "tests.runner.runs", pickle.dumps(load).hex(),
            *overrides(table, folder, *more),
        ],
        cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How the real command ended. `complaint` is its one line of error, None if there is none."""

    code: int
    stdout: str
    stderr: str
    complaint: str | None


def ended(process: subprocess.Popen) -> Ended:
    """Wait for the real command; there is one line of error at most, and never a traceback."""
    stdout, stderr = process.communicate(timeout=120)
    assert "Traceback" not in stderr, stderr
    complaints = [line for line in stderr.splitlines() if line.startswith("sdbatch: error: ")]
    assert len(complaints) == (process.returncode in (1, 75)), stderr
    complaint = complaints[0].removeprefix("sdbatch: error: ") if complaints else None
    return Ended(process.returncode, stdout, stderr, complaint)


def children(parent: int) -> list[int]:
    """Process numbers of a process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def wait_for_the_end(workers: list[int]) -> None:
    """Until processes that are not our children have ended and were collected."""
    there = [Path(f"/proc/{pid}") for pid in workers]
    wait_until(lambda: not any(place.exists() for place in there), "the workers' end", 30)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Look again and again."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)


# Outcomes ---------------------------------------------------------------------------------------

_VARYING = {"attempts", "batch_size_used", "latency_s", "created_at"}


def contents(folder: Path) -> dict[str, dict[str, Any]]:
    """Rows of a finished and sound dataset by image, without what a fault may change.

    They have the pictures' SHA-256, which `verify` compares with the files.
    """
    report = verify(folder)
    assert (report.problems, report.missing) == ((), ())
    assert sorted(path.name for path in folder.iterdir()) == [
        "_tmp", "logs", "metadata.parquet", "repairs", "run.json", "shards", "summary.json",
    ]  # fmt: skip
    assert list((folder / "_tmp").iterdir()) == []
    return {
        row["image_id"]: {name: value for name, value in row.items() if name not in _VARYING}
        for row in rows(folder).values()
    }


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Merged rows by image."""
    table = pq.read_table(folder / "metadata.parquet").to_pylist()
    found = {row["image_id"]: row for row in table}
    assert len(found) == len(table)
    return found


def shards(folder: Path) -> set[str]:
    """Names of finished shards, each of which is sound."""
    assert verify(folder).problems == ()
    return {path.name for path in (folder / "shards").iterdir()}


@dataclass(frozen=True)
class Reference:
    """A table of 12 rows in three shards, and the dataset that an undisturbed run makes of it."""

    table: Path
    folder: Path
    contents: Mapping[str, Mapping[str, Any]]


@functools.cache
def undisturbed(folder: Path) -> Reference:
    """Made once for all tests in this process."""
    table, data = a_table(folder, 12), folder / "undisturbed"
    assert run(table, data).exit_code == 0
    return Reference(table, data, contents(data))


def main() -> None:
    """The real command with the engine that the first argument unpickles to."""
    load = pickle.loads(bytes.fromhex(sys.argv.pop(1)))
    local.run = partial(local.run, load=load)
    from sdbatch.__main__ import main as command

    command()


if __name__ == "__main__":
    main()
