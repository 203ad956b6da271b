"""How prompts are read, as the config says; what becomes of Chinese for an English model."""

import pytest

from sdbatch.config.choices import KeywordsName
from sdbatch.config.schema import TextConfig
from sdbatch.errors import UserError
from sdbatch.prompts import ChineseRows
from sdbatch.runner.model import open_model
from sdbatch.runner.reading import English, text_options, text_settings
from sdbatch.text.chinese import Preparation
from tests.composing import job, refusal


def test_every_key_reaches_the_reader():
    given = TextConfig(weighting=True, max_chunks=2, unicode=True, simplify=True, words=True)
    given.spaced, given.keywords, given.keywords_by = True, 3, KeywordsName.textrank
    options = text_options(given)
    assert (options.weighting, options.max_chunks) == (True, 2)
    assert options.preparation == Preparation(True, True, True, None, True, 3, "textrank")


def test_zh_is_what_was_measured_to_help():
    text = job("text=zh").text
    assert (text.unicode, text.simplify, text.words, text.spaced) == (True, True, True, False)


def test_settings_are_what_shapes_pictures(tmp_path):
    plain = text_settings(text_options(TextConfig()), English())
    assert "cache_mb" not in plain
    assert text_settings(text_options(TextConfig(keywords=3, cache_mb=1)), English()) == plain
    (tmp_path / "d.txt").write_text("云原生")
    (tmp_path / "e.txt").write_text("云原生")
    first, second = (
        text_settings(text_options(TextConfig(user_dict=str(tmp_path / name))), English())
        for name in ("d.txt", "e.txt")
    )
    assert first == second != plain
    assert text_settings(text_options(TextConfig()), English(ChineseRows("", "prompt_en"))) != plain


def test_a_dictionary_that_is_none_is_refused(tmp_path):
    path = tmp_path / "d.txt"
    path.write_text("云 原 生")
    with pytest.raises(UserError) as refused:
        text_options(TextConfig(user_dict=str(path)))
    assert str(refused.value) == (
        f"text.user_dict: {path}: line 1: expected WORD [FREQUENCY] [TAG], found '云 原 生'"
    )


def test_counts_are_counts():
    assert refusal("text.keywords=-1") == "text.keywords: expected 0 or more, found -1"


class TestChinese:
    """Of the demo checkpoints one reads English, one Chinese."""

    def test_is_welcome_where_the_checkpoint_reads_it(self):
        assert open_model(job("model=demo_zh", "negative_prompt=文字")).english == English()

    def test_is_refused_where_it_does_not_with_what_to_do(self):
        rows = open_model(job()).english.rows
        assert rows.column is None
        assert rows.advice == (
            "the text encoder of demo reads English; expected a Chinese checkpoint, "
            "text.on_chinese=translate or text.on_chinese=pass"
        )

    def test_can_be_let_through(self):
        assert open_model(job("text.on_chinese=pass", "negative_prompt=文字")).english == English()

    def test_can_be_translated_by_a_column(self):
        model = open_model(job("text.on_chinese=translate"))
        assert model.english.rows.column == "prompt_en"
        assert model.settings("fp32")["text"]["translation_column"] == "prompt_en"
        named = open_model(job("text.on_chinese=translate", "text.translation_column=english"))
        assert named.english.rows.column == "english"

    def test_in_the_configs_own_negative_prompt_nobody_translates(self):
        with pytest.raises(UserError, match=r"^negative_prompt: 文字: the text encoder of demo "):
            open_model(job("negative_prompt=文字", "text.on_chinese=translate"))

    def test_a_translator_is_for_translating(self):
        assert refusal("text.translator=/opus") == (
            "text.translator: /opus: not for text.on_chinese=error; expected "
            "text.on_chinese=translate"
        )

    def test_a_folder_that_is_no_translator_is_refused(self, tmp_path):
        with pytest.raises(UserError, match=str(tmp_path)):
            open_model(job("text.on_chinese=translate", f"text.translator={tmp_path}"))

    def test_does_not_matter_where_nobody_reads(self):
        assert open_model(job("engine=random")).english == English()
