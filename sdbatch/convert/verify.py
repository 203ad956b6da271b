"""Read a converted folder again and compare every tensor with the source."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdbatch.convert.record import Conversion
from sdbatch.convert.tensors import Accounted
from sdbatch.convert.write import WEIGHTS
from sdbatch.engine.load import networks
from sdbatch.errors import UserError
from sdbatch.weights.checkpoint import Checkpoint
from sdbatch.weights.files.paddle_file import open_paddle
from sdbatch.weights.files.tensor_file import widened
from sdbatch.weights.source import open_checkpoint


def verify(checkpoint: Checkpoint, folder: Path, conversion: Conversion, dtype: str | None) -> int:
    """Compare bit for bit what is on disk with the source, cast as it was asked for.

    The folder is opened as any checkpoint is, so that its configs are checked too. Returns the
    number of tensors.

    Raises:
        UserError: naming the first tensor that differs.
    """
    for network in networks(open_checkpoint(folder)):
        Accounted.of(network)
    count = 0
    for network in networks(checkpoint):
        name = network.component.name
        path = folder / name / WEIGHTS
        file = open_paddle(path)
        if file.tensors.keys() != {record.target for record in conversion.networks[name]}:
            raise UserError(f"{path}: does not hold the tensors that conversion.json lists")
        for record, expected in Accounted.of(network).converted(dtype):
            found, info = file.read(record.target), file.tensors[record.target]
            if record.target_dtype == "BF16":
                expected = widened(expected)
            same = info.dtype == record.target_dtype and found.shape == expected.shape
            if not same or not np.array_equal(_bits(found), _bits(expected)):
                raise UserError(f"{path}: {record.target}: differs from {record.source}")
            count += 1
    return count


def _bits(array: np.ndarray) -> np.ndarray:
    """Values as integers, so that every NaN equals itself and -0 is not 0."""
    return array.view({2: "<u2", 4: "<u4"}[array.dtype.itemsize])
