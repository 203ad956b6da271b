"""Batch scripts for Slurm as text: what people read, edit and submit again by hand."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdbatch.config.schema import LauncherConfig
from sdbatch.launch.arrays import Slice

_BODY = Path(__file__).with_name("task.sh")


@dataclass(frozen=True)
class Scene:
    """What all scripts of a launch have in common.

    Attributes:
        launcher: what is asked of Slurm.
        dataset: its folder, absolute.
        shards: which when they are there leave tasks nothing to do; None: not known.
        folder: of the launch: scripts, `launch.json`, output.
        cwd: where commands run.
        name: of the jobs.
        created_at: for whoever reads it.
    """

    launcher: LauncherConfig
    dataset: Path
    shards: int | None
    folder: Path
    cwd: Path
    name: str
    created_at: str


def array_script(scene: Scene, words: Sequence[str], tasks: int, array: Slice) -> str:
    """The script of one array.

    Args:
        scene: see there.
        words: behind `python -m sdbatch`, but for index and count.
        tasks: of the whole launch.
        array: which of them these are.
    """
    launcher = scene.launcher
    limit = f"%{array.parallel}" if array.parallel else ""
    index = f"$(({array.first} + SLURM_ARRAY_TASK_ID))" if array.first else "$SLURM_ARRAY_TASK_ID"
    options = {
        "job-name": scene.name,
        "array": f"0-{array.tasks - 1}{limit}",
        "output": f"{_literal(scene.folder)}/%A_%a.out",
        "open-mode": "append",
        "requeue": True,
        "signal": f"B:USR1@{launcher.warning_s}",
        **_common(launcher),
        "cpus-per-task": launcher.cpus,
        "mem": launcher.memory,
        "time": launcher.time,
        "partition": launcher.partition,
    }
    if launcher.gpus:
        kind = f"{launcher.gpu_type}:" if launcher.gpu_type else ""
        options["gres"] = f"gpu:{kind}{launcher.gpus}"
    parts = [
        _head(scene, f"{array.tasks} of {tasks} tasks that make", options, launcher.flags),
        _preparation(scene),
        _variables(scene, index, tasks),
        _command(launcher, ["-m", "sdbatch", *words]),
        _BODY.read_text(encoding="utf-8"),
    ]
    return "\n".join(parts)


def merge_script(scene: Scene) -> str:
    """The script of the job that runs when every task has ended, however it ended."""
    launcher = scene.launcher
    options = {
        "job-name": f"{scene.name}-merge",
        "output": f"{_literal(scene.folder)}/merge.out",
        "open-mode": "append",
        "requeue": True,
        **_common(launcher),
        "cpus-per-task": 2,
        "mem": launcher.merge_memory,
        "time": launcher.merge_time,
        "partition": launcher.merge_partition or launcher.partition,
    }
    parts = [
        _head(scene, "merges, from the shards on disk, the metadata of", options,
              launcher.merge_flags),
        _preparation(scene),
        _command(launcher, ["-m", "sdbatch.merge", str(scene.dataset)]),
        'exec "${command[@]}"\n',
    ]  # fmt: skip
    return "\n".join(parts)


Options = dict[str, str | int | bool | None]
"""What is asked of sbatch: True stands for an option without a value, None for none at all."""


def _common(launcher: LauncherConfig) -> Options:
    return {"nodes": 1, "ntasks": 1, "account": launcher.account, "qos": launcher.qos}


def _head(scene: Scene, what: str, options: Options, flags: Sequence[str]) -> str:
    lines = [
        "#!/bin/bash",
        f"# {what} {scene.dataset}",
        f"# written by sdbatch, {scene.created_at}",
        *_options(options),
        *(f"#SBATCH {flag}" for flag in flags),
    ]
    return "\n".join(lines) + "\n"


def _options(options: Options) -> Iterator[str]:
    for name, value in options.items():
        if value is True:
            yield f"#SBATCH --{name}"
        elif value is not None:
            yield f"#SBATCH --{name}={_quoted(str(value))}"


def _quoted(value: str) -> str:
    """As sbatch takes a value with blanks."""
    return f'"{value}"' if re.search(r"[\s#]", value) else value


def _preparation(scene: Scene) -> str:
    launcher = scene.launcher
    lines = [
        *(f"module load {shlex.quote(name)}" for name in launcher.modules),
        *launcher.setup,
        f"cd -- {shlex.quote(str(scene.cwd))} || exit 1",
    ]
    return "\n".join(lines) + "\n"


def _variables(scene: Scene, index: str, tasks: int) -> str:
    """What the part that is the same in all scripts reads, beside the command."""
    lines = [
        f"index={index}",
        f"count={tasks}",
        f"max_requeues={scene.launcher.max_requeues}",
        f"dataset={shlex.quote(str(scene.dataset))}",
        f"shards={scene.shards or ''}",
    ]
    return "\n".join(lines)


def _command(launcher: LauncherConfig, words: Sequence[str]) -> str:
    """A bash array, a word a line."""
    python = launcher.python or ("python" if launcher.container else sys.executable)
    lines = [f"    {launcher.prefix}"] if launcher.prefix else []
    if launcher.container:
        lines.append(f"    apptainer exec --nv {shlex.quote(launcher.container)}")
    first, *rest = words
    lines.append(f"    {shlex.quote(python)} {first} {rest[0]}")
    lines += [f"    {shlex.quote(word)}" for word in rest[1:]]
    return "\n".join(["command=(", *lines, ")"]) + "\n"


def _literal(folder: Path) -> str:
    """A path in which Slurm fills in nothing."""
    return str(folder).replace("%", "%%")
