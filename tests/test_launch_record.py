"""`launch.json`: what a submission leaves for its tasks and for whoever looks later."""

import json
import subprocess

import pytest

from sdbatch.errors import UserError
from sdbatch.launch_record import Array, Launch, read_launch, read_launches
from sdbatch.prompts import TableSummary

TABLE = TableSummary(12, 24, "ab", frozenset({20, 30}), frozenset({(64, 64), (64, 96)}), (900, 7))
LAUNCH = Launch(
    ["prompts=新闻", "launcher=slurm", "launcher.resubmit=true"], "/home/me/my work", 4, [0, 2, 3],
    TABLE, "2026-11-27T21:00:00+00:00", (Array("41", 0, 2), Array("42", 2, 2)), "43",
)  # fmt: skip


def test_it_is_read_as_it_was_written(tmp_path):
    LAUNCH.write(tmp_path)
    again = read_launch(tmp_path)
    assert again == LAUNCH
    assert again.table.stamp == TABLE.stamp
    assert [path.name for path in tmp_path.iterdir()] == ["launch.json"]


def test_its_command_can_be_typed_anywhere(tmp_path):
    command = LAUNCH.resubmit_command.replace("/home/me/my work", "/")
    shown = subprocess.run(
        ["bash", "-c", command.replace("python", "printf '%s\\n'")], capture_output=True, text=True
    )
    assert shown.stdout.splitlines() == ["-m", "sdbatch", *LAUNCH.command]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "tasks": 3}'])
def test_another_file_is_refused_by_name(tmp_path, text):
    (tmp_path / "launch.json").write_text(text)
    with pytest.raises(UserError, match=r"launch.json: expected a launch.json of format 1") as told:
        read_launch(tmp_path)
    assert len(str(told.value).splitlines()) == 1


def test_none_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"launch.json: no such file"):
        read_launch(tmp_path)


def test_all_of_a_dataset_are_found_oldest_first(tmp_path):
    for name, created in (("slurm-a", "2026-11-28"), ("slurm-b", "2026-11-27"), ("slurm-c", None)):
        folder = tmp_path / "logs" / name
        folder.mkdir(parents=True)
        LAUNCH.write(folder)
        record = json.loads((folder / "launch.json").read_text())
        (folder / "launch.json").write_text(json.dumps({**record, "created_at": created}))
    (tmp_path / "logs" / "slurm-c" / "launch.json").write_text("half a")
    assert [folder.name for folder, _ in read_launches(tmp_path)] == ["slurm-b", "slurm-a"]
