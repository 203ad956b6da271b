"""What every noise source has in common: its seeds, its results, its independence."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.noise import MAX_SEED, NOISE_SOURCES

seeds = st.integers(0, MAX_SEED)
sizes = st.integers(0, 100)


@pytest.fixture(params=NOISE_SOURCES.values(), ids=NOISE_SOURCES.keys(), scope="module")
def source(request):
    return request.param


class TestResult:
    @pytest.mark.parametrize("shape", [(4, 8, 8), (1, 4, 8, 8), [2, 3], (5,), 5, (), 0, (2, 0, 3)])
    def test_is_a_new_contiguous_float32_array_of_the_shape(self, source, shape):
        values = source(1).randn(shape)
        assert values.shape == np.empty(shape).shape
        assert values.dtype == np.float32
        assert values.flags.c_contiguous and values.flags.writeable

    @given(seed=seeds)
    def test_depends_on_the_number_of_values_not_on_their_shape(self, source, seed):
        assert source(seed).randn((3, 5, 2)).tobytes() == source(seed).randn(30).tobytes()

    @given(seed=seeds, size=sizes)
    def test_is_finite(self, source, seed, size):
        assert np.isfinite(source(seed).randn(size)).all()

    @pytest.mark.parametrize("shape", [-1, (4, -8)])
    def test_negative_dimensions_are_refused(self, source, shape):
        with pytest.raises(ValueError, match="negative dimensions"):
            source(1).randn(shape)


class TestStream:
    @given(seed=seeds, draws=st.lists(sizes, max_size=6))
    def test_equal_seeds_give_equal_streams(self, source, seed, draws):
        one, other = source(seed), source(seed)
        assert all(one.randn(n).tobytes() == other.randn(n).tobytes() for n in draws)

    @given(seed=seeds, size=sizes)
    def test_an_empty_draw_consumes_nothing(self, source, seed, size):
        generator = source(seed)
        generator.randn((0, 4))
        assert generator.randn(size).tobytes() == source(seed).randn(size).tobytes()

    def test_generators_share_no_state(self, source):
        np.random.seed(0)
        before = np.random.get_state()[1].tolist()
        one, other = source(1), source(2)
        one.randn(100)
        assert other.randn(20).tobytes() == source(2).randn(20).tobytes()
        assert np.random.get_state()[1].tolist() == before


class TestSeed:
    def test_neighbours_differ(self, source):
        assert source(7).randn(20).tobytes() != source(8).randn(20).tobytes()

    @pytest.mark.parametrize("seed", [np.int64(42), np.uint64(42), np.int32(42)])
    def test_may_be_a_numpy_integer(self, source, seed):
        assert source(seed).randn(20).tobytes() == source(42).randn(20).tobytes()

    @pytest.mark.parametrize(
        "seed", [-1, 2**63, 2**64, np.int64(-1), np.uint64(2**63), 1.0, "1", None, True, [1]]
    )
    def test_anything_else_is_refused_in_one_line(self, source, seed):
        with pytest.raises(ValueError, match="seed must be an integer from 0 to") as error:
            source(seed)
        assert "\n" not in str(error.value)
        assert str(seed) in str(error.value)


def test_needs_neither_pytorch_nor_paddlepaddle():
    code = "import sys, sdbatch.noise; print({'torch', 'paddle'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
