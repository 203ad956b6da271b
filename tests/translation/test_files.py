"""What a folder must hold, and one line about what it does not."""

import subprocess
import sys

import pytest

from sdbatch.errors import UserError
from sdbatch.translation.files import open_translator
from tests.conftest import ROOT
from tests.translation.folders import NAMES, TRANSLATION, changed

SPM = (TRANSLATION / "computed" / "source.spm").read_bytes()


def refusal(folder) -> str:
    """The one line."""
    with pytest.raises(UserError) as caught:
        open_translator(folder)
    assert len(str(caught.value).splitlines()) == 1
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_paddle_is_not_needed():
    code = (
        "import sys; from pathlib import Path; "
        "from sdbatch.translation.files import open_translator; "
        f"print(len(open_translator(Path({str(TRANSLATION / 'stored')!r})).sha256)); "
        "assert 'paddle' not in sys.modules"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "64\n", "")


def test_the_name_is_the_folders(monkeypatch):
    assert open_translator(TRANSLATION / "stored").name == "stored"
    monkeypatch.chdir(TRANSLATION / "stored")
    assert open_translator(TRANSLATION.__class__(".")).name == "stored"


def test_settings_of_a_generation_config_count_alone(tmp_path):
    found = open_translator(TRANSLATION / "stored").search
    assert (found.num_beams, found.max_length, found.renormalize) == (4, 28, True)
    # Its end is forced by default where there is no such file, and only there.
    without = open_translator(changed("stored", tmp_path, generation_config__json=None)).search
    assert (without.num_beams, without.max_length, without.renormalize) == (1, 20, False)
    assert (without.forced_eos, without.barred) == (0, ())
    folder = changed("computed", tmp_path, generation_config__json={"max_new_tokens": 9})
    new = open_translator(folder).search
    assert (new.num_beams, new.max_length, new.forced_eos) == (1, 10, None)
    assert new.start == new.pad == open_translator(TRANSLATION / "computed").search.pad


def test_a_length_is_at_most_what_there_are_positions_for(tmp_path):
    files = open_translator(
        changed(
            "computed",
            tmp_path,
            config__json={"max_length": 512},
            tokenizer_config__json={"model_max_length": 1e30},
        )
    )
    assert (files.search.max_length, files.tokenizer.max_length) == (41, 40)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("file", "change", "shapes"),
    [
        ("config__json", {"transformers_version": "9", "id2label": {}}, False),
        ("config__json", {"scale_embedding": None}, None),
        ("config__json", {"activation_function": "relu"}, True),
        ("tokenizer_config__json", {"name_or_path": "x"}, False),
        ("tokenizer_config__json", {"model_max_length": 20}, True),
        ("tokenizer_config__json", {"clean_up_tokenization_spaces": True}, True),
        ("generation_config__json", {"num_beams": 7}, True),
        ("vocab__json", {"new": 5}, True),
        ("source__spm", (TRANSLATION / "computed" / "target.spm").read_bytes(), True),
        ("target__spm", SPM, True),
        ("README__md", b"text", False),
    ],
)
def test_the_digest_is_of_all_that_shapes_a_translation(name, file, change, shapes, tmp_path):
    before = open_translator(TRANSLATION / name).sha256
    after = open_translator(changed(name, tmp_path, **{file: change})).sha256
    if shapes is None:  # `null` is the default, which is that of one folder
        shapes = name == "stored"
    assert (before != after) == shapes


def test_the_digest_is_of_the_weights_too(tmp_path):
    path = TRANSLATION / "computed" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    folder = changed("computed", tmp_path, model__safetensors=bytes(content))
    assert open_translator(folder).sha256 != open_translator(TRANSLATION / "computed").sha256


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config__json", None, "config.json: cannot be read: No such file"),
        ("config__json", b"{", "config.json: not valid JSON"),
        ("config__json", {"architectures": ["BartModel"]}, "expected MarianMTModel, found Bart"),
        ("config__json", {"normalize_before": True}, "normalize_before: expected False, found Tr"),
        ("config__json", {"static_position_embeddings": False}, "expected True, found False"),
        ("config__json", {"share_encoder_decoder_embeddings": False}, "expected True, found False"),
        ("config__json", {"decoder_vocab_size": 7}, "decoder_vocab_size: expected"),
        ("config__json", {"d_model": "24"}, "d_model: expected an integer"),
        ("config__json", {"encoder_layers": 0}, "encoder_layers: expected an integer from 1"),
        ("config__json", {"encoder_attention_heads": 7}, "expected a divisor of d_model=24"),
        ("config__json", {"activation_function": "tanh"}, "one of swish, silu, gelu, relu, found"),
        ("config__json", {"scale_embedding": 1}, "scale_embedding: expected true or false"),
        ("config__json", {"bad_words_ids": [[1, 2]]}, "expected lists of one id"),
        ("config__json", {"bad_words_ids": 3}, "expected lists of one id"),
        ("config__json", {"bad_words_ids": [[True]]}, "expected lists of one id"),
        ("config__json", {"eos_token_id": [0, 1]}, "eos_token_id: expected an integer"),
        ("config__json", {"eos_token_id": 1}, "vocab.json: </s>: expected 1 as in the config"),
        ("config__json", {"pad_token_id": 5}, "vocab.json: <pad>: expected 5 as in the config"),
        ("config__json", {"length_penalty": "1"}, "length_penalty: expected a number"),
        ("config__json", {"early_stopping": "soon"}, "expected False or True or 'never'"),
        ("config__json", {"no_repeat_ngram_size": 3}, "no_repeat_ngram_size: expected 0, found 3"),
        ("generation_config__json", {"do_sample": True}, "do_sample: expected False, found True"),
        ("generation_config__json", {"num_beams": 0}, "num_beams: expected an integer from 1"),
        ("tokenizer_config__json", {"separate_vocabs": True}, "expected False, found True"),
        ("tokenizer_config__json", {"eos_token": "<end>"}, "eos_token: expected </s>, found <end>"),
        ("tokenizer_config__json", {"model_max_length": 1}, "model_max_length: expected at least"),
        ("special_tokens_map__json", {"pad_token": {"content": "!"}}, "pad_token: expected <pad>"),
        ("added_tokens__json", {"龘": 900}, "龘: expected no added words, found 900"),
        (
            "tokenizer_config__json",
            {"added_tokens_decoder": {"9": {"content": "龘"}}},
            "added_tokens_decoder: expected only </s> <unk> <pad>, found",
        ),
        ("source__spm", None, "source.spm: cannot be read"),
        ("source__spm", b"", "source.spm: expected a SentencePiece model, found 0 bytes"),
        ("target__spm", b"<html>", "target.spm: expected a SentencePiece model, found 6 bytes"),
        ("vocab__json", None, "vocab.json: cannot be read"),
        ("vocab__json", b"[]", "vocab.json: expected a JSON object, found list"),
        ("vocab__json", {"a": "1"}, "vocab.json: a: expected an id below vocab_size="),
        ("vocab__json", {"a": 10**6}, "vocab.json: a: expected an id below vocab_size="),
        ("vocab__json", b'{"</s>": 0, "<unk>": 1}', "expected <pad>, found 2 other pieces"),
        ("model__safetensors", None, "weights missing; expected .safetensors, .bin"),
        ("model__safetensors", b"version https://git-lfs", "a Git LFS pointer"),
    ],
)
def test_refusals(file, change, said, tmp_path):
    assert said in refusal(changed("computed", tmp_path, **{file: change}))


def test_a_folder_that_is_not_there(tmp_path):
    assert "no such folder; expected a translator" in refusal(tmp_path / "nowhere")
