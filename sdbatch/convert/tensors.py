"""A network's tensors on their way from a source into Paddle's form, one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from sdbatch.convert.record import TensorRecord, what_was_done
from sdbatch.engine.load import Network
from sdbatch.errors import UserError
from sdbatch.weights.assign import Assignment, Targets, assigned
from sdbatch.weights.load import bfloat16_bits, build

DTYPES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}


@dataclass(frozen=True)
class Accounted:
    """A network whose source is known to have each of its weights, and nothing more."""

    network: Network
    targets: Targets

    @classmethod
    def of(cls, network: Network) -> Accounted:
        """Check it on stand-ins: no tensor is read.

        Raises:
            UserError: a tensor is left over, missing or of a wrong shape.
        """
        accounted = cls(network, Targets.of(build(network.factory, "float32")))
        for _ in accounted.assignments(network.component.stand_ins()):
            pass
        return accounted

    def assignments(self, tensors: Iterable[tuple[str, np.ndarray]]) -> Iterator[Assignment]:
        """What each weight gets: see `weights.assign.assigned`."""
        component = self.network.component
        return assigned(
            self.targets,
            tensors,
            component.layout,
            self.network.to_layer,
            source=str(component.source),
        )

    def converted(self, dtype: str | None) -> Iterator[tuple[TensorRecord, np.ndarray]]:
        """Every weight as it is written, with its record.

        Linear weights are [in, out], as Paddle's own layers have them; bfloat16 comes as its bits.

        Args:
            dtype: fp32, fp16 or bf16; None keeps each tensor's own (float32 for float64).

        Raises:
            UserError: a value is too large for the dtype.
        """
        component = self.network.component
        for assignment in self.assignments(component.tensors()):
            array = assignment.array.T if assignment.linear else assignment.array
            place, shape = component.places[assignment.key], component.shape(assignment.key)
            kept = place.dtype if place.dtype in ("F16", "BF16") else "F32"
            target_dtype = DTYPES[dtype] if dtype else kept
            record = TensorRecord(
                source=place.key,
                target=assignment.target,
                source_dtype=place.dtype,
                source_shape=shape,
                target_dtype=target_dtype,
                target_shape=array.shape,
                done=what_was_done(shape, place.dtype, array, target_dtype),
            )
            yield record, _cast(array, target_dtype, f"{component.source}: {place.key}")


def _cast(array: np.ndarray, dtype: str, where: str) -> np.ndarray:
    """The nearest values of `dtype` in C order; bfloat16 as its bits.

    Raises:
        UserError: a finite value is too large for it.
    """
    with np.errstate(over="ignore"):
        if dtype == "BF16":
            found = bfloat16_bits(np.ascontiguousarray(array))
            overflown = (found & 0x7FFF) == 0x7F80
        else:
            found = np.ascontiguousarray(array, {"F32": "<f4", "F16": "<f2"}[dtype])
            if found.dtype.itemsize >= array.dtype.itemsize:
                return found
            overflown = np.isinf(found)
    count = int(np.count_nonzero(overflown & np.isfinite(array)))
    if count:
        raise UserError(
            f"{where}: values too large for {dtype} ({count} of {array.size}); choose another dtype"
        )
    return found
