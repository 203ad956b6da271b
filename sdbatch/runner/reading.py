"""How the config has prompts read, and what becomes of Chinese ones that the model cannot read."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sdbatch.config.choices import EngineName
from sdbatch.config.schema import Config, TextConfig
from sdbatch.errors import UserError
from sdbatch.prompts import ChineseRows
from sdbatch.text import TextOptions
from sdbatch.text.chinese import Preparation, has_chinese
from sdbatch.text.segmenter import BadDictionary
from sdbatch.translation.files import TranslatorFiles, open_translator
from sdbatch.weights.checkpoint import Checkpoint
from sdbatch.weights.languages import reads_chinese


def _names(options: type) -> set[str]:
    return {item.name for item in fields(options)}


def text_options(given: TextConfig) -> TextOptions:
    """The options, their dictionary known to be sound.

    Raises:
        UserError: the dictionary of words cannot be read.
    """
    values = {name: getattr(given, name) for name in _names(Preparation) & _names(TextConfig)}
    preparation = Preparation(**values | {"keywords_by": given.keywords_by.value})
    if given.user_dict is not None:
        try:
            preparation.segmenter  # noqa: B018 - reads it
        except BadDictionary as error:
            raise UserError(f"text.user_dict: {error}") from error
    rest = {name: getattr(given, name) for name in _names(TextOptions) & _names(TextConfig)}
    return TextOptions(**rest, preparation=preparation)


def text_settings(options: TextOptions, english: English) -> dict[str, Any]:
    """Those that shape pictures, for a dataset's settings; the dictionary by its digest.

    Args:
        options: see above.
        english: how Chinese texts come to be English.
    """
    values = asdict(options)
    preparation = values.pop("preparation")
    for name in ("cache_mb", "keywords", "keywords_by"):
        values.pop(name, None)
        preparation.pop(name, None)
    if preparation["user_dict"]:
        content = Path(preparation["user_dict"]).read_bytes()
        preparation["user_dict"] = hashlib.sha256(content).hexdigest()
    return {**values, **preparation, **english.settings}


@dataclass(frozen=True)
class English:
    """How Chinese texts come to be English, for a model that reads nothing else.

    Attributes:
        rows: what to check of the table's rows; None where all are welcome.
        translator: a model that translates them.
    """

    rows: ChineseRows | None = None
    translator: TranslatorFiles | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What of it shapes pictures."""
        return {
            "translation_column": self.rows and self.rows.column,
            "translator_sha256": self.translator and self.translator.sha256,
        }


def english(config: Config, checkpoint: Checkpoint) -> English:
    """What the config says of Chinese texts; nothing where the checkpoint reads them.

    Raises:
        UserError: the translator does not fit, or the config's own negative prompt is Chinese
            and nobody translates it.
    """
    asked = config.text.on_chinese.value
    nobody_reads = config.engine.name is EngineName.random
    if asked == "pass" or nobody_reads or reads_chinese(checkpoint):
        return English()
    if config.text.translator is not None:
        return English(translator=open_translator(Path(config.text.translator)))
    advice = (
        f"the text encoder of {checkpoint.name} reads English; expected a Chinese checkpoint, "
        "text.on_chinese=translate or text.on_chinese=pass"
    )
    if has_chinese(config.negative_prompt):
        raise UserError(f"negative_prompt: {config.negative_prompt}: {advice}")
    column = config.text.translation_column if asked == "translate" else None
    return English(ChineseRows(advice, column))
