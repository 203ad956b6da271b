"""The run's log folder inside the dataset, with Hydra's record of the command beside the log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

log = logging.getLogger("sdbatch")


def start_logging(folder: Path, composed: DictConfig, overrides: Sequence[str]) -> Path:
    """Create `folder/logs/<time>/` with `sdbatch.log` and what Hydra composed, in `.hydra/`.

    Several runs share one dataset, so the name is made unique. Log lines also go to stderr.
    """
    run = _new_folder(folder / "logs", time.strftime("%Y-%m-%dT%H-%M-%S"))
    record = run / ".hydra"
    record.mkdir()
    (record / "config.yaml").write_text(OmegaConf.to_yaml(composed), encoding="utf-8")
    (record / "overrides.yaml").write_text(OmegaConf.to_yaml(list(overrides)), encoding="utf-8")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers.clear()
    plain = logging.Formatter("sdbatch: %(message)s")
    dated = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    for handler, formatter in (
        (logging.StreamHandler(sys.stderr), plain),
        (logging.FileHandler(run / "sdbatch.log", encoding="utf-8"), dated),
    ):
        handler.setFormatter(formatter)
        log.addHandler(handler)
    return run


def _new_folder(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    attempt = 0
    while True:
        folder = parent / (f"{name}-{attempt}" if attempt else name)
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            attempt += 1
