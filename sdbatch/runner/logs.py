"""The run's log folder inside the dataset, with Hydra's record of the command beside the log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

ROW_LOG = "sdbatch.rows"
"""Name of the logger for lines about single rows, of which there can be millions."""
ROWS_SHOWN = 20
"""So many of them on stderr; the log file has all."""

log = logging.getLogger("sdbatch")
# Before there is a dataset nothing is said but what ends the run.
log.addHandler(logging.NullHandler())


def start_logging(
    folder: Path, composed: DictConfig, overrides: Sequence[str], own: Path | None = None
) -> Path:
    """Create `folder/logs/<time>/` with `sdbatch.log` and what Hydra composed, in `.hydra/`.

    Several runs share one dataset, so the name is made unique; or it is `own`, where a run that was
    interrupted goes on with its log. Log lines also go to stderr, but for
    those of level DEBUG, and for most of those about single rows.
    """
    run = own or new_folder(folder / "logs", time.strftime("%Y-%m-%dT%H-%M-%S"))
    record = run / ".hydra"
    record.mkdir(parents=True, exist_ok=True)
    (record / "config.yaml").write_text(OmegaConf.to_yaml(composed), encoding="utf-8")
    (record / "overrides.yaml").write_text(OmegaConf.to_yaml(list(overrides)), encoding="utf-8")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.handlers.clear()
    plain = logging.Formatter("sdbatch: %(message)s")
    dated = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    # A disk that is full must not end in a traceback for every line.
    logging.raiseExceptions = False
    for handler, formatter, level in (
        (logging.StreamHandler(sys.stderr), plain, logging.INFO),
        (logging.FileHandler(run / "sdbatch.log", encoding="utf-8"), dated, logging.DEBUG),
    ):
        handler.setFormatter(formatter)
        handler.setLevel(level)
        log.addHandler(handler)
    log.handlers[0].addFilter(_FirstRows())
    return run


class _FirstRows(logging.Filter):
    """Lets the first lines about rows pass, and says that there are more."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != ROW_LOG:
            return True
        self._seen += 1
        if self._seen == ROWS_SHOWN:
            log.info("more such lines are in the log file only")
        return self._seen <= ROWS_SHOWN


def new_folder(parent: Path, name: str) -> Path:
    """Create `parent/name`, or with a number behind it where that is there already."""
    parent.mkdir(parents=True, exist_ok=True)
    attempt = 0
    while True:
        folder = parent / (f"{name}-{attempt}" if attempt else name)
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            attempt += 1
