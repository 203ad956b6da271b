"""What Hydra composes a job from: `conf/`, the schema, and every prompt table by its name."""

from __future__ import annotations

import re
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from sdbatch.config.schema import Config

_PACKAGE = Path(__file__).parent.parent
_CHECKOUT = _PACKAGE.parent


def conf_dir() -> Path:
    """The copy inside an installed package, or `conf/` of the checkout.

    In that order: beside an installed package, `conf/` would be somebody else's.
    """
    return _first_existing(_PACKAGE / "conf", _CHECKOUT / "conf")


def table_dirs() -> list[Path]:
    """Where `prompts=NAME` looks for NAME.parquet: the working folder first, then ours."""
    bundled = _first_existing(_PACKAGE / "assets" / "prompts", _CHECKOUT / "prompts")
    return [Path("prompts"), bundled]


def register() -> None:
    """Tell Hydra the schema, the resolvers of our YAML, and every prompt table by name.

    A table needs no YAML: each NAME.parquet becomes a choice of the group `prompts`. A YAML of the
    same name wins, because Hydra looks into `conf/` before it looks here.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for folder in reversed(table_dirs()):
        for table in sorted(folder.glob("*.parquet")):
            store.store(group="prompts", name=table.stem, node={"path": str(table)})
    OmegaConf.register_new_resolver("stem", lambda path: Path(path).stem, replace=True)
    OmegaConf.register_new_resolver(
        "bundled_model", lambda name: str(_PACKAGE / "assets" / name), replace=True
    )


def readable(argument: str) -> str:
    """A command-line argument as Hydra's grammar can read it.

    Outside quotes the grammar knows ASCII only, so `prompts=新闻` would be refused: a value with
    other characters is put into quotes, unless it has some already or is a list or a dictionary.
    """
    key, equals, value = argument.partition("=")
    if not equals or value.isascii() or argument.startswith("-") or value[0] in "'\"[{":
        return argument
    return f"{key}={quoted(value)}"


def quoted(value: str) -> str:
    """A text as Hydra's grammar reads it, whatever is in it; plain paths stay as they are."""
    if re.fullmatch(r"[A-Za-z0-9_.-]*/[A-Za-z0-9_./-]*", value):
        return value
    # Backslashes are literal in quotes, but for those before a quote.
    inner = re.sub(r"(\\*)'", r"\1\1\\'", value)
    inner = re.sub(r"(\\+)$", r"\1\1", inner)
    return f"'{inner}'"


def _first_existing(*candidates: Path) -> Path:
    return next((path for path in candidates if path.is_dir()), candidates[0])
