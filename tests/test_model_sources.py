"""The real command with every kind of checkpoint; what is done to one is part of the dataset."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sdbatch.convert.write import convert
from sdbatch.errors import UserError
from sdbatch.runner.prepare import prepare
from sdbatch.weights.options import SourceOptions
from sdbatch.weights.source import open_checkpoint
from tests.composing import folder, job  # noqa: F401
from tests.conftest import ROOT
from tests.weights import loras
from tests.weights.checkpoints import DEMO, demo_networks, write
from tests.weights.loras import TO_Q, kohya
from tests.weights.original import original_tensors

QUICK = ("steps=2", "width=64", "height=64")
SHAPE = demo_networks()["unet"][f"{TO_Q}.weight"].shape
LORA = kohya(down=(2, SHAPE[1]), up=(SHAPE[0], 2))


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, tuple[str, ...]]:
    """Kind of source -> what is said on the command line. All hold the demo's weights."""
    work = tmp_path_factory.mktemp("sources")
    convert(open_checkpoint(DEMO), work / "paddle", SourceOptions())
    halves = {key: array / 2 for key, array in demo_networks()["unet"].items()}
    tensors = original_tensors("demo", demo_networks(), averages=halves)
    base = f"model.base={DEMO}"
    return {
        "folder": (f"model.path={DEMO}",),
        "paddle": (f"model.path={work / 'paddle'}",),
        "safetensors": (f"model.path={write(work / 'demo.safetensors', tensors)}", base),
        "ckpt": (f"model.path={write(work / 'demo.ckpt', tensors, epoch=1)}", base),
    }


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("table") / "table.parquet"
    pq.write_table(pa.table({"prompt": ["a red star on a white background", "a blue heart"]}), path)
    return path


@pytest.fixture(scope="module")
def made(sources, table, tmp_path_factory):
    """`made(kind)`: the dataset that the command makes with this source."""
    done = {}

    def call(kind) -> Path:
        if kind not in done:
            work = tmp_path_factory.mktemp(kind)
            command = [sys.executable, "-m", "sdbatch", *sources[kind], f"prompts.path={table}"]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            run = subprocess.run(
                [*command, *QUICK], cwd=work, env=environment, capture_output=True, text=True
            )
            assert (run.returncode, run.stdout) == (0, "outputs/table\n"), run.stderr
            done[kind] = work / "outputs" / "table"
        return done[kind]

    return call


def settings(dataset: Path) -> dict:
    return json.loads((dataset / "run.json").read_text())["settings"]


def pictures(dataset: Path) -> list[np.ndarray]:
    names = pq.read_table(dataset / "metadata.parquet")["file_name"].to_pylist()
    return [np.asarray(Image.open(dataset / name)) for name in names]


@pytest.mark.parametrize("kind", ["paddle", "safetensors", "ckpt"])
def test_every_kind_makes_the_pictures_of_the_folder(made, kind):
    """Value for value."""
    found, expected = pictures(made(kind)), pictures(made("folder"))
    assert len(found) == len(expected) == 2
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert settings(made(kind))["family"] == "sd1"


def test_what_a_model_was_taken_for_is_said(made):
    (log,) = (made("safetensors") / "logs").glob("*/sdbatch.log")
    for line in (
        "family sd1: cross-attention reads 128 channels, projections are 1x1 convolutions",
        "prediction epsilon: the file does not say, and sd1 is published so",
    ):
        assert line in log.read_text()


@pytest.fixture
def prepared(made, sources, table, folder):  # noqa: F811
    """`prepared(*overrides)`: the job of the dataset of the .safetensors file, changed."""

    def call(*overrides, dataset=None):
        output = (f"output.dir={dataset}",) if dataset else ()
        same = (*sources["safetensors"], f"prompts.path={table}", *QUICK)
        return prepare(job(*same, *output, *overrides)).job

    return call


class TestWhatIsDoneToAModel:
    """It changes the fingerprint, and is refused on a dataset that was made otherwise."""

    @pytest.fixture
    def lora(self, tmp_path):
        return loras.write(tmp_path, LORA)

    def test_nothing_done_goes_on(self, made, prepared):
        plan = prepared(dataset=made("safetensors")).plan
        assert asdict(plan.settings) == settings(made("safetensors"))

    @pytest.mark.parametrize(
        ("change", "keys"),
        [
            ("model.prediction=v_prediction", ["model_config_sha256", "scheduler_settings"]),
            ("model.ema=true", ["weights_sha256"]),
            ("model.vae={vae}", ["weights_sha256"]),
            ("model.loras=[{{path: {lora}}}]", ["loras"]),
            ("model.loras=[{{path: {lora}, weight: 0.5}}]", ["loras"]),
        ],
    )
    def test_anything_else_is_refused_with_what_differs(
        self, made, prepared, lora, tmp_path, change, keys
    ):
        halves = {name: array / 2 for name, array in demo_networks()["vae"].items()}
        vae = write(tmp_path / "vae.safetensors", halves)
        change = change.format(vae=vae, lora=lora)
        before = settings(made("safetensors"))
        after = asdict(prepared(change).plan.settings)
        assert [name for name in sorted(before) if before[name] != after[name]] == keys
        with pytest.raises(UserError) as caught:
            prepared(change, dataset=made("safetensors"))
        line = str(caught.value)
        assert f"the dataset was made with other settings: {keys[0]} was " in line
        assert len(line.splitlines()) == 1

    def test_the_strength_of_a_lora_counts(self, prepared, lora):
        fingerprints = {
            prepared(f"model.loras=[{{path: {lora}, weight: {w}}}]").plan.settings.fingerprint
            for w in ("1", "1.0", "0.5", "-0.5")
        }
        assert len(fingerprints) == 3

    def test_another_place_or_name_does_not(self, made, prepared, lora, tmp_path):
        other = lora.rename(tmp_path / "other name.safetensors")
        first = prepared(f"model.loras=[{{path: {other}}}]").plan.settings
        moved = other.rename(tmp_path / "moved.safetensors")
        assert prepared(f"model.loras=[{{path: {moved}}}]").plan.settings == first
        assert first.weights_sha256 == settings(made("safetensors"))["weights_sha256"]

    def test_the_command_says_so_in_one_line(self, refused, made, sources, table):
        dataset = made("safetensors")
        before = {p: p.stat().st_mtime_ns for p in dataset.rglob("*")}
        line = refused(
            *sources["safetensors"],
            *(f"prompts.path={table}", *QUICK, f"output.dir={dataset}"),
            "model.ema=true",
        )
        assert "the dataset was made with other settings: weights_sha256 was " in line
        assert {p: p.stat().st_mtime_ns for p in dataset.rglob("*")} == before


class TestRefuses:
    @pytest.mark.parametrize(
        ("override", "expected"),
        [
            ("model.family=sd2", "family sd2 was asked for, but this is sd1: cross-attention"),
            ("model.family=sdxl", "family sdxl was asked for, but this is sd1: cross-attention"),
            ("model.loras=[{path: gone.safetensors}]", "gone.safetensors: cannot be read: No such"),
            ("model.vae=gone.safetensors", "gone.safetensors: cannot be read: No such file"),
            ("model.base=gone", "gone/scheduler/scheduler_config.json: cannot be read: No such"),
        ],
    )
    def test_what_does_not_fit_in_one_line(self, prepared, override, expected):
        with pytest.raises(UserError) as caught:
            prepared(override)
        assert expected in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1

    def test_a_lora_for_another_family(self, refused, tmp_path):
        """Found before a job writes anything."""
        path = loras.write(tmp_path, {**LORA, **kohya("lora_unet_down_blocks_3_to_q")})
        line = refused(f"model.loras=[{{path: {path}}}]")
        assert "lora_unet_down_blocks_3_to_q" in line
        assert "was this LoRA made for another family (SD 1.x, 2.x, XL)?" in line
