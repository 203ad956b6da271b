"""How many workers share a machine's memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.engine.memory import available_memory, workers_that_fit

SD15_BYTES = 4 * 1_066_000_000
MEMINFO = "MemTotal:       24000000 kB\nMemFree:  100 kB\nMemAvailable:   20000000 kB\n"


@pytest.fixture
def machine(tmp_path):
    """`machine({file of the container's limits: text})`: bytes that are available there."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(MEMINFO)

    def available(limits: dict[str, str]) -> int:
        for name, text in limits.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return available_memory(meminfo, tmp_path / "cgroup")

    return available


def test_a_machine_has_what_the_kernel_says_is_available(machine):
    assert machine({}) == 20_000_000 * 1024


def test_a_container_has_what_its_limit_leaves(machine):
    assert machine({"memory.max": "8000000000\n", "memory.current": "3000000000\n"}) == 5 * 10**9


def test_the_older_kind_of_limit_counts_too(machine):
    limits = {"limit_in_bytes": "6000000000", "usage_in_bytes": "1000000000"}
    assert machine({f"memory/memory.{name}": text for name, text in limits.items()}) == 5 * 10**9


@pytest.mark.parametrize("limit", ["max\n", "9223372036854771712"])
def test_a_container_without_a_limit_has_the_machine(machine, limit):
    assert machine({"memory.max": limit, "memory.current": "1000"}) == 20_000_000 * 1024


def test_a_container_that_is_full_has_nothing(machine):
    assert machine({"memory.max": "1000", "memory.current": "2000"}) == 0


def test_this_machine_has_some():
    assert available_memory() > 100_000_000


def test_a_small_model_has_a_worker_for_each_core():
    assert workers_that_fit(cores=8, weights_bytes=80_000_000, available=64 * 10**9) == 8


def test_a_large_model_has_as_many_as_memory_allows():
    assert workers_that_fit(cores=8, weights_bytes=SD15_BYTES, available=64 * 10**9) == 5


@given(st.integers(1, 256), st.integers(0, 10**11), st.integers(0, 10**13))
def test_there_is_always_one_and_never_more_than_cores(cores, weights, available):
    assert 1 <= workers_that_fit(cores, weights, available) <= cores
