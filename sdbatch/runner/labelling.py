"""The labels that a config asks for."""

from __future__ import annotations

from sdbatch.config.choices import LabelName
from sdbatch.config.schema import LabelConfig
from sdbatch.errors import UserError, one_line
from sdbatch.labels import Label, Mark, MissingGlyph

_NOBODY = "sdbatch"
"""`ContentProducer` where nobody is named."""


def open_label(given: LabelConfig) -> Label | None:
    """The labels, sure to be drawn; None for none.

    Raises:
        UserError: the font cannot be read, or lacks a character of the text.
    """
    if given.name is LabelName.none:
        return None
    mark = None
    if given.mark:
        mark = Mark(given.text, given.corner.value, given.height, given.opacity, given.font)
        try:
            mark.check()
        except MissingGlyph as error:
            raise UserError(
                f"label.text: {given.text}: {error}; label.font=FILE takes another"
            ) from error
        except OSError as error:
            raise UserError(
                f"label.font: {given.font}: expected a font file ({one_line(error)})"
            ) from error
    return Label(given.producer or _NOBODY, given.propagator or "", mark)


def told(label: Label | None, given: LabelConfig) -> str:
    """A line about them for people."""
    if label is None:
        return "label: none; pictures do not say that AI made them"
    whose = "" if given.producer else " (label.producer=NAME names yours)"
    seen = f"the mark {label.mark.text}" if label.mark else "no visible mark"
    return f"label: GB 45438-2025, ContentProducer {label.producer}{whose}, {seen}"
