"""Names of a sweep's datasets: from what is swept, a folder for each job."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from sdbatch import config

_LONGEST = 150
"""Bytes of a folder's name; file systems take 255, and temporary names are longer."""


def readable(argument: str) -> str:
    """As `config.readable`, but here commas part values, in every script."""
    if config.readable(argument) == argument:
        return argument
    key, _, values = argument.partition("=")
    parts = [config.readable(f"{key}={one}").partition("=")[2] for one in values.split(",") if one]
    return f"{key}={','.join(parts)}"


def fixed_keys(arguments: Sequence[str]) -> list[str]:
    """Keys that a command line gives one value for the whole sweep, sorted; none of Hydra's own."""
    # Of a key that is there twice the last one counts, as for Hydra.
    swept = {one.key_or_group: one.is_sweep_override() for one in _parsed(arguments)}
    return sorted(key for key in swept if not swept[key] and not key.startswith("hydra"))


def dataset_dir(default: str, overrides: Sequence[str], fixed: Collection[str]) -> str:
    """Where a job of a sweep has its dataset.

    Args:
        default: `output.dir` as composed.
        overrides: all of the job.
        fixed: keys that have one value in the whole sweep.

    Returns:
        `<output.dir>/<what is swept>` if that was given, else `outputs/<table>-sweep/<...>`: never
        inside the dataset of a single run. What the given `output.dir` tells by itself is not told
        again: that it is swept, and keys that are in it (`out/seed-${seed}`).
    """
    parsed = {one.key_or_group: one for one in _parsed(overrides)}
    given = parsed.pop("output.dir", None)
    told = _keys_in(str(given.value())) if given else ()
    parts = [_key_and_text(one) for key, one in parsed.items() if key not in fixed]
    parts = [(key, text) for key, text in parts if key not in told or not _is_plain(text)]
    if not parts:
        return default
    return f"{default if given else f'{default}-sweep'}/{folder_name(parts)}"


def _keys_in(folder: str) -> list[str]:
    """Keys that are each the only one in a part of a path, so that other values are other paths."""
    parts = [part for part in folder.split("/") if part.count("${") == 1]
    return [key for part in parts for key in re.findall(r"\$\{([\w.]+)\}", part)]


def _is_plain(text: str) -> bool:
    """Whether a value is one part of a path at most, and no text that looks like a number."""
    return re.fullmatch(r"\w[\w.+@-]*", text) is not None


def folder_name(parts: Sequence[tuple[str, str]]) -> str:
    """Keys and texts of their values as the name of a folder: others have another.

    `key-value,key-value`, by keys. No `=`: readers of Parquet would take folders for partitions.
    Letters and digits of all scripts stay in texts, and `.+-_@`; the rest is written as %XX. What
    is too long is cut, with a digest behind an ellipsis, which no other name has.
    """
    # A key has no hyphen, so the first one ends it.
    name = ",".join(f"{_escaped(key)}-{_escaped(text)}" for key, text in sorted(parts))
    if len(name.encode()) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name.encode()[: _LONGEST - 20].decode(errors='ignore')}…{digest}"


def _parsed(overrides: Sequence[str]) -> list[Override]:
    """Those that can be read; of the others Hydra tells."""
    parser, found = OverridesParser.create(), []
    for text in overrides:
        if "=" not in text or text.startswith("-"):
            continue
        try:
            found.append(parser.parse_override(text))
        except HydraException:
            continue
    return found


def _key_and_text(override: Override) -> tuple[str, str]:
    """A text without its quotes, unless it would be something else then; the rest as typed."""
    value = override.value()
    if isinstance(value, str) and all(one.value() == value for one in _parsed([f"x={value}"])):
        return override.key_or_group, value
    return override.key_or_group, override.input_line.partition("=")[2]


def _escaped(text: str) -> str:
    return re.sub(r"[^\w.+@-]", lambda match: _escape(match[0]), text)


def _escape(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())
