"""The page about a conversion: complete, and harmless whatever a file calls its tensors."""

import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from sdbatch.convert.report import check_report, write_report
from sdbatch.convert.write import convert
from sdbatch.errors import UserError
from sdbatch.weights.options import SourceOptions
from sdbatch.weights.source import open_checkpoint
from tests.weights.checkpoints import DEMO, demo_networks, write
from tests.weights.original import original_tensors

FILE = '<img src=x onerror="alert(1)">|a.safetensors'
TAGS = {"html", "meta", "title", "style", "h1", "h2", "table", "tr", "th", "td"}
KEYS = ["optimizer.<script>alert(1)</script>", "optimizer.a|b\n| c | d", "optimizer.&lt;\\|'\""]


class Page(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.texts = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def conversion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    tensors = original_tensors("demo", demo_networks(), averages=False)
    tensors = {f"state_dict.{key}": array for key, array in tensors.items()}
    source = write(folder / FILE, {**tensors, **dict.fromkeys(KEYS, np.zeros(1))})
    options = SourceOptions(base=DEMO)
    return convert(open_checkpoint(source, options), folder / "new", options)


def test_html(conversion, tmp_path):
    write_report(tmp_path / "report.html", conversion, 550)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.tags <= {*["html", "meta", "title", "style", "h1", "h2", "table", "tr", "th", "td"]}
    for text in (
        *KEYS,
        "550 tensors, equal to the source",
        conversion.source["files"][0]["sha256"],
    ):
        assert text in page.texts
    assert f"{FILE}: sd1 in Paddle's form" in page.texts
    assert f"Dropped: {len(conversion.dropped)}" in page.texts
    for line in conversion.evidence:
        assert line in page.texts


def test_markdown(conversion, tmp_path):
    write_report(tmp_path / "report.md", conversion, None)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<" not in text
    columns = 0
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1
        assert cells in (-1, columns) or columns == 0, line
        columns = cells if cells > 0 else 0
    assert "not read again" in text
    assert f"## Dropped: {len(conversion.dropped)}" in text
    assert all(item[1] in html.unescape(text) for item in conversion.dropped)


def test_names_that_are_not_unicode_are_written(conversion, tmp_path):
    name = b"\xd0\xcd.html".decode(errors="surrogateescape")
    changed = type(conversion)(**{**vars(conversion), "evidence": (name,)})
    for suffix in ("html", "md"):
        write_report(tmp_path / f"report.{suffix}", changed, None)
        assert r"\udccd" in (tmp_path / f"report.{suffix}").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["report.pdf", "report", "report.HTML2", ".md"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"expected a file name that ends in \.html or \.md"):
        check_report(tmp_path / name)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="gone: no such folder"):
        check_report(tmp_path / "gone" / "report.md")
