"""How much memory there is, for deciding how many workers share a machine."""

from __future__ import annotations

import re
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_WORKER_BYTES = 1_500_000_000
"""A worker without weights: Python, Paddle, and pictures on their way to the disk."""
_PER_WEIGHT = 2.5
"""Weights, and room to compute with them; SD 1.5 at 512x512 in batches of 4 peaks at 2.3."""


def available_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = _CGROUP) -> int:
    """Bytes that new processes can use: the machine's, or what its container is left with.

    Args:
        meminfo: the kernel's account of the machine.
        cgroup: the folder of the container's limits (version 2; in version 1, `memory` below it).
    """
    found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text(encoding="ascii"))
    left = [int(found[1]) * 1024] if found else []
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            allowed = int((cgroup / limit).read_text(encoding="ascii"))
            left.append(allowed - int((cgroup / used).read_text(encoding="ascii")))
        except (OSError, ValueError):  # there is no limit, or it reads "max"
            continue
    return max(min(left, default=0), 0)


def workers_that_fit(cores: int, weights_bytes: int, available: int) -> int:
    """One worker a core, or as many as memory allows; at least one.

    Args:
        cores: that may be used.
        weights_bytes: of a loaded model.
        available: memory in bytes.
    """
    need = _WORKER_BYTES + _PER_WEIGHT * weights_bytes
    return max(1, min(cores, int(available // need)))
