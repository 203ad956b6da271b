"""A job's numbers as a text file for Prometheus: node_exporter's textfile collector reads it.

Reference: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path


@dataclass(frozen=True)
class Snapshot:
    """A job at one moment. What is None or has no entries is left out of the file.

    Args:
        dataset: label of every number.
        planned: images that the whole dataset will have.
        done: status -> images, in this and earlier runs.
        images_per_second: rate of this run.
        shards: shards that the whole dataset will have.
        shards_done: shards that are there.
        workers: worker processes at work.
        worker_restarts: workers that died and were started again in this run.
        stage_seconds: stage -> seconds spent in it in this run, over all workers.
        device_busy: share of time in which the device computed, 0 to 1.
        last_image_at: when the last image was made, Unix time in seconds.
        peak_memory_bytes: the most memory that was in use.
    """

    dataset: str
    planned: int
    done: Mapping[str, int]
    images_per_second: float
    shards: int
    shards_done: int
    workers: int
    worker_restarts: int
    stage_seconds: Mapping[str, float]
    device_busy: float | None
    last_image_at: float | None
    peak_memory_bytes: int


def write_metrics(path: Path, snapshot: Snapshot) -> None:
    """Put the file in place by one rename, so that the collector never reads half of it.

    Args:
        path: the file, whose name must end in `.prom` for the collector to see it.
        snapshot: what it says.

    Raises:
        OSError: it cannot be written; an older file is left as it was.
    """
    # Made by open() and not by tempfile, which would keep it from the collector, another user.
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # A folder's name may hold bytes that are no text.
        aside.write_bytes(render(snapshot).encode("utf-8", errors="replace"))
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def render(snapshot: Snapshot) -> str:
    """The file's text, in Prometheus' text format."""
    lines = [line for family in _families(snapshot) for line in family.lines(snapshot.dataset)]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Family:
    """One metric: a number, or one for each value of a label."""

    kind: str
    name: str
    meaning: str
    value: float | Mapping[str, float] | None
    label: str = ""

    def lines(self, dataset: str) -> Iterator[str]:
        samples = self.value if isinstance(self.value, Mapping) else {"": self.value}
        samples = {key: number for key, number in samples.items() if number is not None}
        if samples:
            yield f"# HELP sdbatch_{self.name} {self.meaning}"
            yield f"# TYPE sdbatch_{self.name} {self.kind}"
        for key, number in samples.items():
            labels = f'dataset="{_escape(dataset)}"'
            if self.label:
                labels += f',{self.label}="{_escape(key)}"'
            yield f"sdbatch_{self.name}{{{labels}}} {_number(number)}"


def _families(s: Snapshot) -> list[_Family]:
    gauge, counter = partial(_Family, "gauge"), partial(_Family, "counter")
    return [
        gauge("images_planned", "Images of the whole dataset.", s.planned),
        gauge("images", "Images finished, in this and earlier runs.", s.done, "status"),
        gauge("images_per_second", "Images made per second in this run.", s.images_per_second),
        gauge("shards", "Shards of the whole dataset.", s.shards),
        gauge("shards_done", "Shards that are there.", s.shards_done),
        gauge("workers", "Worker processes at work.", s.workers),
        counter("worker_restarts_total", "Workers that died and began anew.", s.worker_restarts),
        counter("stage_seconds_total", "Time in a stage, all workers.", s.stage_seconds, "stage"),
        gauge("device_busy_ratio", "Share of time the device computed, 0 to 1.", s.device_busy),
        gauge("last_image_timestamp_seconds", "When an image was last made.", s.last_image_at),
        gauge("peak_memory_bytes", "The most memory that was in use.", s.peak_memory_bytes),
    ]


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    """As Go's ParseFloat reads it, with every digit."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else str(value)
