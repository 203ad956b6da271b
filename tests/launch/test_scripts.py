"""The scripts as text: what Slurm, the shell and people read."""

import shutil
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.config.choices import LauncherName
from sdbatch.config.schema import LauncherConfig
from sdbatch.launch.arrays import Slice
from sdbatch.launch.scripts import Scene, array_script, merge_script
from tests.conftest import ROOT
from tests.linters import run_linter

EVERYTHING = LauncherConfig(
    name=LauncherName.slurm, gpu_type="a100", gpus=2, partition="gpu", account="news desk",
    qos="night", flags=["--constraint=a100|h100", "--exclude=node[7-9]"],
    modules=["cuda/12.0", "it's"], setup=["source '/data/my venv/bin/activate'"],
    container="/data/my image.sif", merge_partition="cpu", merge_flags=["--comment=merge"],
)  # fmt: skip


def scene(launcher: LauncherConfig, dataset: Path = Path("/data/out/news")) -> Scene:
    folder = dataset / "logs" / "slurm-1"
    return Scene(launcher, dataset, 40, folder, Path("/home/me/my work"), "news", "2026-11-27")


def array(launcher: LauncherConfig = LauncherConfig(), words=("prompts=news",), **kwargs) -> str:  # noqa: B008
    return array_script(scene(launcher, **kwargs), words, 16, Slice(0, 16, 4))


def options(script: str) -> list[str]:
    return [
        line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")
    ]


def test_what_is_asked_for_is_in_the_options():
    assert options(array(EVERYTHING)) == [
        "--job-name=news", "--array=0-15%4", "--output=/data/out/news/logs/slurm-1/%A_%a.out",
        "--open-mode=append", "--requeue", "--signal=B:USR1@120", "--nodes=1", "--ntasks=1",
        '--account="news desk"', "--qos=night", "--cpus-per-task=8", "--mem=32G",
        "--time=12:00:00", "--partition=gpu", "--gres=gpu:a100:2",
        "--constraint=a100|h100", "--exclude=node[7-9]",
    ]  # fmt: skip


def test_what_is_null_or_nought_is_not_asked_for():
    less = LauncherConfig(gpus=0, memory=None, time=None)
    asked = {option.partition("=")[0] for option in options(array(less))}
    assert not asked & {"--gres", "--mem", "--time", "--partition", "--account", "--qos"}


def test_the_merge_job_asks_for_no_gpu():
    assert options(merge_script(scene(EVERYTHING))) == [
        "--job-name=news-merge", "--output=/data/out/news/logs/slurm-1/merge.out",
        "--open-mode=append", "--requeue", "--nodes=1", "--ntasks=1",
        '--account="news desk"', "--qos=night", "--cpus-per-task=2", "--mem=8G", "--time=1:00:00",
        "--partition=cpu", "--comment=merge",
    ]  # fmt: skip


def test_a_folder_whose_name_slurm_would_fill_in_stays_as_it_is():
    script = array(dataset=Path("/data/100%j"))
    assert "--output=/data/100%%j/logs/slurm-1/%A_%a.out" in options(script)


@pytest.mark.parametrize("script", [array(EVERYTHING), merge_script(scene(EVERYTHING)), array()])
def test_shellcheck_has_nothing_to_say(script):
    # SC1091: a file of the user's, which is not here.
    run_linter("shellcheck", "--exclude=SC1091", "-", text=script)


@pytest.mark.parametrize("name", ["array.sbatch", "merge.sbatch"])
def test_shellcheck_has_nothing_to_say_about_the_templates(name):
    run_linter("shellcheck", str(ROOT / "slurm" / name))


def test_the_template_does_what_a_rendered_script_does():
    body = (ROOT / "sdbatch" / "launch" / "task.sh").read_text()
    template = (ROOT / "slurm" / "array.sbatch").read_text()
    assert template.endswith(body)
    assert array().endswith(body)
    defaults = options(array(replace(LauncherConfig(), max_parallel=16)))
    own = options(template)
    varying = ("--job-name", "--array", "--output")
    assert [one for one in own if not one.startswith(varying)] == [
        one for one in defaults if not one.startswith(varying)
    ]


# What a task does -------------------------------------------------------------------------------


def run_task(tmp_path: Path, script: str, python: str, **environment: str):
    """The script with another program in the place of Python."""
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/bash\n{python}\n")
    stand_in.chmod(0o755)
    path = tmp_path / "array.sbatch"
    path.write_text(script)
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("scontrol", "scancel"):
        (tools / name).write_text(f'#!/bin/bash\necho "{name} $*" >> {tmp_path}/asked\n')
        (tools / name).chmod(0o755)
    found = {name: str(Path(shutil.which(name)).parent) for name in ("bash", "find", "wc")}
    return subprocess.Popen(
        ["bash", str(path)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={
            "PATH": ":".join([str(tools), *found.values()]), "SLURM_ARRAY_TASK_ID": "3",
            "SLURM_JOB_ID": "77", "SLURM_ARRAY_JOB_ID": "70", **environment,
        },
    )  # fmt: skip


@pytest.fixture
def script(tmp_path) -> str:
    place = Scene(
        LauncherConfig(python=str(tmp_path / "python"), max_requeues=2), tmp_path / "data", 2,
        tmp_path / "data" / "logs" / "slurm-1", tmp_path, "news", "now",
    )  # fmt: skip
    return array_script(place, ["prompts=news", "output.dir='a b'"], 16, Slice(4, 4, 4))


def asked(tmp_path: Path) -> list[str]:
    path = tmp_path / "asked"
    return path.read_text().splitlines() if path.exists() else []


def warned(process: subprocess.Popen, signal_number: int) -> None:
    """Signal the shell when its worker says that it runs."""
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal_number)


LISTENS = "trap 'echo told; exit 75' USR1; echo running; while :; do sleep 0.05; done"


def test_it_runs_its_own_part(tmp_path, script):
    process = run_task(tmp_path, script, 'printf "%s\\n" "$@"; exit 3')
    stdout, _ = process.communicate(timeout=30)
    assert stdout.splitlines() == [
        "-m", "sdbatch", "prompts=news", "output.dir='a b'", "launcher.index=7",
        "launcher.count=16",
    ]  # fmt: skip
    assert process.returncode == 3
    assert asked(tmp_path) == []


def test_it_passes_the_warning_on_and_queues_again(tmp_path, script):
    process = run_task(tmp_path, script, LISTENS)
    warned(process, 10)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (75, "told\n")
    assert asked(tmp_path) == ["scontrol requeue 77"]
    assert "this task queues again" in stderr


def test_it_queues_again_when_the_warning_came_before_anybody_listened(tmp_path, script):
    process = run_task(tmp_path, script, "echo running; exec sleep 60")
    warned(process, 10)
    process.communicate(timeout=30)
    assert process.returncode == 138
    assert asked(tmp_path) == ["scontrol requeue 77"]


def test_it_does_not_queue_again_for_ever(tmp_path, script):
    process = run_task(tmp_path, script, LISTENS, SLURM_RESTART_COUNT="2")
    warned(process, 10)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 75
    assert asked(tmp_path) == []
    assert "sdbatch: error: the time is up, and this task was requeued 2 times" in stderr


def test_it_does_not_queue_again_when_it_is_cancelled(tmp_path, script):
    process = run_task(tmp_path, script, LISTENS)
    warned(process, 15)
    stdout, _ = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (75, "told\n")
    assert asked(tmp_path) == []


def test_it_does_not_queue_again_when_it_was_done_in_time(tmp_path, script):
    quick = "trap 'exit 0' USR1; echo running; while :; do sleep 0.05; done"
    process = run_task(tmp_path, script, quick)
    warned(process, 10)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert asked(tmp_path) == []


@pytest.mark.parametrize(("there", "code", "calls"), [
    (2, 0, ["scancel --quiet --state=PENDING 70"]),
    (1, 0, []),
    (2, 1, []),
])  # fmt: skip
def test_it_spares_waiting_tasks_the_wait_when_every_shard_is_there(
    tmp_path, script, there, code, calls
):
    for shard in range(there):
        (tmp_path / "data" / "shards" / f"{shard:05d}").mkdir(parents=True)
    process = run_task(tmp_path, script, f"exit {code}")
    process.communicate(timeout=30)
    assert process.returncode == code
    assert asked(tmp_path) == calls


@given(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1)
)
def test_any_word_reaches_the_command_as_it_is(words):
    script = array(words=words)
    command = script[script.index("command=(") : script.index("# Slurm warns")]
    done = subprocess.run(
        ["bash", "-c", command + 'printf "%s\\0" "${command[@]:3}"'],
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == "".join(f"{word}\0" for word in words)


def test_every_key_of_the_launcher_has_a_say():
    """A key that changes no script and no submission would be a promise nobody keeps."""
    elsewhere = {"name", "tasks", "max_parallel", "dry_run", "resubmit", "job_name", "record",
                 "index", "count", "address"}  # fmt: skip
    plain = array() + merge_script(scene(LauncherConfig()))
    for item in fields(LauncherConfig):
        if item.name in elsewhere:
            continue
        value = getattr(LauncherConfig(), item.name)
        other = ["x"] if isinstance(value, list) else 7 if isinstance(value, int) else "x"
        changed = replace(LauncherConfig(), **{item.name: other})
        assert array(changed) + merge_script(scene(changed)) != plain, item.name
