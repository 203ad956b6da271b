"""`conversion.json`: what became of every tensor of the source."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

FILE_NAME = "conversion.json"


@dataclass(frozen=True)
class TensorRecord:
    """One weight of the result and where it came from.

    Attributes:
        source: key in the source file.
        target: name in `model_state.pdparams`.
        done: copied, or what was done: split, reshaped, transposed, cast.
    """

    source: str
    target: str
    source_dtype: str
    source_shape: tuple[int, ...]
    target_dtype: str
    target_shape: tuple[int, ...]
    done: str


def what_was_done(
    source_shape: tuple[int, ...],
    source_dtype: str,
    array: np.ndarray,
    target_dtype: str,
) -> str:
    """Read off the array itself, before it is copied out: a transposed view is not in C order."""
    actions = []
    if math.prod(source_shape) != array.size:
        actions.append("split")
    if len(source_shape) != array.ndim:
        actions.append("reshaped")
    if not array.flags.c_contiguous:
        actions.append("transposed")
    if source_dtype != target_dtype:
        actions.append("cast")
    return ", ".join(actions) or "copied"


@dataclass(frozen=True)
class Conversion:
    """The whole record.

    Attributes:
        source: path, files with their bytes and SHA-256.
        family, evidence: what the checkpoint is and why.
        options: what was asked for.
        networks: name -> its tensors.
        dropped: keys of the source that no network has a use for, and why.
        versions: of sdbatch and Paddle.
    """

    source: Mapping[str, Any]
    family: str
    prediction: str
    evidence: tuple[str, ...]
    options: Mapping[str, Any]
    networks: Mapping[str, tuple[TensorRecord, ...]]
    dropped: tuple[tuple[str, str], ...]
    versions: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """For `conversion.json`."""
        return {
            "format": 1,
            "source": dict(self.source),
            "family": self.family,
            "prediction": self.prediction,
            "evidence": list(self.evidence),
            "options": dict(self.options),
            "networks": {
                name: {**summary(records), "tensors": [asdict(record) for record in records]}
                for name, records in self.networks.items()
            },
            "dropped": [{"source": key, "reason": reason} for key, reason in self.dropped],
            "versions": dict(self.versions),
        }


def summary(records: Iterable[TensorRecord]) -> dict[str, Any]:
    """Counts of a network: weights, parameters, bytes by dtype, and what was done how often."""
    records = tuple(records)
    done: dict[str, int] = {}
    dtypes: dict[str, int] = {}
    for record in records:
        done[record.done] = done.get(record.done, 0) + 1
        dtypes[record.target_dtype] = dtypes.get(record.target_dtype, 0) + 1
    sizes = [math.prod(record.target_shape) for record in records]
    return {
        "weights": len(records),
        "parameters": sum(sizes),
        "bytes": sum(n * _width(r.target_dtype) for n, r in zip(sizes, records, strict=True)),
        "dtypes": dtypes,
        "done": done,
    }


def _width(dtype: str) -> int:
    return {"F32": 4, "F16": 2, "BF16": 2}[dtype]
