"""The job's configuration: schema, Hydra composition, and the one place that validates it.

The dataclasses are the schema behind `conf/*.yaml`: Hydra refuses unknown keys and wrong types
against them. `validate` checks what types cannot say. Imports no Paddle.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, Node, OmegaConf

from sdbatch.errors import UserError
from sdbatch.noise import MAX_SEED

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parent


class SolverName(Enum):
    """How latents are sampled; `checkpoint` follows the checkpoint's scheduler_config.json."""

    checkpoint = "checkpoint"
    ddpm = "ddpm"
    ddim = "ddim"
    plms = "plms"


class PrecisionName(Enum):
    """Number format of the networks; `auto` is fp16 on a GPU and fp32 on a CPU."""

    auto = "auto"
    fp16 = "fp16"
    bf16 = "bf16"
    fp32 = "fp32"


class EngineName(Enum):
    """How the networks are executed."""

    auto = "auto"
    dygraph = "dygraph"


class OutputFormat(Enum):
    """How a shard stores its images."""

    files = "files"


class LauncherName(Enum):
    """Where the work runs."""

    local = "local"


@dataclass
class PromptsConfig:
    """The prompt table: a Parquet file, and how many of its first rows to take (null: all)."""

    path: str = MISSING
    limit: int | None = None


class FamilyName(Enum):
    """What a checkpoint can be."""

    sd1 = "sd1"
    sd2 = "sd2"
    sdxl = "sdxl"


class PredictionName(Enum):
    """What a UNet can have been trained to predict."""

    epsilon = "epsilon"
    v_prediction = "v_prediction"
    sample = "sample"


@dataclass
class LoraConfig:
    """A LoRA to be merged into the networks; `weight` 1 is its full strength."""

    path: str = MISSING
    weight: float = 1.0


@dataclass
class EmbeddingConfig:
    """A textual inversion; `token` is the word for it in prompts (null: as the file says)."""

    path: str = MISSING
    token: str | None = None


@dataclass
class ModelConfig:
    """The checkpoint: a folder or a single file; what its files do not say; what is added to it."""

    path: str = MISSING
    family: FamilyName | None = None
    prediction: PredictionName | None = None
    ema: bool = False
    variant: str | None = None
    vae: str | None = None
    base: str | None = None
    loras: list[LoraConfig] = field(default_factory=list)
    embeddings: list[EmbeddingConfig] = field(default_factory=list)


@dataclass
class SchedulerConfig:
    """The sampler."""

    solver: SolverName = SolverName.checkpoint


@dataclass
class PrecisionConfig:
    """The number format."""

    name: PrecisionName = PrecisionName.auto


@dataclass
class EngineConfig:
    """The execution engine."""

    name: EngineName = EngineName.auto


@dataclass
class OutputConfig:
    """The dataset folder; `shard_size` counts rows of the prompt table."""

    format: OutputFormat = OutputFormat.files
    dir: str = MISSING
    shard_size: int = 256
    png_compression: int = 6


@dataclass
class LauncherConfig:
    """The launcher."""

    name: LauncherName = LauncherName.local


@dataclass
class Config:
    """The whole job, as `conf/config.yaml` composes it."""

    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    steps: int = 20
    guidance_scale: float = 7.5
    negative_prompt: str = ""
    images_per_prompt: int = 1
    width: int | None = None
    height: int | None = None
    seed: int = 0
    batch_size: Any = "auto"
    device: str = "auto"
    grace_s: float = 60.0


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
    # Backslashes are literal in quotes, but for those before a quote.
    inner = re.sub(r"(\\*)'", r"\1\1\\'", value)
    inner = re.sub(r"(\\+)$", r"\1\1", inner)
    return f"{key}='{inner}'"


def validate(composed: DictConfig) -> Config:
    """Resolve the composed config into a `Config`, checking what types cannot.

    Raises:
        UserError: naming the key, what was expected and what was found.
    """
    given, known = _dotted(composed), _known_keys()
    for key in given:
        if key not in known:
            raise unknown_key(key)
    for key, node in given.items():
        if node._is_missing():
            raise UserError(f"{key}: required, but not given; add {key}=...")
    config: Config = OmegaConf.to_object(composed)
    _at_least("steps", config.steps, 1)
    _at_least("images_per_prompt", config.images_per_prompt, 1)
    _at_least("output.shard_size", config.output.shard_size, 1)
    if config.prompts.limit is not None:
        _at_least("prompts.limit", config.prompts.limit, 1)
    if not 0 <= config.output.png_compression <= 9:
        raise UserError(
            f"output.png_compression: expected 0 to 9, found {config.output.png_compression}"
        )
    if not 0 <= config.seed <= MAX_SEED:
        raise UserError(f"seed: expected 0 to 2^63-1, found {config.seed}")
    for key in ("guidance_scale", "grace_s"):
        if not 0 <= getattr(config, key) < float("inf"):
            raise UserError(f"{key}: expected a number from 0 up, found {getattr(config, key)}")
    for key in ("width", "height"):
        size = getattr(config, key)
        if size is not None and (size < 8 or size % 8):
            raise UserError(f"{key}: expected a multiple of 8, found {size}")
    if config.batch_size != "auto":
        if not isinstance(config.batch_size, int) or isinstance(config.batch_size, bool):
            raise UserError(f"batch_size: expected auto or an integer, found {config.batch_size!r}")
        _at_least("batch_size", config.batch_size, 1)
    return config


def unknown_key(key: str) -> UserError:
    """The error for a key that the schema does not have: the nearest one, and all beside it."""
    known = _known_keys()
    inside = key.rpartition(".")[0]
    siblings = [k.removeprefix(f"{inside}.") for k in known if k.rpartition(".")[0] == inside]
    if not inside:
        siblings = [item.name for item in fields(Config)]
        known = list(dict.fromkeys([*siblings, *known]))
    close = difflib.get_close_matches(key, known, n=1)
    text = f"{key}: no such key;"
    if close:
        text += f" did you mean {close[0]}?"
    if siblings:
        text += f" expected one of {', '.join(siblings)}"
    return UserError(text.rstrip(";"))


def groups() -> list[str]:
    """The groups of `conf/`, one choice of each in a job."""
    hints = get_type_hints(Config)
    return [item.name for item in fields(Config) if is_dataclass(hints[item.name])]


def list_prefix(schema: str | None) -> str:
    """Where entries of a list have this schema, e.g. `model.loras[].`; empty if nowhere.

    OmegaConf knows such an entry's key by its last part only.
    """
    hints = get_type_hints(ModelConfig)
    for name, kind in hints.items():
        if any(getattr(entry, "__name__", None) == schema for entry in get_args(kind)):
            return f"model.{name}[]."
    return ""


def _known_keys(schema: type = Config, prefix: str = "") -> list[str]:
    """Every key of the schema that holds a value, dotted; entries of lists after `[]`."""
    hints = get_type_hints(schema)
    keys = []
    for item in fields(schema):
        name, kind = prefix + item.name, hints[item.name]
        if is_dataclass(kind):
            keys.extend(_known_keys(kind, f"{name}."))
            continue
        keys.append(name)
        for entry in get_args(kind):
            if is_dataclass(entry):
                keys.extend(_known_keys(entry, f"{name}[]."))
    return keys


def _dotted(node: DictConfig, prefix: str = "") -> dict[str, Node]:
    """Every key of a composed config that holds a value, dotted, with its unresolved node."""
    nodes = {}
    for name in node:
        inner = node._get_node(name)
        nested = isinstance(inner, DictConfig) and not inner._is_missing()
        key = f"{prefix}{name}"
        nodes.update(_dotted(inner, f"{key}.") if nested else {key: inner})
    return nodes


def _at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"{key}: expected {least} or more, found {value}")


def _first_existing(*candidates: Path) -> Path:
    return next((path for path in candidates if path.is_dir()), candidates[0])
