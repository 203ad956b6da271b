"""XLM-R's tokenizer follows the files of its folder, as transformers does."""

import base64
import json

import pytest

from sdbatch.errors import UserError
from sdbatch.text.tokens import Tokenizer
from sdbatch.weights.checkpoint import TokenizerFiles
from sdbatch.weights.tokenizer import open_tokenizer
from sdbatch.weights.tokenizer_kind import SENTENCEPIECE
from sdbatch.weights.vocabulary import write_vocabulary
from tests.text.xlm import golden, tokenizer, tokenizer_json, write_tokenizer

MASK = 2001


@pytest.fixture
def folder(tmp_path):
    """`folder(**settings)`: a tokenizer's."""
    return lambda **changes: write_tokenizer(tmp_path / "tokenizer", **changes)


@pytest.fixture
def whole(tmp_path):
    """`whole(change)`: a folder that has only `tokenizer.json`, `change` done to its content."""

    def make(change=lambda content: None) -> TokenizerFiles:
        content = json.loads(tokenizer_json())
        change(content)
        (tmp_path / "tokenizer").mkdir()
        (tmp_path / "tokenizer" / "tokenizer.json").write_text(json.dumps(content))
        return TokenizerFiles.in_folder(tmp_path / "tokenizer")

    return make


class TestSpecialTokens:
    def test_are_found_as_they_are_written(self, folder):
        found = tokenizer(folder())
        assert found.ids("<s></s><pad><unk><mask>") == [0, 2, 1, 3, MASK]
        assert found.ids("<S>") != [0]

    def test_the_mask_takes_the_blanks_before_it(self, folder):
        given = folder()
        words = tokenizer(given).words("红 \t<mask> 红")
        assert [(word.text, len(word.ids)) for word in words] == [
            ("红 \t", 1),
            ("<mask>", 1),
            (" 红", 1),
        ]

    def test_others_are_those_that_the_settings_name(self, folder):
        found = tokenizer(folder(cls_token=",", pad_token="<unk>", sep_token="<mask>"))
        assert found.framed([])[:3] == [4, MASK, 3]
        assert found.ids("红,")[-1] == found.comma == 4

    def test_one_that_is_no_word_is_refused(self, folder):
        with pytest.raises(UserError, match="tokenizer: pad_token '<none>': not in the vocabulary"):
            tokenizer(folder(pad_token="<none>"))


class TestModel:
    def test_a_missing_one_is_refused(self, folder):
        given = folder()
        path = given.files["sentencepiece.bpe.model"]
        path.unlink()
        with pytest.raises(UserError) as caught:
            tokenizer(TokenizerFiles.in_folder(path.parent))
        assert str(caught.value) == (
            f"{path}: missing; expected the vocabulary of a sentencepiece tokenizer"
        )

    @pytest.mark.parametrize("content", [b"", b"no model", b"\n\x05abc"])
    def test_a_malformed_one_is_refused(self, folder, content):
        given = folder()
        path = given.files["sentencepiece.bpe.model"]
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"bpe\.model: not a model of sentencepiece"):
            tokenizer(given)

    def test_one_with_more_words_than_the_text_encoder_is_refused(self, folder):
        with pytest.raises(UserError, match="has 2002 words, the text encoder 2001"):
            tokenizer(folder(), vocab_size=2001)

    def test_an_added_word_without_a_row_is_refused(self, folder):
        added = {"2002": {"content": "<cat>"}}
        with pytest.raises(UserError, match=r"<cat> \(2002\): the text encoder has only 2002"):
            tokenizer(folder(added_tokens_decoder=added))

    @pytest.mark.parametrize(
        ("added", "expected"),
        [
            ({"x": {"content": "<cat>"}}, r"<cat> \(x\): expected a word and its number"),
            ({"5": {"content": ""}}, r" \(5\): expected a word and its number"),
            ({"5": {"content": "a", "single_word": True}}, "single_word is not supported"),
            ({"5": {"content": "a"}, "6": {"content": "a"}}, r"a \(6\): .+ says 5"),
        ],
    )
    def test_malformed_added_words_are_refused(self, folder, added, expected):
        with pytest.raises(UserError, match=expected):
            tokenizer(folder(added_tokens_decoder=added))


class TestTokenizerJson:
    """What transformers 5 saves."""

    def test_ids_are_the_same(self, whole):
        found = tokenizer(whole())
        for text, expected in zip(golden()["texts"], golden()["xlm_roberta"], strict=True):
            assert found.ids(text) == expected, repr(text)

    def test_a_conversion_has_a_model_of_its_own(self, whole, tmp_path):
        (path,) = write_vocabulary(whole(), SENTENCEPIECE, tmp_path)
        assert path.name == "sentencepiece.bpe.model"
        text = golden()["texts"][4]
        alone = tokenizer(TokenizerFiles(tmp_path, {path.name: path}))
        assert alone.ids(text) == golden()["xlm_roberta"][4]

    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("model", {"type": "Unigram"}, r"model\.vocab: expected pieces with their scores"),
            ("model", {"type": "Unigram", "vocab": [["a"]]}, "expected pieces with their scores"),
            ("model", {"type": "Unigram", "vocab": []}, "expected <s>, <pad>, </s>, <unk> first"),
            ("normalizer", None, "normalizer: expected a Precompiled one"),
            ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "?"}, "charsmap: "),
            (
                "normalizer",
                {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(b"x").decode()},
                "not a model of sentencepiece",
            ),
        ],
    )
    def test_a_malformed_one_is_refused(self, whole, key, value, expected):
        with pytest.raises(UserError, match=expected):
            tokenizer(whole(lambda content: content.update({key: value})))


def opened(given: TokenizerFiles, encoder: str) -> Tokenizer:
    return open_tokenizer(given, encoder, 77)


@pytest.mark.parametrize("encoder", ["CLIPTextModel", "BertModel"])
def test_other_encoders_can_have_it(folder, encoder):
    assert opened(folder(), encoder).framed([5])[:3] == [0, 5, 2]
