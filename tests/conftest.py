"""Shared by all tests: golden records, the bundled checkpoints loaded once, small tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sdbatch.engine.device import prepare_process

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).parent / "golden" / "models"
ASSETS = ROOT / "sdbatch" / "assets"

# Tests read English, whatever the locale of the machine.
os.environ["SDBATCH_LANG"] = "en"

# Tests that run side by side share the cores: one thread each is faster than two that compete.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
prepare_process()


@pytest.fixture(scope="session", autouse=True)
def _programs(tmp_path_factory):
    """One cache of compiled programs for all tests, and none of the user's."""
    cache = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        cache = cache.parent
    os.environ["XDG_CACHE_HOME"] = str(cache / "cache")


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Relative L2 distance."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="session")
def golden() -> dict:
    """What PyTorch did, and with which versions (tools/golden_models.py)."""
    return json.loads((GOLDEN / "golden.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session", params=["demo", "demo_zh"])
def model_name(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def arrays(model_name) -> dict[str, np.ndarray]:
    """Recorded inputs and outputs of one checkpoint's networks."""
    with np.load(GOLDEN / f"{model_name}.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def pipelines():
    """`pipelines(name, SamplerOptions(...), TextOptions(...))`: a bundled checkpoint, or one in a
    folder, ready to run; its networks are loaded once."""
    from dataclasses import replace

    from sdbatch.engine.device import Device
    from sdbatch.engine.load import load_pipeline
    from sdbatch.samplers import Sampler, SamplerOptions
    from sdbatch.text import TextOptions
    from sdbatch.weights.source import open_checkpoint

    loaded = {}

    def get(name: str | Path, sampler="ddim", text=None, noise="torch_cpu"):
        if isinstance(sampler, str):
            sampler = SamplerOptions(sampler)
        checkpoint = open_checkpoint(ASSETS / name)
        sampler = Sampler.from_config(checkpoint.scheduler, sampler)
        key = (name, text)
        if key not in loaded:
            device = Device("cpu", "fp32")
            loaded[key] = load_pipeline(checkpoint, sampler, device, text=text or TextOptions())
        return replace(loaded[key], sampler=sampler, noise=noise)

    return get


@pytest.fixture
def write_table(tmp_path):
    """`write_table(prompt=[...], ...)`: a Parquet table from columns; returns its path."""

    def write(name: str = "table", **columns) -> Path:
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    return write


@pytest.fixture
def sdbatch(tmp_path):
    """`sdbatch("steps=2", ...)`: the real command in a new process, in an empty folder."""

    def call(*arguments: str, module: str = "sdbatch", cwd: Path | None = None, **kwargs):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd or tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            **kwargs,
        )

    return call


@pytest.fixture
def refused(sdbatch, tmp_path):
    """Run the command, check the contract of a refusal, return its one line."""

    def run(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        result = sdbatch(*arguments)
        assert result.returncode == 1, result.stderr
        assert result.stdout == ""
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("sdbatch: error: ")
        assert sorted(tmp_path.rglob("*")) == before
        return lines[0]

    return run


@pytest.fixture
def disk(tmp_path):
    """`disk("size=4m")`: a real file system in memory; again, to change its options."""
    folder = tmp_path / "disk"

    def mount(options: str) -> Path:
        if folder.exists():
            options = f"remount,{options}"
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount command here")
        if result.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {result.stderr.strip()}")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)
