"""What every benchmark prints first: the machine and the Python."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine_line() -> str:
    """Processor, cores this process may use, memory, Python."""
    cpu = next(
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cpu}, {cores} cores, {memory:.0f} GiB, Python {platform.python_version()}"
