"""Prompt tables: reading, checking, and making them from other files."""

from sdbatch.prompts.table import PromptDefaults, PromptRow, PromptTable, TableSummary

__all__ = ["PromptDefaults", "PromptRow", "PromptTable", "TableSummary"]
