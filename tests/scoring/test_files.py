"""A judge's folder is opened without Paddle, or refused by the file that is wrong."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sdbatch.errors import UserError
from sdbatch.scoring import open_judge
from sdbatch.scoring.scorer import load_scorer
from tests.conftest import ROOT
from tests.scoring.recorded import FOLDER, KINDS, copied, edit, files


def test_opening_imports_no_paddle():
    code = (
        "import sys; from pathlib import Path; from sdbatch.scoring import open_judge;"
        f"[open_judge(Path({str(FOLDER)!r}) / name, kind) for name, kind in {KINDS!r}.items()];"
        "sys.exit('paddle' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("name", KINDS)
def test_names_and_digests(name, tmp_path):
    found = files(name)
    assert found.name == name
    assert len(found.weights_sha256) == len(found.config_sha256) == 64
    other = open_judge(copied(name, tmp_path), KINDS[name])
    assert other.weights_sha256 == found.weights_sha256
    assert other.config_sha256 == found.config_sha256


def test_other_files_have_other_digests(tmp_path):
    folder = copied("clip", tmp_path)
    first = open_judge(folder, "clip")
    digests = [(first.weights_sha256, first.config_sha256)]
    edit(folder / "preprocessor_config.json", lambda raw: raw.update(resample=2))
    second = open_judge(folder, "clip")
    digests.append((second.weights_sha256, second.config_sha256))
    weights = load_file(folder / "model.safetensors")
    weights["visual_projection.weight"] = weights["visual_projection.weight"] + 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    third = open_judge(folder, "clip")
    digests.append((third.weights_sha256, third.config_sha256))
    (a, x), (b, y), (c, z) = digests
    assert a == b != c
    assert x != y == z


def test_the_safety_checkers_settings_may_lie_beside_its_weights(tmp_path):
    folder = copied("safety_checker", tmp_path)
    (tmp_path / "feature_extractor" / "preprocessor_config.json").rename(
        folder / "preprocessor_config.json"
    )
    found = open_judge(folder, "safety")
    assert found.settings_path == folder / "preprocessor_config.json"
    assert found.preparation == files("safety_checker").preparation
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"feature_extractor/preprocessor_config.json: cannot be"):
        open_judge(folder, "safety")


def test_chinese_clip_reads_no_more_than_it_was_trained_with():
    assert files("chinese_clip").config.text["max_position_embeddings"] == 64
    assert files("chinese_clip").tokenizer().length == 52
    assert files("clip").tokenizer().length == 20


def refused(folder, kind, says) -> None:
    with pytest.raises(UserError, match=says) as error:
        open_judge(folder, kind)
    assert len(str(error.value).splitlines()) == 1
    assert str(folder.parent) in str(error.value)


def test_kinds_that_do_not_exist_or_do_not_fit(tmp_path):
    refused(FOLDER / "clip", "blip", "kind 'blip': expected one of clip, chinese_clip, safety")
    refused(tmp_path / "none", "clip", "none: no such folder; expected one of a CLIPModel")
    for name, kind in KINDS.items():
        for other in set(KINDS.values()) - {kind}:
            refused(FOLDER / name, other, r"config.json: architectures=.*: expected")


@pytest.mark.parametrize(
    ("name", "file", "change", "says"),
    [
        ("clip", "config.json", {"projection_dim": 21}, r"shape \[21, 24\] by config.json, found"),
        ("clip", "config.json", {"vision_config": {}}, r"visual_projection.weight: expected shape"),
        ("clip", "config.json", {"model_type": 5, "architectures": []}, "model_type=5: expected"),
        (
            "clip",
            "preprocessor_config.json",
            {"crop_size": 20},
            "makes pictures of 20x20: expected",
        ),
        (
            "clip",
            "preprocessor_config.json",
            {"do_center_crop": False},
            "makes pictures of any size: expected 16x16, vision_config.image_size of .*config.json",
        ),
        ("clip", "preprocessor_config.json", {"resample": 9}, "config.json: resample=9: expected"),
        (
            "chinese_clip",
            "preprocessor_config.json",
            {"size": {"shortest_edge": 16}},
            "preprocessor_config.json: size=.*: expected a height and a width",
        ),
    ],
)
def test_configs_that_do_not_fit(tmp_path, name, file, change, says):
    folder = copied(name, tmp_path)
    edit(folder / file, lambda raw: raw.update(change))
    refused(folder, KINDS[name], says)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("eos_token_id", 49407, "config.json: text_config.eos_token_id=49407: expected 593"),
        ("vocab_size", 500, "at most 500 tokens, text_config.vocab_size .* found ids up to 593"),
        ("max_position_embeddings", 2, "model_max_length: expected at least 3 tokens, found 2"),
    ],
)
def test_vocabularies_that_do_not_fit(tmp_path, key, value, says):
    folder = copied("clip", tmp_path)
    edit(folder / "config.json", lambda raw: raw["text_config"].update({key: value}))
    refused(folder, "clip", says)


@pytest.mark.parametrize(
    "file", ["config.json", "preprocessor_config.json", "vocab.json", "model.safetensors"]
)
def test_files_that_are_missing_or_broken(tmp_path, file):
    folder = copied("clip", tmp_path)
    (folder / file).write_bytes(b"{")
    refused(folder, "clip", re.escape(file))
    (folder / file).unlink()
    # Weights have several names, so that none is missing in particular.
    refused(folder, "clip", "weights missing" if "model" in file else re.escape(file))


def changed(folder, change) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, {"format": "pt"})


def test_integer_weights_and_paddles_form_are_refused(tmp_path):
    folder = copied("clip", tmp_path)
    bias = "vision_model.pre_layrnorm.bias"
    changed(folder, lambda w: w.update({bias: np.zeros(24, np.int8)}))
    refused(
        folder, "clip", "model.safetensors: vision_model.pre_layrnorm.bias: weights of dtype I8"
    )
    save_file(
        load_file(folder / "model.safetensors"), folder / "model.safetensors", {"format": "pd"}
    )
    refused(folder, "clip", "model.safetensors: in Paddle's form; expected weights of PyTorch")


@pytest.mark.parametrize("name", ["clip", "chinese_clip"])
def test_every_weight_is_accounted_for(tmp_path, name):
    def loading(change) -> str:
        folder = copied(name, tmp_path / str(len(list(tmp_path.iterdir()))))
        changed(folder, change)
        with pytest.raises(UserError) as error:
            load_scorer(open_judge(folder, KINDS[name]))
        return str(error.value)

    norm = "vision_model.encoder.layers.1.layer_norm2.bias"
    query = "vision_model.encoder.layers.0.self_attn.q_proj.weight"
    assert "layers.1.layer_norm2.bias not in" in loading(lambda w: w.pop(norm))
    assert "head.weight: unexpected key" in loading(lambda w: w.update({"head.weight": w[norm]}))
    assert f"{norm}: expected shape [24], found [23]" in loading(
        lambda w: w.update({norm: w[norm][:23]})
    )
    assert f"{query}: expected shape [24, 24], found [24, 23]" in loading(
        lambda w: w.update({query: np.ascontiguousarray(w[query][:, :23])})
    )
    texts = [key for key in load_file(FOLDER / name / "model.safetensors") if "text_model" in key]
    assert "missing key: text." in loading(lambda w: w.pop(texts[0]))


def test_weights_that_are_dropped_need_not_be_there_and_may_be(tmp_path):
    folder = copied("chinese_clip", tmp_path)
    changed(
        folder,
        lambda w: (
            w.pop("logit_scale"),
            w.update(
                {
                    "text_model.embeddings.position_ids": np.arange(64)[None],
                    "vision_model.embeddings.position_ids": np.arange(17)[None],
                    "text_model.pooler.dense.weight": np.zeros((16, 16), np.float32),
                }
            ),
        ),
    )
    load_scorer(open_judge(folder, "chinese_clip"))


def test_a_vocabulary_in_one_file_is_read(tmp_path):
    """As transformers 5 saves it."""
    folder = copied("clip", tmp_path)
    words = json.loads((folder / "vocab.json").read_text())
    merges = (folder / "merges.txt").read_text().splitlines()[1:]
    whole = {"model": {"type": "BPE", "vocab": words, "merges": [m.split() for m in merges]}}
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    before = open_judge(folder, "clip").tokenizer()
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    after = open_judge(folder, "clip").tokenizer()
    assert after.ids("a large red star") == before.ids("a large red star")
