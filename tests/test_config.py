"""Every config of ours composes; names find tables; what types cannot say is refused by key."""

from dataclasses import fields
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.config import Config, conf_dir, groups, readable
from sdbatch.config.choices import (
    EngineName,
    ImageFormatName,
    LauncherName,
    OutputFormat,
    PrecisionName,
    ResumeName,
    SolverName,
)
from sdbatch.config.schema import OutputConfig
from tests.composing import folder, job, refusal
from tests.conftest import ASSETS, ROOT

GIVEN = ["prompts.path=a.parquet", "model.path=somewhere"]
CHOICES = sorted(
    f"{path.parent.name}={path.stem}"
    for path in conf_dir().glob("*/*.yaml")
    if path.parent.name != "experiment"
)

pytestmark = pytest.mark.usefixtures(folder.__name__)


def make(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


class TestOurConfigs:
    def test_with_nothing_given_the_demo_runs(self):
        found = job()
        assert Path(found.prompts.path) == ROOT / "prompts" / "shapes.parquet"
        assert Path(found.model.path) == ASSETS / "demo"
        assert found.scheduler.solver is SolverName.checkpoint
        assert found.precision.name is PrecisionName.auto
        assert found.output.format is OutputFormat.files
        assert found.launcher.name is LauncherName.local
        assert (found.width, found.height, found.batch_size) == (None, None, "auto")
        assert (found.device, found.devices, found.workers) == ("auto", "auto", "auto")
        assert found.output.image_format is ImageFormatName.png
        assert found.resume is ResumeName.if_compatible
        assert (found.stop_at, found.max_hours, found.metrics) == (None, None, None)
        assert (found.retry_failed, found.check_space) == (False, True)

    def test_yaml_and_schema_have_the_same_defaults(self):
        found, schema = job(), Config()
        for item in fields(Config):
            if item.name not in groups():
                assert getattr(found, item.name) == getattr(schema, item.name), item.name
        assert found.shortcuts == schema.shortcuts
        for item in fields(OutputConfig):
            if item.name != "dir":
                assert getattr(found.output, item.name) == getattr(schema.output, item.name)

    def test_every_group_has_choices(self):
        assert {choice.partition("=")[0] for choice in CHOICES} == set(groups())

    @pytest.mark.parametrize("choice", CHOICES)
    def test_every_choice_composes(self, choice):
        needed = ["score.model=somewhere"] if "score=" in choice and "none" not in choice else []
        assert job(choice, *needed, *GIVEN).model.path == "somewhere"

    @pytest.mark.parametrize("name", [p.stem for p in conf_dir().glob("experiment/*.yaml")])
    def test_every_experiment_composes(self, name):
        assert job(f"experiment={name}", "model.path=somewhere").model.path == "somewhere"

    def test_an_experiment_sets_groups_and_values(self):
        found = job("experiment=news_sd15", "model.path=/models/sd15")
        assert Path(found.prompts.path).name == "news_2026.parquet"
        assert found.scheduler.solver is SolverName.ddim
        assert (found.steps, found.images_per_prompt) == (30, 4)
        assert found.output.dir == "outputs/news_2026_sd15"

    def test_the_command_line_wins_over_an_experiment(self):
        found = job("experiment=preview", "steps=7", "prompts=news_2026")
        assert (found.steps, found.prompts.limit) == (7, 16)
        assert found.output.dir == "outputs/news_2026-preview"

    def test_a_users_own_experiment_is_found_in_config_dir(self, folder):
        make(folder / "mine" / "experiment" / "quick.yaml", "# @package _global_\nsteps: 3\n")
        assert job("experiment=quick", config_dir=folder / "mine").steps == 3

    def test_a_rehearsal_is_an_engine(self):
        assert job("engine=random").engine.name is EngineName.random

    def test_the_dataset_is_named_after_the_table(self):
        assert job("prompts.path=/data/夜班.parquet").output.dir == "outputs/夜班"


class TestStopAt:
    """Times look like numbers to YAML 1.1, so they arrive in several forms."""

    @pytest.mark.parametrize("text", ["07:00", "17:00", "2026-11-26T07:00", "'2026-11-26 07:00'"])
    def test_is_text_as_it_stands_on_the_command_line(self, text):
        assert job(f"stop_at={text}").stop_at == text.strip("'")

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("'17:00'", "17:00"),
            ("07:00", "07:00"),
            ("17:00", "1020"),  # minutes, to YAML
            ("2026-11-26T07:00:00", "2026-11-26T07:00:00"),
        ],
    )
    def test_in_a_file_an_unquoted_hour_from_10_on_is_minutes(self, folder, text, found):
        experiment = folder / "mine" / "experiment" / "night.yaml"
        make(experiment, f"# @package _global_\nstop_at: {text}\n")
        assert job("experiment=night", config_dir=folder / "mine").stop_at == found


class TestTextBeyondAscii:
    """Hydra alone would want it quoted within the shell's quotes."""

    @pytest.mark.parametrize(
        "text",
        ["模糊", "模糊, 低质量", "café (draft) a=b", "l'été", "路\\径\\", "\\'é", "a: 文", "“引”"],
    )
    def test_is_taken_as_it_stands(self, text):
        assert job(f"negative_prompt={text}").negative_prompt == text

    @pytest.mark.parametrize("quoted", ["'模糊, 低'", '"模糊, 低"'])
    def test_may_be_quoted_all_the_same(self, quoted):
        assert job(f"negative_prompt={quoted}").negative_prompt == "模糊, 低"

    @given(text=st.text(st.sampled_from("\\'\"文é ,=()[]{}:a"), min_size=1))
    def test_is_never_changed_by_quoting(self, text):
        if text.isascii() or text[0] in "'\"[{":
            return
        override = OverridesParser.create().parse_override(readable(f"key={text}"))
        assert override.value() == text

    @pytest.mark.parametrize(
        "argument",
        ["steps=3", "negative_prompt='a'", "--config-dir=配置", "新闻", "key=[文]", "key="],
    )
    def test_other_arguments_are_left_alone(self, argument):
        assert readable(argument) == argument


class TestTableNames:
    def test_a_name_is_a_table_in_the_working_folder(self, folder):
        make(folder / "prompts" / "evening.parquet")
        assert Path(job("prompts=evening").prompts.path) == Path("prompts/evening.parquet")

    @pytest.mark.parametrize("name", ["news_2026", "shapes", "shapes_zh"])
    def test_or_a_bundled_table(self, name):
        found = Path(job(f"prompts={name}").prompts.path)
        assert found == ROOT / "prompts" / f"{name}.parquet"
        assert found.is_file()

    def test_the_working_folder_comes_first(self, folder):
        make(folder / "prompts" / "shapes.parquet")
        assert Path(job("prompts=shapes").prompts.path) == Path("prompts/shapes.parquet")

    def test_a_yaml_of_the_same_name_wins(self, folder):
        make(folder / "prompts" / "evening.parquet")
        make(folder / "mine" / "prompts" / "evening.yaml", "path: chosen.parquet\nlimit: 5\n")
        found = job("prompts=evening", config_dir=folder / "mine")
        assert (found.prompts.path, found.prompts.limit) == ("chosen.parquet", 5)

    def test_names_may_have_dots_hyphens_and_chinese(self, folder):
        for name in ("news.v2", "two-words", "新闻"):
            make(folder / "prompts" / f"{name}.parquet")
            assert Path(job(f"prompts={name}").prompts.path).stem == name

    def test_other_files_are_not_tables(self, folder):
        make(folder / "prompts" / "notes.csv")
        assert "no such table" in refusal("prompts=notes")


class TestRefuses:
    @pytest.mark.parametrize(
        ("override", "line"),
        [
            ("steps=0", "steps: expected 1 or more, found 0"),
            ("images_per_prompt=-1", "images_per_prompt: expected 1 or more, found -1"),
            ("prompts.limit=0", "prompts.limit: expected 1 or more, found 0"),
            ("output.shard_size=0", "output.shard_size: expected 1 or more, found 0"),
            ("output.png_compression=10", "output.png_compression: expected 0 to 9, found 10"),
            ("output.webp_quality=0", "output.webp_quality: expected 1 to 100, found 0"),
            (
                "label.height=0.04",
                "label.height: expected 0.05 (GB 45438-2025) to 0.5 of the shorter side, "
                "found 0.04",
            ),
            ("label.opacity=0.2", "label.opacity: expected 0.3 to 1, found 0.2"),
            (
                "label.text=新华社",
                "label.text: expected AI or 人工智能, and 生成 or 合成 (GB 45438-2025), "
                "found 新华社",
            ),
            (
                "label.producer=''",
                "label.producer: expected one line of up to 200 characters, found ''",
            ),
            ("seed=-1", "seed: expected 0 to 2^63-1, found -1"),
            (f"seed={2**63}", f"seed: expected 0 to 2^63-1, found {2**63}"),
            ("guidance_scale=-1", "guidance_scale: expected a number from 0 up, found -1.0"),
            ("guidance_scale=nan", "guidance_scale: expected a number from 0 up, found nan"),
            ("guidance_scale=inf", "guidance_scale: expected a number from 0 up, found inf"),
            ("grace_s=-1", "grace_s: expected a number from 0 up, found -1.0"),
            ("grace_s=nan", "grace_s: expected a number from 0 up, found nan"),
            ("width=100", "width: expected a multiple of 8, found 100"),
            ("height=0", "height: expected a multiple of 8, found 0"),
            ("height=-8", "height: expected a multiple of 8, found -8"),
            ("batch_size=0", "batch_size: expected 1 or more, found 0"),
            ("batch_size=many", "batch_size: expected auto or an integer, found 'many'"),
            ("batch_size=2.5", "batch_size: expected auto or an integer, found 2.5"),
            ("batch_size=true", "batch_size: expected auto or an integer, found True"),
            ("batch_size=[1,2]", "batch_size: expected auto or an integer, found [1, 2]"),
            ("batch_size=null", "batch_size: expected auto or an integer, found None"),
            ("workers=0", "workers: expected 1 or more, found 0"),
            ("workers=all", "workers: expected auto or an integer, found 'all'"),
            ("workers=true", "workers: expected auto or an integer, found True"),
            ("devices=0", "devices: expected 1 or more, found 0"),
            ("engine.cache_mb=0", "engine.cache_mb: expected 1 or more, found 0"),
            (
                "engine.card=a100",
                "engine.card: a100: for engine.explain=true only; a job runs on the devices that "
                "are here",
            ),
            (
                "devices=gpu:0",
                "devices: expected auto, an integer or a list of integers, found 'gpu:0'",
            ),
            ("devices=1.5", "devices: expected auto, an integer or a list of integers, found 1.5"),
            ("devices=[]", "devices: expected different numbers from 0 up, found []"),
            ("devices=[1,1]", "devices: expected different numbers from 0 up, found [1, 1]"),
            ("devices=[0,-1]", "devices: expected different numbers from 0 up, found [0, -1]"),
            ("devices=[true]", "devices: expected different numbers from 0 up, found [True]"),
            ("max_hours=0", "max_hours: expected a number above 0, found 0.0"),
            ("max_hours=nan", "max_hours: expected a number above 0, found nan"),
            ("max_hours=inf", "max_hours: expected a number above 0, found inf"),
            ("watchdog_s=0.5", "watchdog_s: expected 1 or more, found 0.5"),
            ("watchdog_s=nan", "watchdog_s: expected 1 or more, found nan"),
            ("output.jpeg_quality=0", "output.jpeg_quality: expected 1 to 100, found 0"),
            ("output.jpeg_quality=101", "output.jpeg_quality: expected 1 to 100, found 101"),
            (
                "shortcuts.guidance_interval=[0.8,0.2]",
                "shortcuts.guidance_interval: expected [START, END] with 0 <= START < END <= 1, "
                "found [0.8, 0.2]",
            ),
            (
                "shortcuts.guidance_interval=[0.5]",
                "shortcuts.guidance_interval: expected [START, END] with 0 <= START < END <= 1, "
                "found [0.5]",
            ),
            (
                "shortcuts.guidance_interval=[0,nan]",
                "shortcuts.guidance_interval: expected [START, END] with 0 <= START < END <= 1, "
                "found [0.0, nan]",
            ),
            (
                "shortcuts.token_merging=0.8",
                "shortcuts.token_merging: expected 0 to 0.75, found 0.8",
            ),
            (
                "shortcuts.token_merging=nan",
                "shortcuts.token_merging: expected 0 to 0.75, found nan",
            ),
            (
                "shortcuts.feature_reuse=0",
                "shortcuts.feature_reuse: expected 1 or more, found 0",
            ),
            ("steps=???", "steps: required, but not given; add steps=..."),
        ],
    )
    def test_a_value_that_cannot_be(self, override, line):
        assert refusal(override) == line

    @pytest.mark.parametrize(
        "override",
        [
            "steps=1",
            "seed=0",
            f"seed={2**63 - 1}",
            "guidance_scale=0",
            "grace_s=0",
            "width=8",
            "batch_size=1",
            "batch_size=auto",
            "workers=1",
            "devices=1",
            "devices=[0]",
            "devices=[3,1]",
            "max_hours=0.01",
            "watchdog_s=1",
            "watchdog_s=inf",
            "output.jpeg_quality=1",
            "output.jpeg_quality=100",
            "output.png_compression=0",
            "output.webp_quality=100",
            "label.height=0.5",
            "label.opacity=0.3",
            "label.text=本图由人工智能合成",
            "prompts.limit=null",
            "shortcuts.guidance_interval=[0,1]",
            "shortcuts.guidance_interval=null",
            "shortcuts.token_merging=0.75",
            "shortcuts.feature_reuse=1",
        ],
    )
    def test_but_not_one_at_the_edge(self, override):
        job(override)

    @pytest.mark.parametrize(
        ("choice", "key"), [("model=file", "model.path"), ("prompts=file", "prompts.path")]
    )
    def test_a_choice_whose_path_is_not_given(self, choice, key):
        assert refusal(choice) == f"{key}: required, but not given; add {key}=..."

    def test_an_experiment_whose_checkpoint_is_not_given(self):
        assert refusal("experiment=news_sd15").startswith("model.path: required")

    def test_a_key_that_was_added_and_nobody_reads(self):
        line = refusal("+stepz=3")
        assert line.startswith("stepz: no such key; did you mean steps? expected one of prompts,")
        line = refusal("+output.size=3")
        assert line.startswith("output.size: no such key; ")
        assert line.endswith(
            "expected one of format, dir, shard_size, image_format, png_compression, "
            "jpeg_quality, webp_quality, webp_lossless"
        )

    def test_a_label_beside_none(self):
        line = refusal("label=none", "label.producer=新华社")
        assert line == "label.producer: 新华社: not for label=none"

    def test_a_value_made_into_a_group(self):
        assert refusal("batch_size={a:1}") == (
            "batch_size.a: no such key; did you mean batch_size?"
        )
