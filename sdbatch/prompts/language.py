"""Checks of rows with Chinese prompts where the model reads English alone."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

_HAN = r"\p{Han}"


@dataclass(frozen=True)
class ChineseRows:
    """What is expected of rows whose prompts are Chinese.

    Attributes:
        advice: what to do about one that nobody translates, for the refusal.
        column: the user's column with the prompts in English; those of negative prompts are in
            `negative_` + its name. None: there are no translations.
    """

    advice: str
    column: str | None = None


def translation_of(name: str, column: str) -> str:
    """The column that translates `name`, where that of prompts is `column`."""
    return f"negative_{column}" if name == "negative_prompt" else column


def chinese(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Of each text, whether it has a Chinese character; null has none."""
    # A column of nothing but nulls has no type of its own.
    texts = column.cast(pa.string())
    return pc.fill_null(pc.match_substring_regex(texts, _HAN), False)
