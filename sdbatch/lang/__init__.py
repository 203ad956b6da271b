"""The language of error lines. Machines read English; people may have theirs in Chinese."""

from sdbatch.lang.choice import ask, ask_as_typed, localized

__all__ = ["ask", "ask_as_typed", "localized"]
