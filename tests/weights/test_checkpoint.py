"""A diffusers folder is opened whole or refused by the file that is wrong; its digests."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from sdbatch.errors import UserError
from sdbatch.weights.checkpoint import open_checkpoint, read_json
from tests.conftest import ASSETS

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
CONFIGS = {
    "model_index.json": {},
    "unet/config.json": {"in_channels": 4},
    "vae/config.json": {"scaling_factor": 0.18215},
    "text_encoder/config.json": {"hidden_size": 2},
    "scheduler/scheduler_config.json": {"beta_end": 0.012},
    "tokenizer/vocab.json": {"a": 0},
}


@pytest.fixture
def folder(tmp_path):
    """The smallest folder that opens: four configs, a vocabulary, one tensor a network."""
    root = tmp_path / "checkpoint"
    for name, content in CONFIGS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(content))
    for i, name in enumerate((UNET, VAE, TEXT)):
        save_file({f"weight{i}": np.full(2, i, np.float32)}, root / name)
    return root


@pytest.fixture
def sharded(folder):
    """The same with a UNet in two files and an index."""
    save_file({"a": np.zeros(2), "b": np.ones(1)}, folder / "unet" / "part-1.safetensors")
    save_file({"c": np.full(3, 7.0)}, folder / "unet" / "part-2.safetensors")
    (folder / UNET).unlink()
    index = {"a": "part-1.safetensors", "b": "part-1.safetensors", "c": "part-2.safetensors"}
    (folder / f"{UNET}.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def refusal(folder) -> str:
    with pytest.raises(UserError) as caught:
        open_checkpoint(folder)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line


class TestOpens:
    @pytest.mark.parametrize("name", ["demo", "demo_zh"])
    def test_the_bundled_checkpoints(self, name):
        checkpoint = open_checkpoint(ASSETS / name)
        assert checkpoint.name == name
        assert checkpoint.scheduler["_class_name"] == "DDIMScheduler"
        assert checkpoint.unet.config["_class_name"] == "UNet2DConditionModel"

    def test_a_folder_with_its_tensors(self, folder):
        checkpoint = open_checkpoint(folder)
        assert {key: a.tolist() for key, a in checkpoint.vae.tensors()} == {"weight1": [1, 1]}
        assert checkpoint.unet.config == {"in_channels": 4}
        assert checkpoint.tokenizer_folder == folder / "tokenizer"

    def test_shards_that_an_index_lists(self, sharded):
        tensors = dict(open_checkpoint(sharded).unet.tensors())
        assert {key: a.tolist() for key, a in tensors.items()} == {
            "a": [0, 0],
            "b": [1],
            "c": [7, 7, 7],
        }

    def test_a_whole_file_before_an_index(self, sharded):
        save_file({"whole": np.zeros(1)}, sharded / UNET)
        assert [key for key, _ in open_checkpoint(sharded).unet.tensors()] == ["whole"]


class TestRefuses:
    def test_a_folder_that_is_not_there(self, tmp_path):
        assert f"{tmp_path / 'none'}: no such folder" in refusal(tmp_path / "none")

    def test_a_folder_of_something_else(self, tmp_path):
        assert "not a diffusers checkpoint: it has no model_index.json" in refusal(tmp_path)

    @pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "scheduler", "tokenizer"])
    def test_a_missing_part(self, folder, part):
        shutil.rmtree(folder / part)
        assert str(folder / part) in refusal(folder)

    @pytest.mark.parametrize("name", [name for name in CONFIGS if name.endswith("config.json")])
    def test_a_missing_config(self, folder, name):
        (folder / name).unlink()
        assert f"{folder / name}: cannot be read: No such file" in refusal(folder)

    @pytest.mark.parametrize("name", [UNET, VAE, TEXT])
    def test_missing_weights_saying_what_is_there_instead(self, folder, name):
        path = folder / name
        path.rename(path.with_suffix(".bin"))
        line = refusal(folder)
        assert line.startswith(f"{path}: missing; the folder holds config.json, ")
        assert path.with_suffix(".bin").name in line

    @pytest.mark.parametrize("name", [UNET, VAE, TEXT])
    def test_truncated_weights(self, folder, name):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-1])
        assert refusal(folder).startswith(f"{path}: truncated")

    @pytest.mark.parametrize("name", [name for name in CONFIGS if name.endswith("config.json")])
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "not valid JSON"),
            (b'{"a": 1,\n}', "not valid JSON"),
            (b"\xff\xfe", "not valid JSON"),
            (b'{"a":' * 10**5, "not valid JSON"),
            (b"[1]", "expected a JSON object, found list"),
        ],
    )
    def test_a_malformed_config(self, folder, name, content, expected):
        (folder / name).write_bytes(content)
        assert f"{folder / name}: {expected}" in refusal(folder)

    def test_a_shard_that_is_not_there(self, sharded):
        (sharded / "unet" / "part-2.safetensors").unlink()
        assert "part-2.safetensors: cannot be read: No such file" in refusal(sharded)

    @pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": {"a": 1}}])
    def test_an_index_that_lists_no_files(self, sharded, index):
        path = sharded / f"{UNET}.index.json"
        path.write_text(json.dumps(index))
        assert refusal(sharded).startswith(f"{path}: expected a weight_map")


class TestWeightsDigest:
    def test_changes_with_one_byte_of_any_network(self, folder):
        seen = {open_checkpoint(folder).weights_sha256}
        for name in (UNET, VAE, TEXT):
            data = bytearray((folder / name).read_bytes())
            data[-1] ^= 1
            (folder / name).write_bytes(data)
            seen.add(open_checkpoint(folder).weights_sha256)
        assert len(seen) == 4

    def test_changes_when_two_networks_are_swapped(self, folder):
        before = open_checkpoint(folder).weights_sha256
        (folder / UNET).rename(folder / "aside")
        (folder / VAE).rename(folder / UNET)
        (folder / "aside").rename(folder / VAE)
        assert open_checkpoint(folder).weights_sha256 != before

    def test_does_not_change_with_names_or_configs(self, folder):
        before = open_checkpoint(folder).weights_sha256
        (folder / "unet" / "config.json").write_text('{"in_channels": 9}')
        moved = folder.rename(folder.parent / "other name")
        assert open_checkpoint(moved).weights_sha256 == before

    def test_does_not_change_with_the_names_of_shards(self, sharded):
        before = open_checkpoint(sharded).weights_sha256
        (sharded / "unet" / "part-1.safetensors").rename(sharded / "unet" / "z.safetensors")
        index = {"a": "z.safetensors", "c": "part-2.safetensors"}
        (sharded / f"{UNET}.index.json").write_text(json.dumps({"weight_map": index}))
        assert open_checkpoint(sharded).weights_sha256 == before


class TestConfigDigest:
    @pytest.mark.parametrize("name", [name for name in CONFIGS if name != "model_index.json"])
    def test_changes_with_a_value_of_any_config_or_of_the_vocabulary(self, folder, name):
        before = open_checkpoint(folder).config_sha256
        (folder / name).write_text(json.dumps(dict.fromkeys(CONFIGS[name], 1.5)))
        assert open_checkpoint(folder).config_sha256 != before

    def test_does_not_change_with_layout_weights_or_place(self, folder):
        before = open_checkpoint(folder).config_sha256
        (folder / "unet" / "config.json").write_text('{\n  "in_channels":\t4 }')
        save_file({"other": np.zeros(1)}, folder / UNET)
        moved = folder.rename(folder.parent / "other name")
        assert open_checkpoint(moved).config_sha256 == before


def test_json_is_read_as_utf8(tmp_path):
    (tmp_path / "x.json").write_text('{"名": "模型"}', encoding="utf-8")
    assert read_json(tmp_path / "x.json") == {"名": "模型"}
