"""The catalogue has every error that the sources can raise, and nothing else."""

import json
import re

import pytest

from sdbatch.lang.catalogue import FOLDER, entries
from tests.conftest import ROOT
from tests.lang.deriving import ERRORS, derived, room

LIBRARIES = "libraries.json"
"""Texts of other people's code (OmegaConf, argparse, the system): those are not in our sources."""
UNDERIVED = {
    # What `text.replace("picture", "mask")` makes of it.
    "expected a mask: the model is for inpainting": "sdbatch/prompts/checks.py",
    # Where `next` finds nothing, cut to a length.
    "no tensors": "sdbatch/weights/single_file.py",
    "none": "sdbatch/weights/family.py",
}
"""Templates that cannot be read off the sources, and where they come from."""
_NAMES = r"[A-Za-z]\w*[._=][\w.=]*\w|(?<!\w)--?[a-z]+|`[^`]+`|\d+"
FILES = sorted(FOLDER.glob("*.json"))
OURS = [path for path in FILES if path.name != LIBRARIES]


@pytest.fixture(scope="module")
def templates() -> dict[str, list[str]]:
    return derived() | {text: [f"{place}:0"] for text, place in UNDERIVED.items()}


def test_every_error_has_its_chinese(templates):
    missing = [
        f"  {json.dumps(text)}\n    of {places[0]}: add to sdbatch/lang/zh/{room(places[0])}.json"
        for text, places in templates.items()
        if text not in entries()
    ]
    assert not missing, "not in the catalogue:\n" + "\n".join(missing)


def test_every_entry_is_an_error_that_there_is(templates):
    unused = [
        f"  {path.name}: {json.dumps(text)}"
        for path in OURS
        for text in json.loads(path.read_text(encoding="utf-8"))
        if text not in templates
    ]
    assert not unused, "no source raises these any more:\n" + "\n".join(unused)


def test_the_sources_are_read_as_they_should(templates):
    """What could go wrong in silence: a derivation that finds nothing."""
    for text in (
        "{}: expected {}, found {}",  # a plain f-string
        "a multiple of 8",  # in a table of ranges
        "{}: no such key; did you mean {}? expected one of {}",  # put together by +=
        "{}: {}: rows {} and {} more: {}, found null",  # conditional expressions
        "expected text",  # an argument for a parameter
        "{}={}: expected {}; it is for pixel models",  # out of a dictionary
        "is not whole JSON",  # an error's fourth argument
        "{} was {}, now {}",  # in a list
    ):
        assert text in templates


def test_every_kind_of_a_users_error_is_read():
    """A new class of errors has to be named in `deriving.py`."""
    for path in (ROOT / "sdbatch").rglob("*.py"):
        for name, base in re.findall(r"^class (\w+)\((\w+)\):", path.read_text("utf-8"), re.M):
            assert base not in ERRORS or name in ERRORS, f"{path}: {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
class TestAFile:
    def test_has_an_entry_once_a_line_and_not_too_many(self, path):
        lines = path.read_text(encoding="utf-8").splitlines()
        pairs = json.loads("\n".join(lines), object_pairs_hook=list)
        assert len(pairs) == len(lines) - 2 < 300
        assert len(dict(pairs)) == len(pairs)

    def test_shares_no_entry_with_another(self, path):
        own = json.loads(path.read_text(encoding="utf-8")).keys()
        for other in FILES:
            if other != path:
                assert not own & json.loads(other.read_text(encoding="utf-8")).keys()

    def test_names_every_value_once(self, path):
        for english, chinese in json.loads(path.read_text(encoding="utf-8")).items():
            values = len(re.findall(r"(?<!\{)\{\}", english))
            found = sorted(int(number) for number in re.findall(r"\{(\d+)\*?\}", chinese))
            assert found == list(range(values)), english

    def test_has_chinese_on_one_line(self, path):
        for english, chinese in json.loads(path.read_text(encoding="utf-8")).items():
            assert re.search(r"[一-鿿]", chinese) or _has_no_words(chinese), english
            assert chinese == " ".join(chinese.split())

    def test_keeps_what_is_typed_or_read_as_it_is(self, path):
        """Keys, options, names of files and numbers are the same in both."""
        for english, chinese in json.loads(path.read_text(encoding="utf-8")).items():
            chinese = re.sub(r"\{\d\*?\}", "{}", chinese)
            english = english.replace("e.g.", "")
            for name in re.findall(_NAMES, english):
                assert name in chinese, english


def _has_no_words(chinese: str) -> bool:
    """Only values and keys: `text.{0*}`."""
    return re.search(r"[A-Za-z]+ [A-Za-z]+", chinese) is None
