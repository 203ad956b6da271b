"""`PhiloxGenerator` draws what torch.randn draws on a GPU, and the web UI's "NV" source."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.noise import MAX_SEED, PhiloxGenerator
from sdbatch.noise.philox import philox4x32

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "philox.json").read_text())
PI = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0]
ONES = 0xFFFFFFFF

seeds = st.integers(0, MAX_SEED)
words = st.integers(0, ONES)
sizes = st.integers(1, 100)


def rounds_of_one(counter, key):
    """The four words that one counter (four words) gives under one key (two words)."""
    column = np.array(counter, np.uint64).reshape(4, 1)
    return philox4x32(column, key[0] | key[1] << 32).ravel().tolist()


class TestPhilox4x32:
    @pytest.mark.parametrize(
        ("counter", "key", "expected"),
        [
            ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
            ([ONES] * 4, [ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
            (PI[:4], PI[4:], [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
        ],
        ids=["zeros", "ones", "pi"],
    )
    def test_gives_the_known_answers_of_random123(self, counter, key, expected):
        """From its examples/kat_vectors, `philox4x32 10`."""
        assert rounds_of_one(counter, key) == expected

    @given(st.lists(words, min_size=4, max_size=4), st.lists(words, min_size=2, max_size=2))
    def test_equals_the_paper_s_definition_in_plain_integers(self, counter, key):
        c, k = counter, key
        for _ in range(10):
            first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [second >> 32 ^ c[1] ^ k[0], second & ONES, first >> 32 ^ c[3] ^ k[1], first & ONES]
            k = [k[0] + 0x9E3779B9 & ONES, k[1] + 0xBB67AE85 & ONES]
        assert rounds_of_one(counter, key) == c

    @given(st.lists(words, min_size=1, max_size=9), seeds)
    def test_treats_every_counter_alone(self, indices, key):
        counters = np.zeros((4, len(indices)), np.uint64)
        counters[2] = indices
        alone = [philox4x32(counters[:, [k]], key) for k in range(len(indices))]
        assert np.array_equal(philox4x32(counters, key), np.concatenate(alone, axis=1))


class TestEqualToTheWebUI:
    @pytest.mark.parametrize("entry", GOLDEN["draws"], ids=lambda entry: f"seed={entry['seed']}")
    def test_draws_of_many_sizes(self, entry):
        """Recorded from its modules/rng_philox.py; the last bit is the processor's own."""
        generator = PhiloxGenerator(entry["seed"])
        for size, values in zip(entry["sizes"], entry["values"], strict=True):
            expected = np.array(values, np.float32)
            found = generator.randn(size)[:: max(1, size // 20)]
            assert (np.abs(found - expected) <= np.spacing(np.abs(expected))).all()

    def test_the_values_that_rng_philox_prints_in_its_documentation(self):
        expected = [
            [-0.92466259, -0.42534415, -2.6438457, 0.14518388],
            [-0.12086647, -0.57972564, -0.62285122, -0.32838709],
            [-1.07454231, -0.36314407, -1.67105067, 2.26550497],
        ]
        # They are those of 2 pi in float64; its code has come to use float32's since.
        assert PhiloxGenerator(0).randn((3, 4)) == pytest.approx(np.array(expected), abs=5e-7)


class TestEqualToAGPU:
    """What people printed of `torch.randn(..., device="cuda")`, to its four decimals."""

    def test_seed_0(self):
        """From kapilsh.github.io, "CUDA Mode - Fusing Kernels Talk" (2024-05-30), torch 2.2.0."""
        expected = [
            [-0.9247, -0.4253, -2.6438, 0.1452, -0.1209, -0.5797, -0.6229, -0.3284],
            [-1.0745, -0.3631, -1.6711, 2.2655, 0.3117, -0.1842, 1.2866, 1.1820],
            [-0.1271, 1.2169, 1.4353, 1.0605, -0.4941, -1.4244, -0.7244, -1.2973],
            [0.0697, -0.0074, 1.8969, 0.6878, -0.0779, -0.8373, 1.3506, -0.2879],
            [-0.5965, -0.3283, -0.9086, -0.8059, -0.7407, -0.0504, 0.5435, 1.5150],
            [0.0141, 0.4532, 1.6349, 0.7124, -0.1806, 1.0252, -1.4622, -0.7554],
            [-0.1836, 0.3824, 0.3918, -0.0830, 0.8971, -1.1123, 0.1116, 0.4863],
            [-0.5499, -0.3231, -0.5469, 0.9049, 0.2837, 0.1210, 0.4730, -1.0823],
        ]
        assert PhiloxGenerator(0).randn((8, 8)) == pytest.approx(np.array(expected), abs=6e-5)

    def test_seed_42_and_the_draw_after_it(self):
        """From the documentation of FlashInfer's logits processors (`Sample`, `TopK`)."""
        expected = [
            [0.1940, 2.1614, -0.1721, 0.8491, -1.9244],
            [0.6530, -0.6494, -0.8175, 0.5280, -1.2753],
        ]
        assert PhiloxGenerator(42).randn((2, 5)) == pytest.approx(np.array(expected), abs=6e-5)
        generator = PhiloxGenerator(42)
        generator.randn((2, 2))
        second = generator.randn((2, 2))
        shares = second / second.sum(axis=-1, keepdims=True)  # near zero, so it shows every bit
        expected = [[4.4998, -3.4998], [-18.2893, 19.2893]]
        assert shares == pytest.approx(np.array(expected), rel=3e-5)


class TestStream:
    @given(seed=seeds, size=sizes, more=sizes)
    def test_a_longer_draw_starts_alike(self, seed, size, more):
        short, long = PhiloxGenerator(seed).randn(size), PhiloxGenerator(seed).randn(size + more)
        assert short == pytest.approx(long[:size], rel=1e-6)

    @given(seed=seeds, one=sizes, other=sizes)
    def test_the_next_draw_does_not_depend_on_the_size_of_this(self, seed, one, other):
        short, long = PhiloxGenerator(seed), PhiloxGenerator(seed)
        short.randn(one), long.randn(other)
        assert short.randn(20).tobytes() == long.randn(20).tobytes()

    def test_successive_draws_differ(self):
        generator = PhiloxGenerator(7)
        assert not np.intersect1d(generator.randn(1000), generator.randn(1000)).size

    def test_all_bits_of_a_seed_count(self):
        draws = {PhiloxGenerator(1 << bit).randn(8).tobytes() for bit in range(63)}
        assert len(draws) == 63

    def test_is_standard_normal(self):
        values = PhiloxGenerator(1).randn(1_000_000)
        assert abs(values.mean()) < 0.005 and abs(values.std() - 1) < 0.005
        assert abs(np.mean(np.abs(values) < 1) - 0.6827) < 0.002
