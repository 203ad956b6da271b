"""`run.json`: a folder keeps to one run."""

import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.errors import UserError
from sdbatch.plan import Plan, Settings
from sdbatch.run_record import (
    adopt_run,
    changed_settings,
    matching_plan,
    read_run,
    recorded_plan,
)
from sdbatch.shortcuts import Shortcuts
from tests.examples import some_settings

ROOT = Path(__file__).resolve().parent.parent


def a_plan(rows: int = 10, shard_size: int = 4, **changes) -> Plan:
    return Plan(some_settings(**changes), rows=rows, images=rows, shard_size=shard_size)


def adopt(folder, plan: Plan, resume: str = "if_compatible") -> Plan:
    return adopt_run(folder, plan, {"sdbatch": "0.1.0"}, "2026-01-01T20:00:00+00:00", resume)


class TestAdoptRun:
    def test_a_new_folder_gets_a_run_json(self, tmp_path):
        plan = a_plan()
        assert adopt(tmp_path / "outputs" / "new", plan) == plan
        record = read_run(tmp_path / "outputs" / "new")
        assert record["fingerprint"] == plan.settings.fingerprint
        assert record["settings"] == dataclasses.asdict(plan.settings)
        assert (record["rows"], record["images"]) == (10, 10)
        assert (record["shards"], record["shard_size"]) == (3, 4)
        assert record["versions"] == {"sdbatch": "0.1.0"}
        assert [path.name for path in (tmp_path / "outputs" / "new").iterdir()] == ["run.json"]

    def test_it_is_written_once(self, tmp_path):
        adopt(tmp_path, a_plan())
        first = (tmp_path / "run.json").read_bytes()
        adopt_run(tmp_path, a_plan(), {"sdbatch": "9.9"}, "2027-01-01T00:00:00+00:00")
        assert (tmp_path / "run.json").read_bytes() == first

    def test_the_shard_size_of_an_existing_dataset_is_kept(self, tmp_path):
        adopt(tmp_path, a_plan(shard_size=4))
        assert adopt(tmp_path, a_plan(shard_size=5)) == a_plan(shard_size=4)

    def test_of_racing_threads_one_decides(self, tmp_path):
        barrier = Barrier(8)

        def race(size: int) -> Plan:
            barrier.wait()
            return adopt(tmp_path, a_plan(shard_size=size))

        with ThreadPoolExecutor(8) as pool:
            plans = list(pool.map(race, range(1, 9)))
        assert all(plan == plans[0] for plan in plans)
        assert read_run(tmp_path)["shard_size"] == plans[0].shard_size
        assert [path.name for path in tmp_path.iterdir()] == ["run.json"]

    def test_of_racing_processes_one_decides(self, tmp_path):
        code = (
            "import sys\n"
            "from pathlib import Path\n"
            "from tests.test_run_record import a_plan, adopt\n"
            "print('ready', flush=True)\n"
            "sys.stdin.readline()\n"
            "print(adopt(Path(sys.argv[1]), a_plan(shard_size=int(sys.argv[2]))).shard_size)\n"
        )
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", code, tmp_path / "run", str(size)],
                cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            for size in (1, 2, 3)
        ]  # fmt: skip
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        sizes = {int(racer.communicate(timeout=60)[0]) for racer in racers}
        assert sizes == {read_run(tmp_path / "run")["shard_size"]}


class TestResume:
    """What `resume=` makes of a dataset that is there already."""

    @pytest.mark.parametrize("resume", ["if_compatible", "never", "always"])
    def test_makes_no_difference_to_a_new_folder(self, tmp_path, resume):
        assert adopt(tmp_path, a_plan(), resume) == a_plan()
        assert read_run(tmp_path)["fingerprint"] == a_plan().settings.fingerprint

    def test_goes_on_with_a_dataset_from_before_there_were_shortcuts_if_there_are_none(
        self, tmp_path
    ):
        adopt(tmp_path, a_plan())
        record = read_run(tmp_path)
        del record["settings"]["shortcuts"]
        (tmp_path / "run.json").write_text(json.dumps(record))
        assert adopt(tmp_path, a_plan()) == a_plan()
        with pytest.raises(UserError, match=r"token_merging was null, now 0\.5; give"):
            adopt(tmp_path, a_plan(shortcuts={"token_merging": 0.5}))

    def test_a_dataset_with_shortcuts_is_gone_on_with_by_the_same_ones_alone(self, tmp_path):
        plan = a_plan(shortcuts=Shortcuts((0.0, 0.8), 0.5, 3).settings)
        adopt(tmp_path, plan)
        assert adopt(tmp_path, plan) == plan
        with pytest.raises(UserError) as error:
            adopt(tmp_path, a_plan())
        assert "shortcuts.feature_reuse was 3, now null; shortcuts.guid" in str(error.value)
        assert "shortcuts.guidance_interval was [0.0, 0.8], now null" in str(error.value)

    def test_never_refuses_even_the_same_settings(self, tmp_path):
        adopt(tmp_path, a_plan())
        with pytest.raises(UserError) as error:
            adopt(tmp_path, a_plan(), "never")
        assert str(error.value) == (
            f"{tmp_path}/run.json: there is a dataset already, and resume=never; "
            "give another output.dir"
        )

    def test_never_lets_two_runners_begin_one_dataset_at_once(self, tmp_path, monkeypatch):
        """The other one writes its run.json after we have seen that there is none."""
        seen = []

        def read_too_early(folder):
            seen.append(read_run(folder))
            if len(seen) == 1:
                adopt(folder, a_plan(shard_size=5))
                return None
            return seen[-1]

        monkeypatch.setattr("sdbatch.run_record.read_run", read_too_early)
        assert adopt(tmp_path, a_plan(shard_size=4), "never") == a_plan(shard_size=5)
        assert seen[0] is None

    def test_always_goes_on_with_other_settings_in_the_shards_that_are_there(self, tmp_path):
        adopt(tmp_path, a_plan(shard_size=4))
        first = (tmp_path / "run.json").read_bytes()
        plan = adopt(tmp_path, a_plan(shard_size=5, steps=30), "always")
        assert plan == a_plan(shard_size=4, steps=30)
        assert (tmp_path / "run.json").read_bytes() == first

    @pytest.mark.parametrize("changes", [{"rows": 11}, {"images": 20}])
    def test_not_even_always_mixes_datasets_of_other_rows_or_images(self, tmp_path, changes):
        adopt(tmp_path, a_plan())
        other = dataclasses.replace(a_plan(steps=30), **changes)
        with pytest.raises(UserError) as error:
            adopt(tmp_path, other, "always")
        assert str(error.value) == (
            f"{tmp_path}/run.json: the dataset has 10 rows and 10 images, now they are "
            f"{other.rows} and {other.images}; not even resume=always can mix them"
        )

    def test_other_rows_are_refused_where_the_settings_do_not_tell(self):
        """A table's digest does, so this is a run.json that was tampered with."""
        existing = {"settings": dataclasses.asdict(some_settings()), "rows": 9, "images": 9}
        with pytest.raises(UserError, match="the dataset has 9 rows and 9 images, now they are 10"):
            matching_plan(Path("run.json"), {**existing, "shard_size": 4}, a_plan())


class TestChangedSettings:
    def test_are_none_of_equal_settings(self, tmp_path):
        adopt(tmp_path, a_plan())
        assert changed_settings(read_run(tmp_path), a_plan(shard_size=7)) == []

    @given(st.sets(st.sampled_from(dataclasses.fields(Settings))))
    def test_are_exactly_those_that_differ(self, different):
        changes = {field.name: ["another"] for field in different}
        existing = {"settings": dataclasses.asdict(some_settings())}
        changed = changed_settings(existing, a_plan(**changes))
        # Settings within settings are told one by one.
        names = {line.partition(" was ")[0].partition(".")[0] for line in changed}
        assert names == changes.keys()

    def test_tell_old_and_new(self):
        existing = {"settings": dataclasses.asdict(some_settings(image_format="png"))}
        assert changed_settings(existing, a_plan(image_format="jpeg q95")) == [
            'image_format was "png", now "jpeg q95"'
        ]


class TestRecordedPlan:
    @given(rows=st.integers(1, 10**7), images=st.integers(1, 10**9), size=st.integers(1, 10**6))
    def test_is_the_plan_that_was_written(self, rows, images, size):
        plan = Plan(some_settings(strength=0.5), rows, images, size)
        record = {
            "settings": dataclasses.asdict(plan.settings),
            "rows": rows,
            "images": images,
            "shard_size": size,
        }
        read = json.loads(json.dumps(record))
        assert recorded_plan(read, Path("run.json")) == plan

    def test_from_before_there_were_shortcuts_has_none(self):
        plan = a_plan()
        settings = dataclasses.asdict(plan.settings)
        del settings["shortcuts"]
        record = {"settings": settings, "rows": 10, "images": 10, "shard_size": 4}
        assert recorded_plan(record, Path("run.json")) == plan

    def test_of_another_version_is_refused_with_the_settings_that_only_one_has(self):
        record = {"settings": dataclasses.asdict(some_settings())}
        record["settings"]["clip_skip"] = record["settings"].pop("image_format")
        with pytest.raises(UserError) as error:
            recorded_plan(record, Path("old/run.json"))
        assert str(error.value) == (
            "old/run.json: made by another version of sdbatch: "
            "only one of them has the settings clip_skip, image_format"
        )


class TestRefusal:
    def test_names_every_difference_old_and_new(self, tmp_path):
        adopt(tmp_path, a_plan())
        with pytest.raises(UserError) as error:
            adopt(tmp_path, a_plan(steps=30, negative_prompt="模糊\n低质量"))
        line = str(error.value)
        assert "made with other settings: " in line
        assert 'negative_prompt was "", now "模糊\\n低质量"; steps was 20, now 30; ' in line
        assert "seed" not in line
        assert len(line.splitlines()) == 1

    def test_names_settings_within_settings_one_by_one(self, tmp_path):
        adopt(tmp_path, a_plan(scheduler_settings={"solver": "ddim", "eta": 0.0}))
        with pytest.raises(UserError) as error:
            adopt(tmp_path, a_plan(scheduler_settings={"solver": "ddim", "eta": 1.0}))
        assert "other settings: scheduler_settings.eta was 0.0, now 1.0; give" in str(error.value)

    def test_cuts_digests_but_nothing_else(self, tmp_path):
        long = "blurry, low quality, watermark, text, logo, "
        adopt(tmp_path, a_plan(negative_prompt=f"{long} frame"))
        with pytest.raises(UserError) as error:
            adopt(tmp_path, a_plan(negative_prompt=f"{long} hands", table_sha256="d" * 64))
        assert f'was "{long} frame", now "{long} hands"' in str(error.value)
        assert 'table_sha256 was "cccccccccccc…", now "dddddddddddd…"' in str(error.value)

    def test_leaves_the_folder_as_it_was(self, tmp_path):
        adopt(tmp_path, a_plan())
        first = (tmp_path / "run.json").read_bytes()
        with pytest.raises(UserError):
            adopt(tmp_path, a_plan(seed=1))
        assert (tmp_path / "run.json").read_bytes() == first

    def test_covers_settings_that_one_version_has_and_the_other_has_not(self, tmp_path):
        adopt(tmp_path, a_plan())
        record = read_run(tmp_path)
        record["settings"]["clip_skip"] = record["settings"].pop("noise")
        (tmp_path / "run.json").write_text(json.dumps(record))
        with pytest.raises(UserError, match='clip_skip was "torch_cpu", now null; noise was null'):
            adopt(tmp_path, a_plan())

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b'{"format": 1, "settings": {',
            b"\xff\xfe\x00",
            b"[]",
            b"null",
            b'{"name": "my experiment"}',
            b'{"format": 2, "settings": {}, "shard_size": 4}',
            b'{"format": 1}',
            b'{"format": 1, "settings": [], "shard_size": 4}',
            b'{"format": 1, "settings": {}, "shard_size": 0}',
            b'{"format": 1, "settings": {}, "shard_size": "4"}',
            b'{"format": 1, "settings": {}, "shard_size": 4}',
            b'{"format": 1, "settings": {}, "shard_size": 4, "rows": 1, "images": null}',
        ],
    )
    def test_covers_a_run_json_that_is_torn_or_foreign(self, tmp_path, content):
        (tmp_path / "run.json").write_bytes(content)
        with pytest.raises(UserError, match=r"run\.json: (cannot be read|expected a run\.json)"):
            adopt(tmp_path, a_plan())
        assert (tmp_path / "run.json").read_bytes() == content

    def test_no_run_json_is_none(self, tmp_path):
        assert read_run(tmp_path) is None
        assert read_run(tmp_path / "nowhere") is None
