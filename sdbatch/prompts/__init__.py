"""Prompt tables: reading, checking, and making them from other files."""

from sdbatch.prompts.checks import DEFAULT_STRENGTH
from sdbatch.prompts.table import PromptDefaults, PromptRow, PromptTable, TableSummary

__all__ = ["DEFAULT_STRENGTH", "PromptDefaults", "PromptRow", "PromptTable", "TableSummary"]
