"""Hydra's and OmegaConf's complaints about a command line, as one line with the allowed choices."""

from __future__ import annotations

import re

from hydra.errors import MissingConfigException

from sdbatch.config import unknown_key
from sdbatch.errors import one_line


def explain(error: Exception) -> str:
    """One line: the key or choice at fault, and what is allowed instead."""
    if isinstance(error, MissingConfigException) and error.options:
        return _unknown_choice(error)
    cause = error.__cause__ or error
    text = str(cause)
    unknown = re.search(r"Key '([^']+)' (is not in struct|not in )", text)
    if unknown:
        return str(unknown_key(getattr(cause, "full_key", None) or unknown[1]))
    # OmegaConf puts the message first, then lines with the key and internal types.
    message, _, details = text.partition("\n")
    key = re.search(r"full_key: (\S+)", details)
    if key:
        return one_line(message if key[1] in message else f"{key[1]}: {message}")
    return one_line(re.sub(r"See https://hydra.cc\S* for details", "", text))


def _unknown_choice(error: MissingConfigException) -> str:
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    allowed = ", ".join(error.options)
    if group == "prompts":
        return (
            f"prompts={choice}: no such table: neither prompts/{choice}.parquet nor one of "
            f"{allowed}; or give prompts.path=FILE"
        )
    return f"{group}={choice}: no such choice; expected one of {allowed}"
