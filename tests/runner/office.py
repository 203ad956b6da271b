"""A worker whose threads run in this process, seen from its parent."""

from __future__ import annotations

from multiprocessing import Pipe
from typing import Any

from sdbatch.engine.device import Device
from sdbatch.runner.link import Parent
from sdbatch.runner.messages import (
    Assignment,
    Said,
    Unit,
)
from sdbatch.runner.worker import Worker
from tests.runner.conftest import begun
from tests.runner.painter import Painter

SHARD = Unit(0, "00000")


class Office:
    """The parent's end of a worker that runs in this process."""

    def __init__(self, job, engine: Painter | None = None):
        self.job, self.engine = job, engine or Painter()
        self.store = begun(job)
        ours, theirs = Pipe()
        self._ours, self.parent = ours, Parent(theirs)
        self._worker = Worker(self.parent, 3, Device("cpu", "fp32"), job, self.engine)

    def make(self, *work: Assignment | Unit) -> list[Any]:
        """Have these units made; returns what the worker said, but for lines for the log."""
        for item in work:
            item = item if isinstance(item, Assignment) else Assignment(item)
            self.parent.assignments.put(item)
        self.parent.assignments.put(None)
        try:
            self._worker.run()
        finally:
            self.said = self._received()
        return [message for message in self.said if not isinstance(message, Said)]

    def _received(self) -> list[Any]:
        messages = []
        while self._ours.poll():
            messages.extend(self._ours.recv())
        return messages

    def rows(self, name: str = "00000") -> list[dict]:
        return self.store.read_metadata(name).to_pylist()

    def statuses(self, name: str = "00000") -> dict[str, str]:
        return {row["image_id"]: row["status"] for row in self.rows(name)}

    def leftovers(self) -> list[str]:
        return [path.name for path in self.store.tmp.iterdir()]


def of(kind: type, messages: list[Any]) -> list[Any]:
    return [message for message in messages if isinstance(message, kind)]
