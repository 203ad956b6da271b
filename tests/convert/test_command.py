"""`python -m sdbatch.convert`: a line for the result or an error, all or nothing on disk."""

import errno
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from sdbatch.convert import __main__ as command
from sdbatch.convert import write as writing
from sdbatch.weights.files import paddle_file
from sdbatch.weights.files.paddle_file import open_paddle
from sdbatch.weights.source import open_checkpoint
from tests.conftest import ROOT
from tests.weights.checkpoints import DEMO, demo_networks, write
from tests.weights.files.torch_files import Call, Global, zip_file
from tests.weights.original import original_tensors


@pytest.fixture
def run(capfd, tmp_path, monkeypatch):
    """`run("out", ...)`: convert the demo in this process; returns exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments, source=DEMO) -> tuple[int, str, str]:
        code = 0
        try:
            command.main([str(source), *map(str, arguments)])
        except SystemExit as error:
            code = error.code
        sys.stdout.flush()
        return code, *capfd.readouterr()

    yield call
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def refusal(run, tmp_path):
    """The one line of a refusal, which must leave nothing behind."""

    def call(*arguments, code=1, **source) -> str:
        before = sorted(tmp_path.rglob("*"))
        found, out, err = run(*arguments, **source)
        assert (found, out) == (code, "")
        assert sorted(tmp_path.rglob("*")) == before
        line = err.splitlines()[-1]
        assert line.startswith("sdbatch: error: ")
        return line.removeprefix("sdbatch: error: ")

    return call


class TestOutput:
    def test_is_the_target_on_stdout_and_all_else_on_stderr(self, run, tmp_path):
        code, out, err = run("out", "--verify", "--report", "report.md")
        assert (code, out) == (0, "out\n")
        lines = err.splitlines()
        assert all(line.startswith("sdbatch: ") for line in lines)
        for text in (
            "sdbatch: family sd1: cross-attention reads 128 channels, projections are 1x1 conv",
            "sdbatch: prediction epsilon: ",
            "sdbatch: unet: 326 tensors",
            "sdbatch: dropped: 0 tensors, each with its reason in conversion.json",
            "sdbatch: verified: 550 tensors equal the source",
        ):
            assert any(line.startswith(text) for line in lines)
        assert "550 tensors, equal to the source" in (tmp_path / "report.md").read_text()

    def test_names_any_target(self, run, tmp_path):
        name = os.fsdecode(b"\xd0\xcd")
        code, _, _ = run(name)
        assert code == 0
        assert open_checkpoint(tmp_path / name).name == name

    def test_takes_every_option(self, run, tmp_path):
        model = write(tmp_path / "model.ckpt", original_tensors("demo", demo_networks()))
        code, _, err = run(
            *("new", "--family", "sd1", "--prediction", "v_prediction", "--dtype", "bf16"),
            *("--ema", "--vae", DEMO / "vae", "--base", DEMO),
            source=model,
        )
        assert code == 0, err
        record = json.loads((tmp_path / "new" / "conversion.json").read_text())
        assert record["options"] == {
            "family": "sd1",
            "prediction": "v_prediction",
            "ema": True,
            "variant": None,
            "vae": str(DEMO / "vae"),
            "base": str(DEMO),
            "dtype": "bf16",
        }
        assert {network["dtypes"]["BF16"] for network in record["networks"].values()}
        assert open_checkpoint(tmp_path / "new").scheduler["prediction_type"] == "v_prediction"


class TestRefuses:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((), "the following arguments are required: target"),
            (("out", "more"), "unrecognized arguments: more"),
            (("out", "--frobnicate"), "unrecognized arguments: --frobnicate"),
            (("out", "--dtype", "int8"), "argument --dtype: invalid choice: 'int8'"),
            (("out", "--family", "sd3"), "argument --family: invalid choice: 'sd3'"),
            (("out", "--family", "sdxl"), "family sdxl was asked for, but this is sd1"),
            (("out", "--ema"), "ema: only single files hold two sets of weights"),
            (("out", "--variant", "fp16"), "unet: fp16 weights missing"),
            (("out", "--vae", "gone"), "gone: cannot be read: No such file"),
            (("out", "--report", "gone/report.md"), "report: gone: no such folder"),
            (("/proc/out",), "No such file or directory"),
        ],
    )
    def test_in_one_line(self, refusal, arguments, expected):
        assert expected in refusal(*arguments)

    def test_a_source_that_is_not_there(self, refusal):
        assert "gone: no such file or folder" in refusal("out", source="gone")

    def test_a_report_of_another_kind_before_it_looks_at_the_source(self, refusal):
        line = refusal("out", "--report", "report.pdf", source="gone")
        assert line == "report: report.pdf: expected a file name that ends in .html or .md"

    def test_a_target_with_something_in_it(self, refusal, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("x")
        assert refusal("out") == "out: exists already; expected a new or empty folder"


class TestDisk:
    """What goes wrong while it writes leaves nothing behind."""

    @pytest.fixture
    def failing(self, monkeypatch):
        """`failing(number)`: the 400th tensor cannot be written."""

        def call(number):
            written, really = [], paddle_file._write_item

            def write_item(*args):
                written.append(args)
                if len(written) == 400:
                    raise OSError(number, os.strerror(number))
                really(*args)

            monkeypatch.setattr(paddle_file, "_write_item", write_item)

        return call

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_that_is_full_asks_for_another_try(self, refusal, failing, number):
        failing(number)
        line = refusal("out", code=75)
        assert line.endswith(f"vae/model_state.pdparams: {os.strerror(number)}")

    def test_that_fails_is_an_error(self, refusal, failing):
        failing(errno.EIO)
        assert refusal("out").endswith("vae/model_state.pdparams: Input/output error")

    @pytest.mark.parametrize("name", ["_write_rest", "_sync_folders"])
    def test_that_is_full_at_the_very_end(self, refusal, monkeypatch, name):
        def fail(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(writing, name, fail)
        assert refusal("out", code=75) == "No space left on device"


class TestInterrupted:
    def test_before_anything_is_read(self, refusal, monkeypatch):
        monkeypatch.setattr(
            "sdbatch.weights.source.open_checkpoint", lambda *_: os.kill(os.getpid(), 15)
        )
        assert refusal("out", code=75) == "interrupted: out was not written"

    def test_before_the_end_nothing_is_there(self, refusal, monkeypatch):
        monkeypatch.setattr(writing, "_write_rest", lambda *args: os.kill(os.getpid(), 15))
        assert refusal("out", code=75) == "interrupted: out was not written"

    def test_while_it_verifies_the_folder_is_whole(self, run, monkeypatch, tmp_path):
        def interrupt(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr("sdbatch.convert.verify.verify", interrupt)
        code, out, err = run("out", "--verify")
        assert (code, out) == (75, "")
        assert err.endswith("error: interrupted: out is whole, but was not verified\n")
        assert open_checkpoint(tmp_path / "out").family == "sd1"


def test_verification_that_fails_is_an_error(run, monkeypatch, tmp_path):
    really = writing.convert

    def with_a_flipped_bit(checkpoint, folder, *args):
        conversion = really(checkpoint, folder, *args)
        path = folder / "unet" / "model_state.pdparams"
        content = bytearray(path.read_bytes())
        content[open_paddle(path).tensors["conv_in.bias"].start] ^= 1
        path.write_bytes(content)
        return conversion

    monkeypatch.setattr(writing, "convert", with_a_flipped_bit)
    code, out, err = run("out", "--verify")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].endswith("conv_in.bias: differs from conv_in.bias")


STOPPED = """
import os, runpy, sys
from sdbatch.weights.files import paddle_file
number, written, really = int(sys.argv.pop(1)), [], paddle_file._write_item
def write_item(*args):
    really(*args)
    written.append(args)
    if len(written) == 400:
        os.kill(os.getpid(), number)
paddle_file._write_item = write_item
runpy.run_module("sdbatch.convert", run_name="__main__", alter_sys=True)
"""
WATCHED = """
import atexit, re, runpy, sys
from pathlib import Path
def tell():
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
    print(f"peak {peak} paddle {'paddle' in sys.modules}", file=sys.stderr)
atexit.register(tell)
runpy.run_module("sdbatch.convert", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def script(tmp_path):
    """`script(text, ...)`: a program in a new process that runs the command with a change."""

    def call(text, *arguments) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", text, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


def test_a_killed_process_leaves_no_folder_and_the_next_one_cleans_up(script, sdbatch, tmp_path):
    killed = script(STOPPED, int(signal.SIGKILL), DEMO, "out")
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert re.fullmatch(r"\.out\..+\.\d+\.partial", left.name)
    assert (left / "unet" / "model_state.pdparams").stat().st_size > 9_000_000
    again = sdbatch(str(DEMO), "out", "--verify", module="sdbatch.convert")
    assert (again.returncode, again.stdout) == (0, "out\n"), again.stderr
    assert all(line.startswith("sdbatch: ") for line in again.stderr.splitlines())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_signal_ends_it_with_nothing_left(script, tmp_path):
    ended = script(STOPPED, int(signal.SIGTERM), DEMO, "out")
    assert ended.returncode == 75
    assert ended.stdout == ""
    assert ended.stderr.splitlines()[-1] == "sdbatch: error: interrupted: out was not written"
    assert list(tmp_path.iterdir()) == []


def test_a_hostile_file_is_refused_unexecuted_and_without_paddle(script, tmp_path):
    evil = Call(Global("os", "system"), (f"touch {tmp_path / 'harm'}",))
    (tmp_path / "evil.ckpt").write_bytes(zip_file({"state_dict": {}, "callbacks": evil}))
    refused = script(WATCHED, "evil.ckpt", "out")
    assert (refused.returncode, refused.stdout) == (1, "")
    line, told = refused.stderr.splitlines()
    assert line.startswith("sdbatch: error: evil.ckpt: ")
    assert "os.system" in line
    peak, paddle = told.split()[1::2]
    assert int(peak) < 200_000
    assert paddle == "False"
    assert [path.name for path in tmp_path.iterdir()] == ["evil.ckpt"]
