"""What fits: batch sizes and tiles, by the estimate."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.engine.cards import CARDS, Hardware, card
from sdbatch.engine.estimate import Work, estimate
from sdbatch.engine.memory_choices import (
    MARGIN,
    MAX_BATCH_CPU,
    MAX_BATCH_GPU,
    auto_batch,
    choose_batch_size,
    choose_vae_tile,
    fits,
)
from sdbatch.models.kernels import AttentionKernels
from tests.engine.shapes import shape

GB = 10**9
SD15, SDXL = shape("sd1"), shape("sdxl")
WORK = Work(
    width=512,
    height=512,
    batch=1,
    guided=True,
    number_bytes=2,
    vae_number_bytes=2,
    kernels=AttentionKernels(flash=160, memory_efficient=512),
    on_gpu=True,
)
HUGE = replace(WORK, width=4096, height=4096, vae_number_bytes=4)


@given(st.integers(0, 100 * GB))
def test_the_batch_is_the_largest_that_fits(free):
    batch = auto_batch(free, SD15, WORK, 16)
    assert batch == 0 or fits(free, estimate(SD15, replace(WORK, batch=batch)))
    assert batch == 16 or not fits(free, estimate(SD15, replace(WORK, batch=batch + 1)))


@given(st.integers(0, 20 * GB), st.integers(0, 20 * GB))
def test_more_memory_never_means_a_smaller_batch(one, other):
    small, large = sorted((one, other))
    assert auto_batch(small, SD15, WORK, 16) <= auto_batch(large, SD15, WORK, 16)


def test_a_margin_stays_free():
    need = estimate(SD15, WORK).total
    assert not fits(need, estimate(SD15, WORK))
    assert fits(int(need / (1 - MARGIN)) + 1, estimate(SD15, WORK))


@pytest.mark.parametrize("name", CARDS)
def test_every_card_holds_a_full_batch_of_sd15(name):
    batch = choose_batch_size(card(name).usable_bytes, SD15, WORK, "auto")
    assert batch.value == MAX_BATCH_GPU


def test_what_others_use_makes_the_batch_smaller():
    work = replace(WORK, width=1024, height=1024)
    batch = choose_batch_size(12 * GB, SDXL, work, "auto")
    assert 1 < batch.value < MAX_BATCH_GPU
    assert batch.reason == "as many as fit"


def test_a_cpu_takes_few_at_a_time():
    work = replace(WORK, number_bytes=4, vae_number_bytes=4, on_gpu=False)
    assert choose_batch_size(10**12, SD15, work, "auto").value == MAX_BATCH_CPU


def test_a_batch_that_is_asked_for_is_kept_to():
    assert choose_batch_size(1, SD15, WORK, 64).value == 64


def test_a_model_that_does_not_fit_is_tried_one_by_one_and_said_so():
    batch = choose_batch_size(2 * GB, SD15, WORK, "auto")
    assert batch.value == 1
    assert "not even one picture fits" in batch.reason


@pytest.mark.parametrize("name", CARDS)
def test_pictures_of_the_trained_size_are_decoded_whole(name):
    work = replace(WORK, width=1024, height=1024, vae_number_bytes=4)
    assert choose_vae_tile(card(name), SDXL, work).value is None


def test_pictures_too_large_for_the_card_are_decoded_in_the_largest_tiles_that_fit():
    tile = choose_vae_tile(card("t4"), SD15, HUGE).value
    assert tile == 1024
    assert choose_vae_tile(card("h200"), SD15, HUGE).value is None


def test_tiles_do_not_depend_on_what_is_free():
    t4 = card("t4")
    busy = replace(t4, free_bytes=t4.memory_bytes // 3)
    assert choose_vae_tile(busy, SD15, HUGE) == choose_vae_tile(t4, SD15, HUGE)


def test_tiles_are_not_larger_than_the_picture():
    small = t4_of(int(3.6 * GB))
    work = replace(WORK, width=640, height=640)
    assert choose_vae_tile(small, SD15, work).value == 512


def t4_of(memory_bytes: int) -> Hardware:
    return replace(card("t4"), memory_bytes=memory_bytes)


def test_no_tile_is_tried_where_none_fits():
    tile = choose_vae_tile(t4_of(2 * GB), SD15, HUGE)
    assert tile.value is None
    assert "not even" in tile.reason


def test_a_cpu_decodes_whole_pictures():
    work = replace(HUGE, on_gpu=False)
    assert choose_vae_tile(Hardware("cpu", None, 8 * GB), SD15, work).value is None
