"""A page about one conversion: counts, sizes, what was done, and everything that was dropped."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from sdbatch.convert.record import Conversion, summary
from sdbatch.errors import UserError

SUFFIXES = (".html", ".md")


def check_report(path: Path) -> None:
    """Refuse a report that cannot be written, before any work.

    Raises:
        UserError: its suffix is neither .html nor .md, or its folder is not there.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"report: {path}: expected a file name that ends in .html or .md")
    if not path.parent.is_dir():
        raise UserError(f"report: {path.parent}: no such folder")


def write_report(path: Path, conversion: Conversion, verified: int | None) -> None:
    """Write the page as Markdown or HTML, as the suffix says.

    Args:
        verified: how many tensors were read again and compared; None if none were.
    """
    make = _html if path.suffix == ".html" else _markdown
    text = make(_title(conversion), _sections(conversion, verified))
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


Section = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""A heading, the names of columns, and rows of cells."""


def _title(conversion: Conversion) -> str:
    return f"{Path(conversion.source['path']).name}: {conversion.family} in Paddle's form"


def _sections(conversion: Conversion, verified: int | None) -> list[Section]:
    checked = "not read again" if verified is None else f"{verified} tensors, equal to the source"
    facts = [
        *(("Evidence", line) for line in conversion.evidence),
        ("Verified", checked),
        *(("Made by", f"{name} {version}") for name, version in conversion.versions.items()),
        *(("Option", f"{k}: {v}") for k, v in conversion.options.items() if v),
    ]
    files = [
        (file["path"], f"{file['bytes']:,}", file["sha256"]) for file in conversion.source["files"]
    ]
    parts = []
    for name, records in conversion.networks.items():
        counts = summary(records)
        done = ", ".join(f"{n} {what}" for what, n in sorted(counts["done"].items()))
        dtypes = ", ".join(f"{n} {dtype}" for dtype, n in sorted(counts["dtypes"].items()))
        numbers = (counts[key] for key in ("weights", "parameters", "bytes"))
        parts.append((name, *(f"{number:,}" for number in numbers), dtypes, done))
    reasons = Counter(reason for _, reason in conversion.dropped)
    return [
        ("What it is", ("", ""), facts),
        ("Source", ("file", "bytes", "SHA-256"), files),
        ("Networks", ("", "weights", "parameters", "bytes", "dtypes", "what was done"), parts),
        (
            f"Dropped: {len(conversion.dropped)}",
            ("tensors", "why"),
            [(str(count), reason) for reason, count in reasons.most_common()],
        ),
        ("Every dropped tensor", ("key", "why"), conversion.dropped),
    ]


def _markdown(title: str, sections: Iterable[Section]) -> str:
    def cell(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)[1:-1].replace("|", "\\|").replace("<", "&lt;")

    lines = [f"# {cell(title)}", ""]
    for heading, columns, rows in sections:
        if rows:
            lines += [f"## {cell(heading)}", "", f"| {' | '.join(columns)} |"]
            lines += ["|" + " --- |" * len(columns)]
            lines += [f"| {' | '.join(map(cell, row))} |" for row in rows]
            lines.append("")
    return "\n".join(lines)


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin-bottom: 2rem; width: 100% }
td, th { border-bottom: 1px solid #ccc; padding: .3rem .8rem .3rem 0; text-align: left;
         vertical-align: top; overflow-wrap: anywhere }
"""


def _html(title: str, sections: Iterable[Section]) -> str:
    escape = html.escape
    parts = [
        "<!doctype html>",
        f'<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>",
    ]
    for heading, columns, rows in sections:
        if rows:
            head = "".join(f"<th>{escape(name)}</th>" for name in columns)
            body = "".join(
                f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows
            )
            parts.append(f"<h2>{escape(heading)}</h2>\n<table><tr>{head}</tr>\n{body}</table>")
    return "\n".join([*parts, "</html>", ""])
