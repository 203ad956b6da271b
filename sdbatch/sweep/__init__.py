"""Hydra's `--multirun`: a dataset folder for each job of a sweep, and one exit code for all."""

from sdbatch.sweep.jobs import (
    Ended,
    begin,
    ended,
    is_sweep,
    listen,
    lost,
    note,
    stopped,
    tidy,
    wait,
)
from sdbatch.sweep.names import dataset_dir, folder_name, readable

__all__ = [
    "Ended",
    "begin",
    "dataset_dir",
    "ended",
    "folder_name",
    "is_sweep",
    "listen",
    "lost",
    "note",
    "readable",
    "stopped",
    "tidy",
    "wait",
]
