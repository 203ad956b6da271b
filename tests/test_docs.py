"""The pages: Chinese and English ones are equal in shape, and every link leads somewhere."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCS = ROOT / "docs"
ENGLISH = sorted(DOCS.glob("*.md"))
PAGES = [*ENGLISH, *sorted(DOCS.glob("zh/*.md")), ROOT / "README.md", ROOT / "README.zh-CN.md"]
MEASURED = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.])")


def pairs() -> list[tuple[Path, Path]]:
    found = [(page, DOCS / "zh" / page.name) for page in ENGLISH]
    return [*found, (ROOT / "README.md", ROOT / "README.zh-CN.md")]


both = pytest.mark.parametrize("pair", pairs(), ids=lambda pair: pair[0].stem)


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path) -> list[list[str]]:
    """Fenced blocks of code, without their comments."""
    found = re.findall(r"^```.*?\n(.*?)^```", text(path), re.DOTALL | re.MULTILINE)
    return [[re.sub(r"\s+# .*|^# .*", "", line) for line in block.splitlines()] for block in found]


def without_blocks(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", text(path), flags=re.DOTALL | re.MULTILINE)


def layouts(path: Path) -> list[str]:
    """First words of indented lines: commands, files in folders, what stands in diagrams."""
    return re.findall(r"^ {4,}(\S+)", without_blocks(path), re.MULTILINE)


def shape(path: Path) -> Counter:
    """Headings by level, rows of tables by their columns, items of lists, paragraphs."""
    lines = without_blocks(path).splitlines()
    heads = [line.split(" ")[0] for line in lines if re.match(r"#+ ", line)]
    rows = [line.count("|") for line in lines if line.startswith("|")]
    items = ["- " for line in lines if line.startswith("- ")]
    paragraphs = re.findall(r"\n\n+(?=\S)", without_blocks(path))
    return Counter([*heads, *rows, *items, *("paragraph" for _ in paragraphs)])


def test_every_page_is_there_in_both_languages():
    assert [page.name for page in ENGLISH] == sorted(p.name for p in DOCS.glob("zh/*.md"))


@both
def test_both_have_the_same_shape(pair):
    one, other = map(shape, pair)
    assert one == other


@both
def test_both_have_the_same_figures_in_tables(pair):
    one, other = (
        Counter(MEASURED.findall("".join(re.findall(r"^\|.*$", text(page), re.MULTILINE))))
        for page in pair
    )
    assert one == other


@both
def test_both_show_the_same_commands(pair):
    one, other = map(blocks, pair)
    assert one == other


@both
def test_both_lay_out_the_same_lines(pair):
    one, other = map(layouts, pair)
    assert one == other


@both
def test_both_lead_to_each_other(pair):
    names = [re.findall(r"\]\(([^)]+)\)", text(page)) for page in pair]
    assert any(name.endswith(("zh/" + pair[1].name, "README.zh-CN.md")) for name in names[0])
    assert any(name.endswith(("../" + pair[0].name, "README.md")) for name in names[1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if re.match(r"https?:", target):
            continue
        name, _, part = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        if part:
            assert part in anchors(there), target


def anchors(page: Path) -> set[str]:
    """The links to a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
