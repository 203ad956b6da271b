"""What fits into memory, by the estimate: the batch, and whether the VAE decodes in tiles."""

from __future__ import annotations

from dataclasses import replace

from sdbatch.engine.cards import Hardware
from sdbatch.engine.choice import Choice
from sdbatch.engine.estimate import Estimate, ModelShape, Work, estimate

MAX_BATCH_GPU = 16
"""Where the largest cards are long busy; a larger batch only loses more with a fault."""
MAX_BATCH_CPU = 4
MARGIN = 0.10
"""Of free memory; left for fragmentation, and for what the estimate does not see."""
TILES = (1024, 768, 512, 256)
"""Pixels a side."""


def choose_vae_tile(hardware: Hardware, model: ModelShape, work: Work) -> Choice[int | None]:
    """Whole pictures if the card can hold one, else the largest tile that fits; None: whole.

    Tiles change pixels at their seams, so they are a last resort, and what the card has decides,
    not what is free: the same job on the same card makes the same pictures. A worker's share of a
    CPU's memory is different each time, so there are no tiles there.

    Args:
        hardware: the card, or a CPU.
        model: of the checkpoint.
        work: with one picture.
    """
    if not hardware.is_gpu:
        return Choice(None, "whole pictures: a CPU's free memory must not change them")
    for side in (None, *TILES):
        if side is not None and side >= max(work.width, work.height):
            continue
        if fits(hardware.memory_bytes, estimate(model, replace(work, tile=side))):
            return Choice(side, "whole pictures fit" if side is None else "a whole one would not")
    return Choice(None, "not even in tiles would one picture fit")


def choose_batch_size(free: int, model: ModelShape, work: Work, asked: str | int) -> Choice[int]:
    """As asked for, or the largest that fits, by the estimate.

    Memory that runs out all the same halves the batch while the job runs.
    """
    if asked != "auto":
        return Choice(int(asked), "asked for")
    most = MAX_BATCH_GPU if work.on_gpu else MAX_BATCH_CPU
    batch = auto_batch(free, model, work, most)
    if batch == 0:
        return Choice(1, "not even one picture fits by the estimate")
    return Choice(batch, "as many as are worth it" if batch == most else "as many as fit")


def auto_batch(free: int, model: ModelShape, work: Work, most: int) -> int:
    """The largest batch up to `most` that fits into so many bytes; 0: none does."""
    sizes = range(most, 0, -1)
    return next((n for n in sizes if fits(free, estimate(model, replace(work, batch=n)))), 0)


def fits(free: int, memory: Estimate) -> bool:
    """Whether free memory suffices, a margin left."""
    return memory.total <= (1 - MARGIN) * free
