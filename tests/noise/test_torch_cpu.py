"""`TorchGenerator` draws what torch.randn draws; the digests were recorded from PyTorch itself."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.noise import MAX_SEED, TorchGenerator, randn

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "noise.json").read_text())

seeds = st.integers(0, MAX_SEED)
sizes = st.integers(0, 200)


def digest(values):
    return hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()


def same_bits(a, b):
    return a.shape == b.shape and a.tobytes() == b.tobytes()


class TestEqualToPyTorch:
    @pytest.mark.parametrize(
        "entry", GOLDEN["single"], ids=lambda entry: f"seed={entry['seed']}-n={entry['size']}"
    )
    def test_first_draw(self, entry):
        assert digest(randn(entry["size"], entry["seed"])) == entry["sha256"]

    @pytest.mark.parametrize(
        "entry", GOLDEN["sequences"], ids=lambda entry: f"seed={entry['seed']}"
    )
    def test_successive_draws_of_mixed_sizes(self, entry):
        generator = TorchGenerator(entry["seed"])
        drawn = [digest(generator.randn(size)) for size in entry["sizes"]]
        assert drawn == entry["sha256"]

    def test_values_a_reader_can_check_by_hand(self):
        # torch.manual_seed(42); torch.randn(3)  ->  tensor([0.3367, 0.1288, 0.2345])
        assert np.round(randn(3, 42), 4).tolist() == pytest.approx([0.3367, 0.1288, 0.2345])


class TestResult:
    def test_has_no_negative_zero(self):
        values = randn(1024, 52372)  # the radius of value 656 is zero
        assert values[656] == 0 and not np.signbit(values[656])


class TestStream:
    @given(seed=seeds, parts=st.lists(st.integers(0, 5), max_size=3))
    def test_below_16_values_splitting_a_draw_changes_nothing(self, seed, parts):
        generator = TorchGenerator(seed)
        split = [generator.randn(n) for n in parts]
        assert same_bits(np.concatenate([np.empty(0, np.float32), *split]), randn(sum(parts), seed))

    @given(seed=seeds, blocks=st.lists(st.integers(1, 5), min_size=1, max_size=4))
    def test_so_does_splitting_whole_blocks_of_16(self, seed, blocks):
        generator = TorchGenerator(seed)
        split = [generator.randn(16 * n) for n in blocks]
        assert same_bits(np.concatenate(split), randn(16 * sum(blocks), seed))

    @given(seed=seeds, size=st.integers(17, 200))
    def test_a_longer_draw_starts_alike_but_for_the_16_values_drawn_afresh(self, seed, size):
        kept = (size - 16) // 16 * 16
        assert same_bits(randn(size, seed)[:kept], randn(size + 16, seed)[:kept])

    @given(seed=seeds, size=st.integers(16, 200))
    def test_the_spare_normal_outlives_a_draw_of_16_or_more(self, seed, size):
        generator = TorchGenerator(seed)
        first = generator.randn(1)
        generator.randn(size)
        assert same_bits(np.concatenate([first, generator.randn(1)]), randn(2, seed))


class TestSeed:
    @given(seed=st.integers(0, 2**31 - 1), high=st.integers(0, 2**31 - 1))
    def test_only_the_low_32_bits_count(self, seed, high):
        assert same_bits(randn(20, seed + (high << 32)), randn(20, seed))
