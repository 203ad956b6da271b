"""Hydra's and OmegaConf's complaints about a command line, as one line with the allowed choices."""

from __future__ import annotations

import difflib
import re

from hydra.errors import MissingConfigException, OverrideParseException

from sdbatch.config import groups, list_prefix, unknown_key
from sdbatch.errors import one_line


def explain(error: Exception) -> str:
    """One line: the key or choice at fault, and what is allowed instead."""
    if isinstance(error, OverrideParseException):
        return _unreadable(error)
    if isinstance(error, MissingConfigException) and error.options:
        return _unknown_choice(error)
    text = str(error.__cause__ or error)
    if "Config group override must be" in text:  # Hydra does not say which
        names = ", ".join([*groups(), "experiment"])
        return f"a group ({names}) takes the name of a choice, found null or a number"
    # A fault in a file of the configuration: OmegaConf's own text follows Hydra's heading.
    file, text = _split_heading(text)
    # OmegaConf puts the message first, then lines with the key and internal types.
    message, _, details = text.partition("\n")
    found = re.search(r"full_key: (\S+)", details)
    key = found[1] if found else None
    if unknown := re.match(r"Key '(.+)' (?:is not in struct|not in '(\w+)')", message):
        return one_line(f"{file}{unknown_key(list_prefix(unknown[2]) + (key or unknown[1]))}")
    if key and re.fullmatch(r"field '.+' is not Optional", message):
        return f"{file}{key}: expected a value, found null"
    if key and "has missing mandatory value" in message:
        return f"{file}{key}: required, but not given"
    if wrong := re.match(
        r"Invalid type assigned: .+ is not a subclass of \w+\. value: (.*)", message
    ):
        return one_line(f"{file}{key}: expected {{path: FILE, ...}}, found {wrong[1]}")
    if key:
        return one_line(f"{file}{key}: {message}")
    return one_line(file + re.sub(r"See https://hydra.cc\S* for details", "", text))


def _split_heading(text: str) -> tuple[str, str]:
    """(`NAME.yaml: `, OmegaConf's text) where Hydra says in which file the fault is."""
    heading = re.match(r"In '([^']+)': \w+ raised while composing config:\n", text)
    return (f"{heading[1]}.yaml: ", text[heading.end() :]) if heading else ("", text)


def _unreadable(error: OverrideParseException) -> str:
    key, equals, value = error.override.partition("=")
    if not equals:
        return f"{one_line(error.override)}: expected key=value"
    return one_line(
        f"{key}: cannot read {value}: quote a value that has commas, brackets, quotes or '=': "
        f"\"{key}='...'\""
    )


def _unknown_choice(error: MissingConfigException) -> str:
    group = re.search(r"Available options in '([^']+)'", str(error))[1]
    choice = str(error.missing_cfg_file).removeprefix(f"{group}/")
    allowed = ", ".join(error.options)
    if group != "prompts":
        near = difflib.get_close_matches(choice, error.options, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        return f"{group}={choice}: no such choice; {meant}expected one of {allowed}"
    if "/" in choice or choice.endswith(".parquet"):
        return (
            f"prompts={choice}: expected the name of a table, one of {allowed}; "
            f"for a file give prompts.path={choice}"
        )
    return (
        f"prompts={choice}: no such table: neither prompts/{choice}.parquet nor one of "
        f"{allowed}; or give prompts.path=FILE"
    )
