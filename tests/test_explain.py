"""Each mistake on the command line or in a YAML file is one line: the key, and what is allowed."""

import pytest

from sdbatch.config import conf_dir
from tests.composing import folder, refusal

KEYS = (
    "expected one of prompts, model, scheduler, text, shortcuts, precision, engine, output, "
    "label, score, safety, launcher, steps, guidance_scale, guidance_rescale, strength, "
    "negative_prompt, images_per_prompt, width, height, seed, noise, max_input_mb, "
    "max_input_megapixels, "
    "batch_size, device, devices, workers, resume, retry_failed, grace_s, stop_at, max_hours, "
    "watchdog_s, check_space, metrics, lang"
)
TABLES = "file, news_2026, shapes, shapes_zh"

pytestmark = pytest.mark.usefixtures(folder.__name__)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("stepz=3", f"stepz: no such key; did you mean steps? {KEYS}"),
        ("precison=fp32", f"precison: no such key; did you mean precision? {KEYS}"),
        ("shard_size=8", f"shard_size: no such key; did you mean output.shard_size? {KEYS}"),
        ("qqq=3", f"qqq: no such key; {KEYS}"),
        (
            "output.shard=8",
            "output.shard: no such key; did you mean output.shard_size? "
            "expected one of format, dir, shard_size, image_format, png_compression, "
            "jpeg_quality, webp_quality, webp_lossless",
        ),
        (
            "prompts={pth: x}",
            "prompts.pth: no such key; did you mean prompts.path? expected one of path, limit",
        ),
        ("hydra.nothing=1", "hydra.nothing: no such key"),
        (
            "model.loras=[{path: a, weigh: 1}]",
            "model.loras[].weigh: no such key; did you mean model.loras[].weight? "
            "expected one of path, weight",
        ),
    ],
)
def test_a_key_that_is_not_there(override, line):
    assert refusal(override) == line


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "scheduler=dpmpp2m",
            "scheduler=dpmpp2m: no such choice; did you mean dpmpp_2m? expected one of "
            + ", ".join(sorted(path.stem for path in conf_dir().glob("scheduler/*.yaml"))),
        ),
        (
            "text=web",
            "text=web: no such choice; did you mean webui? "
            "expected one of plain, webui, weighted, zh",
        ),
        (
            "engine=rnd",
            "engine=rnd: no such choice; did you mean random? "
            "expected one of auto, dygraph, inference, random, static",
        ),
        ("model=sd15", "model=sd15: no such choice; expected one of demo, demo_zh, file"),
        ("model=", "model=: no such choice; expected one of demo, demo_zh, file"),
        (
            "precision=int8",
            "precision=int8: no such choice; expected one of auto, bf16, fp16, fp32",
        ),
        (
            "experiment=weekly",
            "experiment=weekly: no such choice; expected one of news_sd15, preview",
        ),
        (
            "hydra/job_logging=loud",
            "hydra/job_logging=loud: no such choice; "
            "expected one of default, disabled, none, stdout",
        ),
        (
            "prompts=tonight",
            "prompts=tonight: no such table: neither prompts/tonight.parquet nor one of "
            f"{TABLES}; or give prompts.path=FILE",
        ),
        (
            "prompts=shapes.parquet",
            f"prompts=shapes.parquet: expected the name of a table, one of {TABLES}; "
            "for a file give prompts.path=shapes.parquet",
        ),
        (
            "prompts=./data/tonight",
            f"prompts=./data/tonight: expected the name of a table, one of {TABLES}; "
            "for a file give prompts.path=./data/tonight",
        ),
    ],
)
def test_a_choice_that_is_not_there(override, line):
    assert refusal(override) == line


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("steps=many", "steps: Value 'many' of type 'str' could not be converted to Integer"),
        ("steps=2.5", "steps: Value '2.5' of type 'float' could not be converted to Integer"),
        ("steps=null", "steps: expected a value, found null"),
        ("output.dir=null", "output.dir: expected a value, found null"),
        (
            "guidance_scale=strong",
            "guidance_scale: Value 'strong' of type 'str' could not be converted to Float",
        ),
        (
            "scheduler.final_sigma=small",
            "scheduler.final_sigma: Invalid value 'small', expected one of [zero, sigma_min]",
        ),
        ("prompts.path={a:1}", "prompts.path: Cannot convert 'dict' to string: '{'a': 1}'"),
        ("output.dir=${nowhere}", "output.dir: Interpolation key 'nowhere' not found"),
        ("model.loras=[a]", "model.loras[0]: expected {path: FILE, ...}, found a"),
        ("model.embeddings=[{token: a}]", "model.embeddings[0].path: required, but not given"),
        (
            "output.image_format=gif",
            "output.image_format: Invalid value 'gif', expected one of [png, jpeg, webp]",
        ),
        (
            "resume=maybe",
            "resume: Invalid value 'maybe', expected one of [if_compatible, never, always]",
        ),
        (
            "shortcuts.feature_reuse=2.5",
            "shortcuts.feature_reuse: Value '2.5' of type 'float' could not be converted to "
            "Integer",
        ),
        (
            "shortcuts.guidance_interval=[0,end]",
            "shortcuts.guidance_interval[1]: Value 'end' of type 'str' could not be converted to "
            "Float",
        ),
        ("retry_failed=twice", "retry_failed: Value 'twice' is not a valid bool (type str)"),
        ("model.family=sd3", "model.family: Invalid value 'sd3', expected one of [sd1, sd2, sdxl]"),
    ],
)
def test_a_value_of_another_type(override, line):
    assert refusal(override) == line


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("steps", "steps: expected key=value"),
        ("--steps", "--steps: expected key=value"),
        ("negative_prompt=it's", "negative_prompt: cannot read it's: quote a value that has "),
        ("negative_prompt=a=b", "negative_prompt: cannot read a=b: quote a value that has "),
        ("negative_prompt=(a:1.2)", "negative_prompt: cannot read (a:1.2): quote a value that "),
        ("prompts.path=x(1).parquet", "prompts.path: cannot read x(1).parquet: quote a value "),
        ("negative_prompt=a, b", "Ambiguous value for argument 'negative_prompt=a, b'"),
    ],
)
def test_what_cannot_be_read_at_all(override, line):
    assert refusal(override).startswith(line)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        (
            "prompts/mine",
            "path: x\nlimt: 3\n",
            "prompts/mine.yaml: prompts.limt: no such key; did you mean prompts.limit? "
            "expected one of path, limit",
        ),
        (
            "prompts/mine",
            "path: x\nlimit: few\n",
            "prompts/mine.yaml: prompts.limit: "
            "Value 'few' of type 'str' could not be converted to Integer",
        ),
        (
            "experiment/mine",
            "# @package _global_\nstepz: 3\n",
            f"experiment/mine.yaml: stepz: no such key; did you mean steps? {KEYS}",
        ),
        (
            "experiment/mine",
            "# @package _global_\ndefaults:\n  - override /text: chinese\n",
            "text=chinese: no such choice; expected one of plain, webui, weighted, zh",
        ),
        (
            "experiment/mine",
            "# @package _global_\ndefaults:\n  - override /sampler: ddim\n",
            "In 'experiment/mine': Could not override 'sampler'. No match in the defaults list.",
        ),
    ],
)
def test_a_mistake_in_a_users_own_yaml_names_the_file(folder, name, text, line):
    path = folder / "mine" / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    group = name.partition("/")[0]
    assert refusal(f"{group}=mine", config_dir=folder / "mine") == line


class TestTheCommand:
    """What Hydra raises as plain Python errors is a refusal too, without a traceback."""

    def line(self, run) -> str:
        assert run.returncode == 1
        (line,) = run.stderr.splitlines()
        return line.removeprefix("sdbatch: error: ")

    @pytest.mark.parametrize("override", ["model=null", "experiment=null", "=3"])
    def test_null_where_a_choice_is_expected(self, sdbatch, override):
        assert self.line(sdbatch(override)) == (
            "a group (prompts, model, scheduler, text, shortcuts, precision, engine, output, "
            "label, score, safety, launcher, experiment) takes the name of a choice, "
            "found null or a number"
        )

    def test_a_yaml_that_is_not_yaml(self, sdbatch, folder):
        (folder / "prompts").mkdir()
        (folder / "prompts" / "broken.yaml").write_text("path: [\n")
        line = self.line(sdbatch("--config-dir", str(folder), "prompts=broken"))
        assert f'in "{folder / "prompts" / "broken.yaml"}", line 2' in line

    def test_a_table_with_a_chinese_name_that_is_not_there(self, sdbatch):
        line = self.line(sdbatch("prompts=新闻"))
        assert line.startswith("prompts=新闻: no such table: neither prompts/新闻.parquet nor ")

    def test_a_config_dir_that_is_not_there(self, sdbatch):
        line = self.line(sdbatch("--config-dir", "nowhere"))
        assert line.startswith("Additional config directory")
        assert "nowhere' not found" in line
