"""Composing the job as the command line does, in the process of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from sdbatch import config
from sdbatch.errors import UserError
from sdbatch.explain import explain


def job(*overrides: str, config_dir: Path | None = None) -> config.Config:
    """What `python -m sdbatch [--config-dir DIR] OVERRIDES` would run in this folder."""
    config.register()
    overrides = tuple(map(config.readable, overrides))
    if config_dir is not None:
        overrides = (f"hydra.searchpath=[file://{config_dir}]", *overrides)
    with initialize_config_dir(str(config.conf_dir()), version_base="1.3"):
        return config.validate(compose("config", overrides=list(overrides)))


def refusal(*overrides: str, config_dir: Path | None = None) -> str:
    """The one line that is printed instead."""
    with pytest.raises((UserError, HydraException, OmegaConfBaseException)) as caught:
        job(*overrides, config_dir=config_dir)
    error = caught.value
    line = str(error) if isinstance(error, UserError) else explain(error)
    assert len(line.splitlines()) == 1
    return line


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder; tables registered from it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(ConfigStore.instance().repo, "prompts", {})
    return tmp_path
