"""What tests of launching start from: no Slurm at all, or a real one."""

import os
from pathlib import Path

import pytest

from tests.launch.fakes import Fakes


@pytest.fixture
def fakes(tmp_path, monkeypatch) -> Fakes:
    """No Slurm at all, until a test says what of it is there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    hidden = ("sbatch", "squeue", "sacct", "scontrol", "scancel")
    paths = [
        path
        for path in os.environ["PATH"].split(os.pathsep)
        if not any((Path(path) / name).exists() for name in hidden)
    ]
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), *paths]))
    return Fakes(folder)
