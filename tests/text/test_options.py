"""Options that cannot be followed are refused."""

import subprocess
import sys

import pytest

from sdbatch.text import TextOptions, TextOptionsError


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_chunks": 0}, "max_chunks=0: expected at least 1"),
        ({"comma_backtrack": -1}, "comma_backtrack=-1: expected at least 0"),
        ({"clip_skip": -1}, "clip_skip=-1: expected at least 0"),
        ({"cache_mb": -5}, "cache_mb=-5: expected at least 0"),
    ],
)
def test_numbers_out_of_range(options, expected):
    with pytest.raises(TextOptionsError) as caught:
        TextOptions(**options)
    assert str(caught.value) == expected


def test_all_layers_can_be_skipped_but_no_more():
    TextOptions(clip_skip=12).check_layers(12, sdxl=False)
    TextOptions(clip_skip=11).check_layers(12, sdxl=True)
    with pytest.raises(TextOptionsError, match="clip_skip=13: expected at most 12; the text enc"):
        TextOptions(clip_skip=13).check_layers(12, sdxl=False)
    with pytest.raises(TextOptionsError, match="clip_skip=12: expected at most 11; the text enc"):
        TextOptions(clip_skip=12).check_layers(12, sdxl=True)


def test_the_pure_parts_need_no_paddle():
    modules = "text, text.bpe, text.cache, text.chunks, text.syntax, text.tokens, text.wordpiece"
    names = [f"sdbatch.{name}" for name in (*modules.split(", "), "weights.tokenizer")]
    code = f"import {', '.join(names)}, sys; assert 'paddle' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
