"""sdbatch.noise draws what torch.randn draws; the digests were recorded from PyTorch itself."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.noise import MAX_SEED, TorchGenerator, randn

GOLDEN = json.loads((Path(__file__).parent / "golden" / "noise.json").read_text())

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
    @pytest.mark.parametrize("shape", [(4, 8, 8), (1, 4, 8, 8), [2, 3], (5,), 5, (), 0, (2, 0, 3)])
    def test_is_a_new_contiguous_float32_array_of_the_shape(self, shape):
        values = randn(shape, 1)
        assert values.shape == np.empty(shape).shape
        assert values.dtype == np.float32
        assert values.flags.c_contiguous and values.flags.writeable

    @given(seed=seeds)
    def test_depends_on_the_number_of_values_not_on_their_shape(self, seed):
        assert same_bits(randn((3, 5, 2), seed).ravel(), randn(30, seed))

    def test_has_no_negative_zero(self):
        values = randn(1024, 52372)  # the radius of value 656 is zero
        assert values[656] == 0 and not np.signbit(values[656])

    @given(seed=seeds, size=sizes)
    def test_is_finite(self, seed, size):
        assert np.isfinite(randn(size, seed)).all()

    @pytest.mark.parametrize("shape", [-1, (4, -8)])
    def test_negative_dimensions_are_refused(self, shape):
        with pytest.raises(ValueError, match="negative dimensions"):
            randn(shape, 1)


class TestStream:
    @given(seed=seeds, draws=st.lists(sizes, max_size=6))
    def test_equal_seeds_give_equal_streams(self, seed, draws):
        one, other = TorchGenerator(seed), TorchGenerator(seed)
        assert all(same_bits(one.randn(n), other.randn(n)) for n in draws)

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

    @given(seed=seeds, size=sizes)
    def test_an_empty_draw_consumes_nothing(self, seed, size):
        generator = TorchGenerator(seed)
        generator.randn((0, 4))
        assert same_bits(generator.randn(size), randn(size, seed))

    def test_generators_share_no_state(self):
        np.random.seed(0)
        before = np.random.get_state()[1].tolist()
        one, other = TorchGenerator(1), TorchGenerator(2)
        one.randn(100)
        assert same_bits(other.randn(20), randn(20, 2))
        assert np.random.get_state()[1].tolist() == before


class TestSeed:
    @given(seed=st.integers(0, 2**31 - 1), high=st.integers(0, 2**31 - 1))
    def test_only_the_low_32_bits_count(self, seed, high):
        assert same_bits(randn(20, seed + (high << 32)), randn(20, seed))

    def test_neighbours_differ(self):
        assert not same_bits(randn(20, 7), randn(20, 8))

    @pytest.mark.parametrize("seed", [np.int64(42), np.uint64(42), np.int32(42)])
    def test_may_be_a_numpy_integer(self, seed):
        assert same_bits(randn(20, seed), randn(20, 42))

    @pytest.mark.parametrize(
        "seed", [-1, 2**63, 2**64, np.int64(-1), np.uint64(2**63), 1.0, "1", None, True, [1]]
    )
    def test_anything_else_is_refused_in_one_line(self, seed):
        with pytest.raises(ValueError, match="seed must be an integer from 0 to") as error:
            TorchGenerator(seed)
        assert "\n" not in str(error.value)
        assert str(seed) in str(error.value)


def test_needs_neither_pytorch_nor_paddlepaddle():
    code = "import sys, sdbatch.noise; print({'torch', 'paddle'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
