"""The one place that validates a composed config: what types cannot say, and unknown keys."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from omegaconf import DictConfig, Node, OmegaConf

from sdbatch.config.choices import LabelName, SafetyName, ScoreName
from sdbatch.config.schema import Config, LabelConfig, LauncherConfig, ModelConfig
from sdbatch.errors import UserError
from sdbatch.labels.mark import LEAST_HEIGHT
from sdbatch.noise import MAX_SEED


def _at_least(least: int) -> tuple[Callable[[float], bool], str]:
    return lambda value: value >= least, f"{least} or more"


_NOT_NEGATIVE = (lambda value: 0 <= value < float("inf"), "a number from 0 up")
_SIDE = (lambda value: value >= 8 and value % 8 == 0, "a multiple of 8")
_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "steps": _at_least(1),
    "images_per_prompt": _at_least(1),
    "prompts.limit": _at_least(1),
    "output.png_compression": (lambda value: 0 <= value <= 9, "0 to 9"),
    "output.jpeg_quality": (lambda value: 1 <= value <= 100, "1 to 100"),
    "output.webp_quality": (lambda value: 1 <= value <= 100, "1 to 100"),
    "label.height": (
        lambda value: LEAST_HEIGHT <= value <= 0.5,
        f"{LEAST_HEIGHT} (GB 45438-2025) to 0.5 of the shorter side",
    ),
    "score.keep_above": (lambda value: -1 <= value <= 1, "-1 to 1"),
    "label.opacity": (lambda value: 0.3 <= value <= 1, "0.3 to 1"),
    "seed": (lambda value: 0 <= value <= MAX_SEED, "0 to 2^63-1"),
    "guidance_scale": _NOT_NEGATIVE,
    "guidance_rescale": (lambda value: 0 <= value <= 1, "0 to 1"),
    "strength": (lambda value: 0 < value <= 1, "more than 0, up to 1"),
    "width": _SIDE,
    "height": _SIDE,
    "text.max_chunks": _at_least(1),
    "text.comma_backtrack": _at_least(0),
    "text.clip_skip": _at_least(0),
    "text.cache_mb": _at_least(0),
    "text.keywords": _at_least(0),
    "shortcuts.guidance_interval": (
        lambda value: len(value) == 2 and 0 <= value[0] < value[1] <= 1,
        "[START, END] with 0 <= START < END <= 1",
    ),
    "shortcuts.token_merging": (lambda value: 0 <= value <= 0.75, "0 to 0.75"),
    "shortcuts.feature_reuse": _at_least(1),
    "engine.cache_mb": _at_least(1),
    "max_input_mb": _at_least(1),
    "max_input_megapixels": _at_least(1),
    "grace_s": _NOT_NEGATIVE,
    "max_hours": (lambda value: 0 < value < float("inf"), "a number above 0"),
    "watchdog_s": (lambda value: value >= 1, "1 or more"),
    "launcher.max_parallel": _at_least(1),
    "launcher.gpus": _at_least(0),
    "launcher.cpus": _at_least(1),
    "launcher.warning_s": (lambda value: 10 <= value <= 65535, "10 to 65535"),
    "launcher.max_requeues": _at_least(0),
    "launcher.index": _at_least(0),
    "launcher.count": _at_least(1),
}
"""What each value must be; null is none."""


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
    for key, (fits, expected) in _RANGES.items():
        value = OmegaConf.select(composed, key)
        if value is not None and not fits(value):
            raise UserError(f"{key}: expected {expected}, found {value}")
    for key in ("batch_size", "workers"):
        _check_count(key, getattr(config, key))
    _check_count("output.shard_size", config.output.shard_size)
    _check_label(config.label)
    _check_off("score", config.score, config.score.name is ScoreName.none)
    if config.score.name is not ScoreName.none and config.score.model is None:
        raise UserError("score.model: required, but not given; add score.model=...")
    _check_off("safety", config.safety, config.safety.name is SafetyName.none)
    text = config.text
    if text.translator is not None and text.on_chinese.value != "translate":
        raise UserError(
            f"text.translator: {text.translator}: not for text.on_chinese={text.on_chinese.value}; "
            "expected text.on_chinese=translate"
        )
    _check_launcher(config.launcher)
    if config.engine.card is not None and not config.engine.explain:
        raise UserError(
            f"engine.card: {config.engine.card}: for engine.explain=true only; a job runs on the "
            "devices that are here"
        )
    if not isinstance(config.devices, list):
        _check_count("devices", config.devices, "auto, an integer or a list of integers")
    elif not _are_cards(config.devices):
        raise UserError(f"devices: expected different numbers from 0 up, found {config.devices}")
    return config


def _check_label(label: LabelConfig) -> None:
    """Whoever names a producer shall not believe that pictures without labels have one."""
    texts = {"producer": label.producer, "propagator": label.propagator, "text": label.text}
    for name, text in texts.items():
        if text is not None and not (text.strip() and text.isprintable() and len(text) <= 200):
            raise UserError(
                f"label.{name}: expected one line of up to 200 characters, found {text!r}"
            )
    _check_off("label", label, label.name is LabelName.none)
    says = _SAYS_AI.search(label.text) and _SAYS_MADE.search(label.text)
    if label.name is not LabelName.none and not says:
        raise UserError(
            f"label.text: expected AI or 人工智能, and 生成 or 合成 (GB 45438-2025), "
            f"found {label.text}"
        )


def _check_off(group: str, options: Any, off: bool) -> None:
    """Nothing may be asked of what is turned off."""
    default = type(options)()
    for item in fields(options) if off else ():
        if (value := getattr(options, item.name)) != getattr(default, item.name):
            shown = getattr(value, "value", value)
            raise UserError(f"{group}.{item.name}: {shown}: not for {group}=none")


_SAYS_AI, _SAYS_MADE = re.compile("AI|人工智能"), re.compile("生成|合成")

_TASK_KEYS = {"index", "count", "record"}
_RAY_KEYS = {"tasks", "max_parallel", "gpus", "cpus", "python", "max_requeues", "address"}


def _check_launcher(launcher: LauncherConfig) -> None:
    """Whoever forgets `launcher=slurm` shall not believe that the night runs on the cluster."""
    names = {item.name for item in fields(LauncherConfig)} - {"name"}
    # A task is told what the whole is: its config may come from the same file.
    own = {
        "local": set(),
        "slurm": names - _TASK_KEYS - {"address"},
        "ray": _RAY_KEYS,
        "task": names,
    }[launcher.name.value]
    default = LauncherConfig()
    for name in sorted(names - own):
        value = getattr(launcher, name)
        if value != getattr(default, name):
            wanted = {"address": "ray"}.get(name, "task" if name in _TASK_KEYS else "slurm")
            raise UserError(
                f"launcher.{name}: {value}: not for launcher={launcher.name.value}; "
                f"expected launcher={wanted}"
            )
    _check_count("launcher.tasks", launcher.tasks)
    if launcher.index >= launcher.count:
        raise UserError(
            f"launcher.index: expected 0 to {launcher.count - 1} (launcher.count is "
            f"{launcher.count}), found {launcher.index}"
        )
    for item in fields(LauncherConfig):
        value = getattr(launcher, item.name)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not text.isprintable():
                raise UserError(f"launcher.{item.name}: expected text of one line, found {text!r}")
    for name in ("time", "merge_time"):
        value = getattr(launcher, name)
        # YAML 1.1 reads an unquoted 12:00:00 as the number 43200, which Slurm takes for minutes.
        if value is not None and not _SLURM_TIME.fullmatch(value):
            raise UserError(
                f"launcher.{name}: expected H:MM:SS, D-HH or D-HH:MM:SS, in quotes, found {value}"
            )


_SLURM_TIME = re.compile(r"\d+:\d\d:\d\d|\d+-\d\d?(:\d\d(:\d\d)?)?|(?i:unlimited|infinite)")


def _check_count(key: str, value: Any, expected: str = "auto or an integer") -> None:
    """A number from 1 up, or `auto`."""
    if value == "auto":
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{key}: expected {expected}, found {value!r}")
    if value < 1:
        raise UserError(f"{key}: expected 1 or more, found {value}")


def _are_cards(numbers: list[Any]) -> bool:
    plain = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    return plain and 0 < len(numbers) == len(set(numbers))


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
