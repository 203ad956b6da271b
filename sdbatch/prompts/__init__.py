"""Prompt tables: reading, checking, and making them from other files."""

from sdbatch.prompts.checks import DEFAULT_STRENGTH
from sdbatch.prompts.language import ChineseRows, translation_of
from sdbatch.prompts.table import PromptDefaults, PromptRow, PromptTable, TableSummary

__all__ = [
    "DEFAULT_STRENGTH",
    "ChineseRows",
    "PromptDefaults",
    "PromptRow",
    "PromptTable",
    "TableSummary",
    "translation_of",
]
