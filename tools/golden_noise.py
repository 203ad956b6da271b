"""Record what PyTorch and the web UI draw, for the tests of sdbatch.noise.

Run from the repository root in an environment with PyTorch (CPU build; NumPy beside it):

    python tools/golden_noise.py                # rewrite the golden file
    python tools/golden_noise.py --exhaustive   # instead: compare all 2^24 radii and angles
    python tools/golden_noise.py --philox FILE  # instead: rewrite tests/golden/philox.json from
                                                # modules/rng_philox.py of a web UI's checkout

The second form is the proof behind the first.  From 16 values on, every normal is the product of a
radius and a sine or cosine, each a function of one 24-bit uniform; comparing those functions at
all 2^24 arguments compares every value `torch.randn` can ever return there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "noise.json"
GOLDEN_PHILOX = GOLDEN.with_name("philox.json")

SIZES = [
    1,
    2,
    3,
    15,
    16,
    17,
    31,
    32,
    33,
    63,
    64,
    100,
    623,
    624,
    625,
    1000,
    4 * 16 * 16,
    4095,
    4 * 32 * 32,
    10_007,
    4 * 64 * 64,
    4 * 96 * 96,
    4 * 128 * 128,
    70_000,
]
FEW_SIZES = [3, 16, 33, 1000, 4 * 64 * 64]
SEEDS = [
    0,
    1,
    5489,
    123_456_789,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**32 + 5,
    2**53 + 1,
    2**63 - 2,
    2**63 - 1,
]
SINGLE = [(42, size) for size in SIZES] + [(seed, size) for seed in SEEDS for size in FEW_SIZES]
SINGLE += [(52372, 1024)]  # one of its radii is zero: PyTorch returns 0.0, never -0.0
SEQUENCES = [  # (seed, sizes drawn one after the other from one generator)
    (0, [3, 3, 3]),  # an odd number of values below 16 leaves a spare normal
    (7, [1, 16, 1, 17, 2, 15]),  # ... which draws of 16 or more do not touch
    (42, [0, 5, 0, 20, 5]),
    (2**32 + 5, [1024, 1, 1024, 1, 33, 7]),
    (2**63 - 1, [16384, 16384, 31, 9, 70_000, 1]),
]
PHILOX = [(seed, [4 * 64 * 64, 1, 100, 4 * 128 * 128]) for seed in (0, 42, *SEEDS[3:])]
_CHUNK = 38 * 16  # whole blocks of 16 that fit into one Mersenne twister state


def digest(values: np.ndarray) -> str:
    """SHA-256 of the values as little-endian float32."""
    return hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()


def draws(seed: int, sizes: list[int]) -> list[np.ndarray]:
    """Successive `torch.randn` draws from one generator."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator).numpy() for size in sizes]


def write_golden() -> None:
    """Write the golden file: SINGLE first draws and SEQUENCES of draws, as digests."""
    golden = {
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "single": [
            {"seed": seed, "size": size, "sha256": digest(draws(seed, [size])[0])}
            for seed, size in SINGLE
        ],
        "sequences": [
            {"seed": seed, "sizes": sizes, "sha256": [digest(d) for d in draws(seed, sizes)]}
            for seed, sizes in SEQUENCES
        ],
    }
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    GOLDEN.write_text(one_line_per_entry(golden))
    print(
        f"{GOLDEN.relative_to(ROOT)}: {len(golden['single'])} single draws, "
        f"{len(golden['sequences'])} sequences, torch {torch.__version__}"
    )


def write_golden_philox(source: Path) -> None:
    """Write what the web UI's generator draws: of each draw of PHILOX, 20 values spread over it."""
    make = runpy.run_path(str(source))["Generator"]
    entries = []
    for seed, sizes in PHILOX:
        generator = make(seed)
        drawn = [generator.randn((size,)) for size in sizes]
        spread = [values[:: max(1, len(values) // 20)] for values in drawn]
        entries.append({"seed": seed, "sizes": sizes, "values": [short(v) for v in spread]})
    GOLDEN_PHILOX.write_text(one_line_per_entry({"draws": entries}))
    print(f"{GOLDEN_PHILOX.relative_to(ROOT)}: {len(entries)} seeds")


def short(values: np.ndarray) -> list[float]:
    """float32 values in the nine digits that tell them apart."""
    return [float(f"{value:.9g}") for value in values]


def one_line_per_entry(golden: dict) -> str:
    """JSON with each list entry on its own line."""
    parts = []
    for key, value in golden.items():
        text = json.dumps(value)
        if isinstance(value, list):
            text = "[\n" + ",\n".join("    " + json.dumps(entry) for entry in value) + "\n  ]"
        parts.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def compare_exhaustively() -> int:
    """Put all 2^24 uniforms through PyTorch and sdbatch.noise; return how many values differ."""
    sys.path.insert(0, str(ROOT))
    from sdbatch.noise.torch_cpu import _box_muller

    def ours(words: np.ndarray) -> np.ndarray:
        return _box_muller(words.astype(np.float32) * np.float32(2**-24))

    every = np.arange(2**24, dtype=np.uint32)
    zeros = np.zeros_like(every)
    # A radius of exactly 1 shows sine and cosine as they are; it is near u = 1 - exp(-1/2).
    near = every[6_600_000:6_610_000]
    unit = near[ours(_blocks(near, zeros[: len(near)])).reshape(-1, 2, 8)[:, 0].ravel() == 1][0]
    different = 0
    for name, words in (("radius", _blocks(every, zeros)), ("angle", _blocks(zeros + unit, every))):
        wrong = 0
        for start in range(0, len(words), _CHUNK):
            chunk = words[start : start + _CHUNK]
            wrong += np.count_nonzero(ours(chunk).view("u4") != _torch_normals(chunk).view("u4"))
        print(f"every {name}: {wrong} of {len(words)} values differ")
        different += wrong
    return different


def _blocks(radius_words: np.ndarray, angle_words: np.ndarray) -> np.ndarray:
    """Interleave as PyTorch's vector path reads them: eight for radii, eight for angles."""
    return np.stack([radius_words.reshape(-1, 8), angle_words.reshape(-1, 8)], axis=1).ravel()


def _torch_normals(words: np.ndarray) -> np.ndarray:
    """What `torch.randn` makes of up to 623 words chosen by us, set as its generator's state."""
    state = np.zeros(5056, np.uint8)  # CPUGeneratorImplStateLegacy and its later extension
    state[8:24].view(np.int32)[:] = 624, 1, 0, 0  # words left, seeded, next word (64 bits)
    state[24 : 24 + 624 * 8].view(np.uint64)[: len(words)] = _untemper(words)
    generator = torch.Generator()
    generator.set_state(torch.from_numpy(state))
    return torch.randn(len(words), generator=generator).numpy()


def _untemper(y: np.ndarray) -> np.ndarray:
    """Undo the Mersenne twister's output scrambling."""
    y = y ^ (y >> 18)
    y = y ^ ((y << 15) & np.uint32(0xEFC60000))
    x = y
    for _ in range(4):  # seven more right bits with every pass
        x = y ^ ((x << 7) & np.uint32(0x9D2C5680))
    y = x ^ (x >> 11)
    return x ^ (y >> 11)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--exhaustive",
        action="store_true",
        help="compare sdbatch.noise with PyTorch at every argument; write nothing",
    )
    parser.add_argument(
        "--philox",
        type=Path,
        metavar="FILE",
        help="record modules/rng_philox.py of AUTOMATIC1111's web UI instead",
    )
    arguments = parser.parse_args()
    if arguments.exhaustive:
        sys.exit(1 if compare_exhaustively() else 0)
    if arguments.philox:
        write_golden_philox(arguments.philox)
    else:
        write_golden()
