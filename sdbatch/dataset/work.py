"""What making a dataset took, summed over the `shard.json` files of its shards and repairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_COMPUTING = ("text", "denoise", "decode")


@dataclass
class WorkDone:
    """Sums and peaks so far. What no shard tells of stays None or empty.

    Attributes:
        repairs: folders of rows that were tried again.
        stages: seconds by stage of the work.
        device_seconds: seconds in which a device was at the dataset's disposal.
        peak_memory_mb: the most memory that any worker used.
        peak_device_memory_mb: the same on its device.
    """

    repairs: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    device_seconds: float = 0.0
    peak_memory_mb: int | None = None
    peak_device_memory_mb: int | None = None

    def add(self, record: Mapping[str, Any], *, is_repair: bool) -> None:
        """Count one `shard.json` in; older ones lack some keys."""
        self.repairs += is_repair
        self.stages.update(record.get("stages") or {})
        self.device_seconds += record.get("seconds") or 0.0
        self.peak_memory_mb = _larger(self.peak_memory_mb, record.get("peak_memory_mb"))
        self.peak_device_memory_mb = _larger(
            self.peak_device_memory_mb, record.get("peak_device_memory_mb")
        )

    @property
    def device_busy(self) -> float | None:
        """The share of its time that the device computed, 0 to 1."""
        computing = sum(self.stages[stage] for stage in _COMPUTING)
        return computing / self.device_seconds if self.device_seconds > 0 else None

    def record(self) -> dict[str, Any]:
        """The keys of `summary.json`."""
        busy = self.device_busy
        return {
            "repairs": self.repairs,
            "stages": {stage: round(seconds, 3) for stage, seconds in self.stages.items()},
            "device_busy": None if busy is None else round(busy, 4),
            "device_seconds": round(self.device_seconds, 3),
            "peak_memory_mb": self.peak_memory_mb,
            "peak_device_memory_mb": self.peak_device_memory_mb,
        }


def _larger(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)
