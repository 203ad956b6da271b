"""What the recorded ids do not show of the tokenizer."""

from dataclasses import replace

import pytest

from tests.translation.folders import record, translator


@pytest.fixture
def tokenizer():
    return translator("stored").files.tokenizer


def test_truncation_keeps_the_end(tokenizer):
    short = replace(tokenizer, max_length=5)
    text = "水墨画风格的城市夜景"
    whole = tokenizer.encode(text)
    assert len(whole) > 5
    assert short.encode(text) == [*whole[:4], tokenizer.ids["</s>"]]
    assert not short.fits(text)
    assert replace(tokenizer, max_length=len(whole)).fits(text)


def test_language_codes_are_ids_of_their_own(tokenizer):
    code = tokenizer.ids[">>eng<<"]
    assert tokenizer.encode(">>eng<<桥") == [code, *tokenizer.encode("桥")]
    assert tokenizer.encode(">>deu<<桥")[0] == tokenizer.ids["<unk>"]


def test_pieces_outside_the_vocabulary_are_unknown(tokenizer):
    unknown = tokenizer.ids["<unk>"]
    left_out = [
        piece
        for piece in map(tokenizer.source.id_to_piece, range(tokenizer.source.get_piece_size()))
        if piece not in tokenizer.ids
    ]
    assert len(left_out) > 10
    assert any(unknown in ids for ids in record()["stored"]["ids"])


def test_decoding_skips_special_tokens_and_unknown_ids(tokenizer):
    ids, text = record()["searches"][0]["ids"][40], record()["searches"][0]["texts"][40]
    pad, unknown = tokenizer.ids["<pad>"], tokenizer.ids["<unk>"]
    assert tokenizer.decode([pad, *ids[:-1], unknown, 10**6, *ids[-1:], pad]) == text
    assert tokenizer.decode([]) == tokenizer.decode([pad]) == ""


def test_cleaning_up_closes_up_punctuation(tokenizer):
    class Target:
        def decode_pieces(self, pieces):
            return "▁it 's a dog , is n't it ?▁"

    ids = [tokenizer.ids[">>eng<<"]]
    plain = replace(tokenizer, target=Target())
    assert plain.decode(ids) == "it 's a dog , is n't it ?"
    assert replace(plain, clean_up=True).decode(ids) == "it's a dog, isn't it?"
