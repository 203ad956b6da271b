"""The plan: seeds, names and shards that never change."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.noise import MAX_SEED
from sdbatch.plan import Plan, Settings, image_seed, plan_image
from tests.examples import a_row, some_settings

ROOT = Path(__file__).resolve().parent.parent

seeds = st.integers(0, MAX_SEED)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
samples = st.integers(0, 9999)


def a_plan(rows: int = 10, shard_size: int = 4, **changes) -> Plan:
    return Plan(some_settings(**changes), rows=rows, images=rows, shard_size=shard_size)


class TestPlanImage:
    def test_takes_the_rows_own_values_before_the_configs(self):
        settings = some_settings(guidance_rescale=0.7, steps=30)
        request = plan_image(settings, a_row(steps=5), 0).request
        assert (request.steps, request.guidance_rescale) == (5, 0.7)
        assert plan_image(settings, a_row(guidance_rescale=0.0), 0).request.guidance_rescale == 0

    @pytest.mark.parametrize(
        ("row", "config", "strength"),
        [
            ({}, None, None),
            ({"strength": 0.5}, 0.3, None),  # no picture, no strength
            ({"init_image": "a.png"}, None, 0.8),
            ({"init_image": "a.png", "mask": "m.png"}, None, 1.0),
            ({"init_image": "a.png", "mask": "m.png"}, 0.3, 0.3),
            ({"init_image": "a.png", "strength": 0.5}, 0.3, 0.5),
        ],
    )
    def test_strength_is_the_rows_the_configs_or_the_usual_one(self, row, config, strength):
        request = plan_image(some_settings(strength=config), a_row(**row), 0).request
        assert request.strength == strength

    def test_sizes_that_a_row_leaves_out_are_those_of_the_picture(self):
        settings = some_settings(width=96, height=64)
        assert plan_image(settings, a_row(), 0).request.size_hints.time_ids == (
            64,
            96,
            0,
            0,
            64,
            96,
        )
        row = a_row(original_width=500, crop_top=7, target_height=80)
        hints = plan_image(settings, row, 0).request.size_hints
        assert hints.time_ids == (64, 500, 7, 0, 80, 96)  # heights first, as SDXL reads them


class TestImageSeed:
    @given(run=seeds, seed=st.integers(0, MAX_SEED - 9999), name=ids, sample=samples)
    def test_is_the_rows_seed_plus_the_sample(self, run, seed, name, sample):
        assert image_seed(run, a_row(id=name, seed=seed), sample) == seed + sample

    @given(run=seeds, name=ids, sample=samples)
    def test_is_a_seed_that_torch_takes(self, run, name, sample):
        assert 0 <= image_seed(run, a_row(id=name), sample) <= 2**63 - 1

    @given(run=seeds, name=ids, sample=samples, index=st.integers(0, 10**7), prompt=st.text())
    def test_depends_on_nothing_but_run_seed_id_and_sample(self, run, name, sample, index, prompt):
        row = a_row(
            id=name, index=index, prompt=prompt, negative_prompt="blur", width=64, height=96,
            steps=3, guidance_scale=1.0, images_per_prompt=10_000, carried={"topic": prompt},
        )  # fmt: skip
        assert image_seed(run, row, sample) == image_seed(run, a_row(id=name), sample)

    @given(one=st.tuples(seeds, ids, samples), other=st.tuples(seeds, ids, samples))
    def test_differs_where_any_of_these_does(self, one, other):
        seed_one, seed_other = (image_seed(run, a_row(id=i), n) for run, i, n in (one, other))
        assert (seed_one == seed_other) == (one == other)

    @pytest.mark.parametrize(
        ("run", "name", "sample", "seed"),
        [
            (0, "0", 0, 6924499039456888011),
            (0, "0", 1, 65827980119948544),
            (1, "0", 0, 8695553675508823301),
            (0, "news-2026-001", 0, 7033907445766552657),
            (2**63 - 1, "形状-001", 3, 692204359599892648),
        ],
    )
    def test_never_changes(self, run, name, sample, seed):
        assert image_seed(run, a_row(id=name), sample) == seed


class TestPlannedImage:
    def test_is_named_by_id_and_sample(self):
        names = [plan_image(some_settings(), a_row(id="形状-1"), n).image_id for n in (0, 12, 1234)]
        assert names == ["形状-1-000", "形状-1-012", "形状-1-1234"]

    @given(one=st.tuples(ids, samples), other=st.tuples(ids, samples))
    def test_names_are_unique(self, one, other):
        name_one, name_other = (
            plan_image(some_settings(), a_row(id=i), n).image_id for i, n in (one, other)
        )
        assert (name_one == name_other) == (one == other)

    def test_a_rows_own_values_win(self):
        settings = some_settings(negative_prompt="blur")
        row = a_row(seed=5, width=64, steps=1, guidance_scale=0.0, negative_prompt="")
        request = plan_image(settings, row, 2).request
        assert (request.width, request.height, request.steps) == (64, settings.height, 1)
        assert (request.guidance_scale, request.negative_prompt, request.seed) == (0.0, "", 7)

    def test_the_settings_hold_where_a_row_is_silent(self):
        request = plan_image(some_settings(negative_prompt="blur"), a_row(), 0).request
        assert (request.width, request.height, request.steps) == (96, 64, 20)
        assert (request.guidance_scale, request.negative_prompt) == (7.5, "blur")

    def test_images_stand_in_order_of_rows_then_samples(self):
        rows = [a_row(id="a", images_per_prompt=1), a_row(id="b"), a_row(id="c")]
        images = a_plan(images_per_prompt=2).images_of(rows)
        assert [i.image_id for i in images] == ["a-000", "b-000", "b-001", "c-000", "c-001"]


class TestShards:
    @given(rows=st.integers(1, 3000), size=st.integers(1, 3000))
    def test_hold_every_row_exactly_once_in_order(self, rows, size):
        plan = a_plan(rows, size)
        ranges = [plan.shard_rows(shard) for shard in range(plan.shards)]
        assert [row for start, stop in ranges for row in range(start, stop)] == list(range(rows))
        assert all(0 < stop - start <= size for start, stop in ranges)
        assert all(stop - start == size for start, stop in ranges[:-1])

    @given(st.integers(0, 99_998))
    def test_names_sort_as_their_numbers_do(self, shard):
        assert a_plan().shard_name(shard) < a_plan().shard_name(shard + 1)


class TestFingerprint:
    def test_never_changes(self):
        assert some_settings().fingerprint == (
            "4b0a4feea01c443ce5821521d09917a82382099b6f61beb326e4d882f835185f"
        )

    def test_is_that_of_a_dataset_from_before_there_were_shortcuts_where_there_are_none(self):
        values = dataclasses.asdict(some_settings())
        assert values.pop("shortcuts") == {}
        text = json.dumps(values, sort_keys=True, ensure_ascii=False)
        assert some_settings().fingerprint == hashlib.sha256(text.encode()).hexdigest()

    @pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
    def test_changes_with_every_field(self, field):
        value = getattr(some_settings(), field.name)
        another = {"str": f"{value}x", "Mapping[str, Any]": {"other": 1}}.get(field.type, 0.125)
        changed = some_settings(**{field.name: another})
        assert changed.fingerprint != some_settings().fingerprint
