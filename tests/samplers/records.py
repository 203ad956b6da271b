"""What diffusers' schedulers did (tools/golden_samplers.py), and the network they did it with."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sdbatch.noise import TorchGenerator
from sdbatch.samplers import Sampler, SamplerOptions

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "samplers"
SHAPE = (1, 4, 1, 2)
SAMPLE = np.cos(np.arange(8.0)).reshape(SHAPE)


def read(name: str) -> tuple[list[dict], np.ndarray]:
    """The records of one file and their numbers, all in one array."""
    records = json.loads(lzma.decompress((GOLDEN / f"{name}.json.xz").read_bytes()))["records"]
    with lzma.open(GOLDEN / f"{name}.npy.xz") as file:
        return records, np.load(file)


def with_states(name: str) -> Iterator[tuple[dict, np.ndarray]]:
    """Each record with its recorded latents, float64 [kept, 8]."""
    records, states = read(name)
    ends = np.cumsum([record["kept"] for record in records])
    assert ends[-1] == len(states)
    return zip(records, np.split(states, ends[:-1]), strict=True)


def with_timesteps() -> Iterator[tuple[dict, dict[int, np.ndarray]]]:
    """Each record with its timesteps by step count."""
    records, numbers = read("timesteps")
    start = 0
    for record in records:
        found = {}
        for count, length in zip(record["counts"], record["lengths"], strict=True):
            row = np.cumsum(np.cumsum(numbers[start : start + length]))
            found[count], start = row / record["scale"], start + length
        yield record, found
    assert start == len(numbers)


def sampler(record: dict) -> Sampler:
    return Sampler.from_config(record["config"], SamplerOptions(**record["options"]))


def draws(convert=np.float64):
    """The noise of `torch.Generator().manual_seed(11)`, draw after draw."""
    generator = TorchGenerator(11)
    return lambda: convert(generator.randn(SHAPE))


def network(x, t: float):
    """Bounded, a little nonlinear, mixing channels, looking at the timestep."""
    mixed = x + 0.3 * np.roll(x, 1, axis=1) + t / 1000
    return 0.8 * np.tanh(mixed) + 0.1 * x / (1 + x * x)
