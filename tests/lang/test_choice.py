"""Which language it is: `lang=`, SDBATCH_LANG, the locale; and what is never in Chinese."""

import io
import json
import os
import subprocess
import sys

import pytest

from sdbatch import lang
from sdbatch.lang.choice import language, localized

LINE = "steps: expected 1 or more, found 0"
ZH_LINE = "steps: 应为 1 或更大，实际为 0"
NEITHER = {"SDBATCH_LANG": "", "LC_ALL": "", "LC_MESSAGES": "", "LANG": "C.UTF-8"}


@pytest.fixture
def chinese(monkeypatch):
    monkeypatch.setenv("SDBATCH_LANG", "zh")


@pytest.fixture(autouse=True)
def _nothing_asked():
    yield
    lang.ask("auto")


@pytest.mark.parametrize(
    ("asked", "environment", "expected"),
    [
        ("auto", {}, "en"),
        ("auto", {"LANG": "zh_CN.UTF-8"}, "zh"),
        ("auto", {"LANG": "ZH_TW"}, "zh"),
        ("auto", {"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"}, "zh"),
        ("auto", {"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        ("auto", {"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ("auto", {"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh"),
        ("auto", {"LANG": "zh_CN.UTF-8", "SDBATCH_LANG": "en"}, "en"),
        ("auto", {"LANG": "C", "SDBATCH_LANG": "zh"}, "zh"),
        ("auto", {"LANG": "zh_CN.UTF-8", "SDBATCH_LANG": "fr"}, "zh"),
        ("auto", {"SDBATCH_LANG": "fr"}, "en"),
        ("en", {"LANG": "zh_CN.UTF-8", "SDBATCH_LANG": "zh"}, "en"),
        ("zh", {"LANG": "C", "SDBATCH_LANG": "en"}, "zh"),
    ],
)
def test_the_language(asked, environment, expected):
    assert language(asked, environment) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], LINE),
        (["lang=zh"], ZH_LINE),
        (["lang=zh", "lang=en"], LINE),
        (["++lang='zh'", "stepz"], ZH_LINE),
        (["lang=fr"], LINE),
        (["language=zh"], LINE),
        (["lang=zh", "launcher=task"], LINE),
    ],
)
def test_what_is_typed(arguments, expected):
    lang.ask_as_typed(arguments)
    assert localized(LINE) == expected


def test_a_terminal_that_cannot_show_it_has_english(chinese, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert localized(LINE) == LINE


class TestCommands:
    """In processes of their own, with a locale that is not there and so is C to Python."""

    @pytest.fixture
    def said(self, sdbatch, monkeypatch):
        def run(*arguments: str, module: str = "sdbatch", code: int = 1, **environment) -> str:
            for name, value in {**NEITHER, **environment}.items():
                monkeypatch.setenv(name, value)
            result = sdbatch(*arguments, module=module, encoding="utf-8")
            assert (result.returncode, result.stdout) == (code, ""), result.stderr
            (line,) = result.stderr.splitlines()
            assert line.startswith("sdbatch: error: ")
            return line.removeprefix("sdbatch: error: ")

        return run

    def test_the_job(self, said):
        assert said("steps=0") == LINE
        assert said("steps=0", "lang=zh") == ZH_LINE
        assert said("steps=0", LC_ALL="zh_CN.UTF-8") == ZH_LINE
        assert said("steps=0", "lang=en", LC_ALL="zh_CN.UTF-8") == LINE

    def test_a_task_whose_words_are_quoted_says_them_in_english(self, said):
        assert said("launcher=task", "steps=0", "lang=zh", LC_ALL="zh_CN.UTF-8") == LINE

    def test_before_there_is_a_config(self, said):
        assert said("steps", "lang=zh") == "steps: 应写成 key=value"
        assert said("lang=zh", "stepz=3").startswith("stepz: 没有这个键；是否想写 steps？可选 ")
        assert said("--config-dir", "no", "lang=zh").startswith("找不到另加的配置目录 '")

    def test_a_language_out_of_a_file(self, said, tmp_path):
        path = tmp_path / "mine" / "experiment" / "night.yaml"
        path.parent.mkdir(parents=True)
        path.write_text("# @package _global_\nlang: zh\nsteps: 0\n")
        assert said("--config-dir", "mine", "experiment=night") == ZH_LINE

    def test_a_language_that_is_not_known(self, said):
        expected = "lang: Invalid value 'fr', expected one of [auto, en, zh]"
        assert said("lang=fr") == expected
        assert said("lang=fr", SDBATCH_LANG="zh") == "lang: 值 'fr' 无效，可选 [auto, en, zh]"

    @pytest.mark.parametrize(
        ("module", "arguments", "line"),
        [
            ("status", ["x"], "x: 不是数据集：应为含有 run.json 的目录"),
            ("merge", [], "缺少必需的参数: DIR"),
            ("verify", ["x", "--regenerate", "y"], "参数 --regenerate: 无效的整数: 'y'"),
            ("prompts", ["x.csv", "y.parquet"], "x.csv: 文件不存在"),
            ("convert", ["x", "y"], "x: 文件或目录不存在；应为模型"),
            ("convert", ["x"], "缺少必需的参数: target"),
        ],
    )
    def test_the_others(self, said, module, arguments, line):
        assert said(*arguments, module=f"sdbatch.{module}", SDBATCH_LANG="zh") == line


def test_what_programs_read_is_english_and_the_dataset_the_same(sdbatch, tmp_path, write_table):
    """A run in each language: equal fingerprints, equal pictures, English records."""
    table = write_table(prompt=["a", "b"], init_image=["nowhere.png", None])
    common = (f"prompts.path={table}", "engine=random", "label=none", "steps=2")
    records = {}
    for name in ("en", "zh"):
        result = sdbatch(*common, f"lang={name}", f"output.dir={name}")
        assert result.returncode == 3, result.stderr
        assert result.stdout == f"{name}\n"
        status = sdbatch(name, "--json", module="sdbatch.status").stdout
        (log,) = (tmp_path / name).glob("logs/*/sdbatch.log")
        assert "nowhere.png" in log.read_text(encoding="utf-8")
        assert log.read_text(encoding="utf-8").isascii()
        assert status.isascii()
        run = json.loads((tmp_path / name / "run.json").read_text(encoding="utf-8"))
        pictures = {
            path.name: path.read_bytes() for path in (tmp_path / name).glob("shards/*/images/*")
        }
        records[name] = run["settings"], run.get("fingerprint"), sorted(pictures)
        assert pictures
    assert records["en"] == records["zh"]
    again = sdbatch(*common, "lang=zh", "output.dir=en")
    assert again.returncode == 3, again.stderr


def test_english_needs_no_catalogue():
    """Nothing is read that is not needed."""
    code = (
        "import sys\nfrom sdbatch import command\ncommand.complain('a: no such file', 1)\n"
        "assert not any('lang.catalogue' in name for name in sys.modules)"
    )
    environment = {**os.environ, "SDBATCH_LANG": "en"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
