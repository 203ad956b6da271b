"""What Chinese law (GB 45438-2025) has AI-made pictures say of themselves, written and checked.

An implicit label in the file's XMP, and a visible mark in the picture. Facts and sources:
docs/labels.md.
"""

from sdbatch.labels.aigc import GENERATED, Aigc, BadLabel, produce_id
from sdbatch.labels.label import Label, found_in
from sdbatch.labels.mark import Mark, MissingGlyph

__all__ = [
    "GENERATED",
    "Aigc",
    "BadLabel",
    "Label",
    "Mark",
    "MissingGlyph",
    "found_in",
    "produce_id",
]
