"""A Ray cluster: how to be its driver, and how many tasks it has room for."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdbatch.config.schema import LauncherConfig
from sdbatch.errors import UserError, one_line

LOCAL = "local"
"""Ray's address of a cluster of this machine alone, which begins and ends with the driver."""
_ANSWER_S = 10.0
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_STORE_BYTES = 80 * 2**20
"""Nothing but exit codes goes through Ray's object store; this is about the least it takes."""


@dataclass(frozen=True)
class Needs:
    """What one task asks a cluster for; memory in bytes, None: any."""

    cpus: int
    gpus: int
    memory: int | None

    @classmethod
    def of(cls, launcher: LauncherConfig) -> Needs:
        """As the config says.

        Raises:
            UserError: the memory is no size.
        """
        return cls(launcher.cpus, launcher.gpus, _bytes(launcher.memory))

    def __str__(self) -> str:
        parts = [f"{self.cpus} CPUs", f"{self.gpus} GPUs"]
        parts += [] if self.memory is None else [f"{self.memory / 2**30:.3g} GB"]
        return ", ".join(parts)

    def room(self, nodes: Sequence[Mapping[str, float]]) -> int:
        """How many tasks these nodes take at once, if they have nothing else to do.

        Args:
            nodes: what each of them has, under Ray's names.
        """
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory or 0}
        wanted = {name: amount for name, amount in wanted.items() if amount}
        return sum(
            min(int(node.get(name, 0) // amount) for name, amount in wanted.items())
            for node in nodes
        )


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[str]:
    """Be a driver of the cluster; yields its address.

    Args:
        address: HOST:PORT, or `auto` (the one that this machine is a node of); None: RAY_ADDRESS
            in the environment, and if there is none, a cluster for the time being.

    Raises:
        UserError: Ray is not installed, or no cluster answers.
    """
    ray = _installed()
    named = address or os.environ.get("RAY_ADDRESS") or LOCAL
    where = f"launcher.address: {named}"
    options: dict[str, Any] = {}
    if named == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
        options = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    elif named != "auto":
        _check_answers(named, where)
    try:
        ray.init(named, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"{where}: {one_line(error)}") from error
    try:
        yield named
    finally:
        ray.shutdown()


def nodes() -> list[Mapping[str, float]]:
    """What each node of the cluster has, under Ray's names."""
    return [node["Resources"] for node in _installed().nodes() if node["Alive"]]


def _installed() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "launcher: ray: needs the package ray; pip install 'sdbatch[ray]'"
        ) from error
    return ray


def _check_answers(address: str, where: str) -> None:
    """Ray itself would try for minutes."""
    match = re.fullmatch(r"\[?([^/]+?)\]?:([0-9]{1,5})", address)
    if match is None:
        raise UserError(f"{where}: expected HOST:PORT (Ray's port, often 6379), auto or local")
    try:
        socket.create_connection((match[1], int(match[2])), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"{where}: no Ray cluster answers: {one_line(error)}") from error


def _bytes(size: str | None) -> int | None:
    if size is None:
        return None
    match = re.fullmatch(r"([0-9]+)([KMGT]?)", size)
    if match is None or int(match[1]) == 0:
        raise UserError(f"launcher.memory: expected a size such as 32G, found {size}")
    return int(match[1]) * 1024 ** _UNITS[match[2]]
