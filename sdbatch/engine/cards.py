"""What networks can run on: known cards, the cards of this machine, and the Paddle line installed.

Imports no Paddle: a plan for a card can be made without the card, and without its driver.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sdbatch.errors import UserError

Line = tuple[int, int]
"""Of Paddle: major and minor version."""

_MIB = 1 << 20


@dataclass(frozen=True)
class Hardware:
    """A card, or the part of a machine's CPU that one worker has.

    Attributes:
        name: for messages.
        capability: CUDA's compute capability, e.g. (8, 0); None: a CPU.
        memory_bytes: what it has; of a CPU, what the worker may use.
        cores: of a CPU; 0: unknown.
        free_bytes: what nobody uses at present; None: unknown.
        bf16: of a CPU: whether it multiplies bfloat16.
    """

    name: str
    capability: tuple[int, int] | None
    memory_bytes: int
    cores: int = 0
    free_bytes: int | None = None
    bf16: bool = True

    @property
    def is_gpu(self) -> bool:
        """Whether it is a card."""
        return self.capability is not None

    @property
    def usable_bytes(self) -> int:
        """What a worker can hope for."""
        return self.memory_bytes if self.free_bytes is None else self.free_bytes


def _card(name: str, capability: tuple[int, int], mebibytes: int) -> Hardware:
    return Hardware(name, capability, mebibytes * _MIB)


# Memory as nvidia-smi reports it (less than the name says where error correction takes a part).
CARDS: Mapping[str, Hardware] = MappingProxyType(
    {
        "v100_16gb": _card("V100 16 GB", (7, 0), 16160),
        "v100": _card("V100 32 GB", (7, 0), 32510),
        "t4": _card("T4", (7, 5), 15360),
        "a10": _card("A10", (8, 6), 23028),
        "a100_40gb": _card("A100 40 GB", (8, 0), 40960),
        "a100": _card("A100 80 GB", (8, 0), 81920),
        "rtx3090": _card("RTX 3090", (8, 6), 24576),
        "rtx4090": _card("RTX 4090", (8, 9), 24564),
        "l40s": _card("L40S", (8, 9), 46068),
        "h100": _card("H100 80 GB", (9, 0), 81559),
        "h200": _card("H200", (9, 0), 143771),
    }
)
"""Cards that a plan can be printed for without having them."""


def card(name: str) -> Hardware:
    """A card of `CARDS`.

    Raises:
        UserError: there is none of that name.
    """
    if name in CARDS:
        return CARDS[name]
    close = difflib.get_close_matches(name.lower(), CARDS, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise UserError(f"engine.card: {name}: expected one of {', '.join(CARDS)}{hint}")


_QUERY = (
    "nvidia-smi",
    "--query-gpu=name,compute_cap,memory.total,memory.free",
    "--format=csv,noheader,nounits",
)


def parse_nvidia_smi(text: str) -> list[Hardware]:
    """Cards from lines as `Tesla T4, 7.5, 15360, 14910` (memory in MiB: total, free).

    Raises:
        ValueError: a line that reads differently.
    """
    cards = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, capability, total, free = (part.strip() for part in line.rsplit(",", 3))
        major, minor = map(int, capability.split("."))
        cards.append(Hardware(name, (major, minor), int(total) * _MIB, free_bytes=int(free) * _MIB))
    return cards


def installed_cards() -> list[Hardware] | None:
    """The cards that Paddle would number from 0, or None where nvidia-smi cannot tell.

    It numbers them as Paddle does only under `CUDA_DEVICE_ORDER=PCI_BUS_ID`.
    """
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is None:
        return _asked(())
    cards = []
    for number in filter(None, shown.split(",")):  # or a UUID
        found = _asked(("--id", number.strip()))
        if found is None:
            return None
        cards.extend(found)
    return cards


def _asked(which: tuple[str, ...]) -> list[Hardware] | None:
    try:
        answer = subprocess.run(
            [*_QUERY, *which], capture_output=True, text=True, check=True, timeout=60
        )
        return parse_nvidia_smi(answer.stdout)
    # No such program, no driver, one too old for these fields, or a field that is "[N/A]".
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def paddle_line() -> Line:
    """Major and minor version of the Paddle installed, read from its files.

    Raises:
        UserError: Paddle is not installed.
    """
    version = paddle_version_file()
    match = re.search(r"^full_version\s*=\s*'(\d+)\.(\d+)", version.read_text("utf-8"), re.M)
    if match is None:
        raise UserError(f"{version}: expected full_version, found none; is Paddle's build damaged?")
    return int(match[1]), int(match[2])


def paddle_version_file() -> Path:
    """Where the Paddle installed tells its version and its CUDA, as `name = 'value'` lines.

    Raises:
        UserError: Paddle is not installed.
    """
    found = importlib.util.find_spec("paddle")
    if found is None or found.origin is None:
        raise UserError("Paddle is not installed; expected sdbatch[cpu] or sdbatch[gpu]")
    return Path(found.origin).parent / "version" / "__init__.py"


# What PyPI's paddlepaddle-gpu 2.6.2 has machine code for; it has no PTX to compile for others.
_CODE_OF_2_6 = ((6, 1), (7, 0), (7, 5), (8, 0), (8, 6))


def refuse_misfit(hardware: Hardware, line: Line) -> None:
    """Check that a Paddle line has code for a card; any runs on a CPU.

    Raises:
        UserError: it has none, so that the first operation would fail.
    """
    if hardware.capability is None or line >= (3, 0):
        return
    major, minor = hardware.capability
    # Machine code runs on later cards of the same major capability.
    if not any(major == built[0] and minor >= built[1] for built in _CODE_OF_2_6):
        raise UserError(
            f"{hardware.name}: Paddle {line[0]}.{line[1]} has no code for compute capability "
            f"{major}.{minor} (its wheel ends at 8.9); expected Paddle 3"
        )
