"""What tests of launching start from: a table, what a local run makes of it, and no Slurm."""

import os
from pathlib import Path

import pytest

from sdbatch.errors import EXIT_DONE
from tests.launch.fakes import Fakes
from tests.runner import runs

ROWS = 48


@pytest.fixture
def table(tmp_path) -> Path:
    return runs.a_table(tmp_path, ROWS)


@pytest.fixture
def data(tmp_path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def expected(tmp_path, table) -> dict:
    """What a local run makes of the table."""
    assert runs.run(table, tmp_path / "local").exit_code == EXIT_DONE
    return runs.contents(tmp_path / "local")


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
