"""What is installed works from any folder, on a locked environment, beside other libraries."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package installed from a wheel."""
    work = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", work, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = work.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, work / "site", wheel], check=True, capture_output=True)
    return work / "site"


def run(installed, cwd, *arguments) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_wheel_runs_the_demo_from_any_folder(installed, tmp_path):
    where = run(installed, tmp_path, "-c", "import sdbatch; print(sdbatch.__file__)")
    assert where.stdout.startswith(str(installed))
    made = run(installed, tmp_path, "-m", "sdbatch", "prompts.limit=2", "steps=2")
    assert made.returncode == 0, made.stderr
    assert made.stdout == "outputs/shapes\n"
    assert len(list((tmp_path / "outputs/shapes/shards/00000/images").iterdir())) == 2


def test_wheel_holds_every_config_table_and_checkpoint(installed, tmp_path):
    listed = run(installed, tmp_path, "-m", "sdbatch", "--help").stdout
    for line in ("model: demo, demo_zh", "prompts: file, news_2026, shapes, shapes_zh"):
        assert line in listed
    other = run(installed, tmp_path, "-m", "sdbatch", "experiment=preview", "--cfg", "job")
    assert "steps: 10" in other.stdout


def test_wheel_renders_scripts_for_slurm(installed, tmp_path):
    shown = run(installed, tmp_path, "-m", "sdbatch", "launcher=slurm", "launcher.dry_run=true")
    assert shown.returncode == 0, shown.stderr
    assert "#SBATCH --array=0-" in shown.stdout
    assert not (tmp_path / "outputs").exists()


def test_wheel_holds_the_chinese_of_errors(installed, tmp_path):
    refused = run(installed, tmp_path, "-m", "sdbatch", "steps=0", "lang=zh")
    assert refused.stderr == "sdbatch: error: steps: 应为 1 或更大，实际为 0\n"


def test_console_command_is_installed(installed, tmp_path):
    command = installed / "bin" / "sdbatch"
    assert run(installed, tmp_path, str(command), "--help").returncode == 0


def test_modules_with_compressed_tables_import_after_paddle(tmp_path):
    """Paddle 2.6 brings its own zlib, which breaks them unless Python's comes first."""
    script = "import sdbatch, paddle, scipy.stats, aiohttp"
    result = run(ROOT, tmp_path, "-c", script)
    assert result.returncode == 0, result.stderr
