"""Unfinished work is removed when nobody works on it any more, and not before."""

import os
import socket
import subprocess
import time

import pytest

from sdbatch.dataset.attempts import attempts, discard_abandoned, new_name, this_boot

HOUR_S = 3600


@pytest.fixture
def gone():
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def leave(tmp, name: str, hours: float = 0):
    """An attempt with one image, last changed some hours ago."""
    folder = tmp / name
    (folder / "images").mkdir(parents=True)
    image = folder / "images" / "a-000.png"
    image.write_bytes(b"pixels")
    for path in (image, folder / "images", folder):
        change(path, hours)
    return folder


def change(path, hours: float):
    then = time.time() - hours * HOUR_S
    os.utime(path, (then, then))


class TestNames:
    def test_tell_the_shard_the_machine_its_start_and_the_process(self, tmp_path):
        host = socket.gethostname().replace(".", "_")
        for shard in ("00042", "00042.r1", "123456.r12"):
            name = new_name(shard)
            assert name.startswith(f"{shard}.{host}.{this_boot()}.{os.getpid()}.")
            leave(tmp_path, name)
        found = {attempt.shard: attempt for attempt in attempts(tmp_path)}
        assert found.keys() == {"00042", "00042.r1", "123456.r12"}
        for attempt in found.values():
            assert (attempt.host, attempt.pid) == (host, os.getpid())
            assert (attempt.boot, attempt.gone) == (this_boot(), False)

    def test_are_never_the_same(self):
        assert len({new_name("00042") for _ in range(100)}) == 100

    @pytest.mark.parametrize(
        ("name", "shard", "host"),
        [
            ("00042.node.01234567.12.ab12", "00042", "node"),
            ("00042.a.b.example.com.01234567.12.ab12", "00042", "a.b.example.com"),
            ("00042.r3.a.b.01234567.12.ab12", "00042.r3", "a.b"),
            ("00042.r3.01234567.12.ab12", "00042", "r3"),  # the machine is called r3
            ("00042.r3.r3.01234567.12.ab12", "00042.r3", "r3"),
        ],
    )
    def test_may_hold_hosts_with_dots(self, tmp_path, name, shard, host):
        leave(tmp_path, name)
        (attempt,) = attempts(tmp_path)
        assert (attempt.shard, attempt.host) == (shard, host)
        assert (attempt.boot, attempt.pid) == ("01234567", 12)

    def test_a_host_with_dots_is_never_taken_for_a_repair(self, tmp_path, monkeypatch):
        monkeypatch.setattr(socket, "gethostname", lambda: "r1.lab")
        leave(tmp_path, new_name("00042"))
        (attempt,) = attempts(tmp_path)
        assert (attempt.shard, attempt.host) == ("00042", "r1_lab")

    @pytest.mark.parametrize(
        "name", ["mine", ".clock.abc", "00042", "x.node.01234567.12.ab", "00042.node.12.ab12"]
    )
    def test_that_are_foreign_are_none(self, tmp_path, name):
        leave(tmp_path, name)
        assert attempts(tmp_path) == []

    def test_of_a_folder_that_is_not_there_are_none(self, tmp_path):
        assert attempts(tmp_path / "nowhere") == []


class TestAbandoned:
    def test_of_a_living_process_are_kept(self, tmp_path):
        folder = leave(tmp_path, new_name("00042"))
        discard_abandoned(tmp_path)
        assert folder.is_dir()

    def test_of_a_process_that_is_gone_are_removed(self, tmp_path, gone):
        folder = leave(tmp_path, f"00042.node.{this_boot()}.{gone}.ab12")
        discard_abandoned(tmp_path)
        assert not folder.exists()

    def test_of_another_machine_or_an_earlier_start_are_kept(self, tmp_path, gone):
        host = socket.gethostname()
        boot = "0" * 8
        assert boot != this_boot()
        folder = leave(tmp_path, f"00042.{host}.{boot}.{gone}.ab12", hours=23)
        discard_abandoned(tmp_path)
        assert folder.is_dir()

    @pytest.mark.parametrize("pid", ["1", "{gone}"])
    def test_after_a_day_of_silence_are_removed_whoevers_they_are(self, tmp_path, gone, pid):
        name = f"00042.elsewhere.01234567.{pid.format(gone=gone)}.ab12"
        folder = leave(tmp_path, name, hours=25)
        discard_abandoned(tmp_path)
        assert not folder.exists()

    @pytest.mark.parametrize("part", ["", "images", "images/a-000.png"])
    def test_are_kept_while_anything_in_them_changes(self, tmp_path, part):
        folder = leave(tmp_path, "00042.elsewhere.01234567.1.ab12", hours=25)
        change(folder / part, hours=1)
        discard_abandoned(tmp_path)
        assert folder.is_dir()

    def test_are_judged_by_the_clock_of_the_file_system(self, tmp_path, monkeypatch):
        folder = leave(tmp_path, "00042.elsewhere.01234567.1.ab12", hours=23)
        true_time = time.time
        monkeypatch.setattr(time, "time", lambda: true_time() + 10 * HOUR_S)
        discard_abandoned(tmp_path)
        assert folder.is_dir()

    def test_leave_what_is_not_an_attempt_and_nothing_else(self, tmp_path, gone):
        mine = leave(tmp_path, "mine", hours=1000)
        leave(tmp_path, f"00042.node.{this_boot()}.{gone}.ab12")
        leave(tmp_path, "00043.node.01234567.1.ab12", hours=1000)
        discard_abandoned(tmp_path)
        assert list(tmp_path.iterdir()) == [mine]

    def test_may_be_none(self, tmp_path):
        discard_abandoned(tmp_path / "nowhere")
        discard_abandoned(tmp_path)
        assert list(tmp_path.iterdir()) == []
