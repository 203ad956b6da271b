from pathlib import Path

import pytest

from sdbatch.models.config import ROBERTA_SERIES
from sdbatch.text.bpe import written
from sdbatch.text.chinese import has_chinese
from sdbatch.weights.checkpoint import TokenizerFiles
from sdbatch.weights.languages import knows_chinese, reads_chinese
from sdbatch.weights.options import SourceOptions
from sdbatch.weights.source import open_checkpoint
from sdbatch.weights.vocabulary import clip_vocabulary
from tests.conftest import ASSETS
from tests.text import xlm


def opened(path: Path):
    return open_checkpoint(path, SourceOptions())


@pytest.mark.parametrize(("demo", "chinese"), [("demo", False), ("demo_zh", True)])
def test_the_vocabulary_tells(demo, chinese):
    assert reads_chinese(opened(ASSETS / demo)) == chinese


def test_the_vocabulary_of_a_sentencepiece_model_tells(tmp_path):
    assert knows_chinese(xlm.write_tokenizer(tmp_path / "tokenizer"), ROBERTA_SERIES)


def test_clips_own_vocabulary_is_english():
    """A handful of its 49,408 tokens have Chinese characters, most of them Japanese words."""
    files = TokenizerFiles.in_folder(ASSETS / "clip_tokenizer")
    words = [written(word) for word in clip_vocabulary(files)[0]]
    assert 0 < sum(map(has_chinese, words)) < 20
    assert not knows_chinese(files, "CLIPTextModel")
