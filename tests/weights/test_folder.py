"""A folder is opened whole or refused by the file that is wrong; what is taken; its digests."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from sdbatch.errors import UserError
from sdbatch.weights.checkpoint import read_json
from sdbatch.weights.files.paddle_file import write_paddle
from sdbatch.weights.folder import open_component
from sdbatch.weights.options import SourceOptions
from sdbatch.weights.source import open_checkpoint
from tests.conftest import ASSETS
from tests.weights.files.torch_files import legacy_file, tensor, zip_file

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
# What tells a UNet of SD 1.x: cross-attention, and projections that are convolutions.
BLOCK = "down_blocks.0.attentions.0"
UNET_TENSORS = {
    f"{BLOCK}.transformer_blocks.0.attn2.to_k.weight": np.zeros((2, 768), np.float32),
    f"{BLOCK}.proj_in.weight": np.zeros((2, 2, 1, 1), np.float32),
}


@pytest.fixture
def folder(tmp_path):
    """The smallest folder that opens: four configs, a vocabulary, hardly a tensor a network."""
    root = tmp_path / "checkpoint"
    for name, content in CONFIGS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(content))
    save_file(UNET_TENSORS, root / UNET)
    save_file({"weight": np.ones(2, np.float32)}, root / VAE)
    save_file({"weight": np.full(2, 2, np.float32)}, root / TEXT)
    return root


@pytest.fixture
def sharded(folder):
    """The same with a UNet in two files and an index."""
    save_file({"a": np.zeros(2), **UNET_TENSORS}, folder / "unet" / "part-1.safetensors")
    save_file({"c": np.full(3, 7.0)}, folder / "unet" / "part-2.safetensors")
    (folder / UNET).unlink()
    index = {"a": "part-1.safetensors", "c": "part-2.safetensors"}
    (folder / f"{UNET}.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


@pytest.fixture
def save(folder):
    """`save(name, value)`: VAE weights of this value in the format of the name, and no others."""

    def call(name: str, value: float) -> None:
        path, array = folder / "vae" / name, np.full(2, value, np.float32)
        (folder / VAE).unlink(missing_ok=True)
        if path.suffix == ".safetensors":
            save_file({"weight": array}, path)
        elif path.suffix == ".pdparams":
            write_paddle(path, [("weight", array, "F32")])
        else:
            path.write_bytes(zip_file({"weight": tensor("0", array)}))

    return call


def taken(folder, variant=None) -> float:
    """The value of the VAE weights that are taken."""
    return float(dict(open_component(folder / "vae", "vae", variant).tensors())["weight"][0])


def refusal(folder, **options) -> str:
    with pytest.raises(UserError) as caught:
        open_checkpoint(folder, SourceOptions(**options))
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
        assert {key: a.tolist() for key, a in checkpoint.vae.tensors()} == {"weight": [1, 1]}
        assert checkpoint.unet.config == {"in_channels": 4}
        assert [files.folder for files in checkpoint.tokenizers] == [folder / "tokenizer"]

    def test_shards_that_an_index_lists(self, sharded):
        tensors = dict(open_checkpoint(sharded).unet.tensors())
        assert tensors.keys() == {"a", "c", *UNET_TENSORS}
        assert tensors["c"].tolist() == [7, 7, 7]

    def test_a_whole_file_before_an_index(self, sharded):
        save_file({"whole": np.zeros(1), **UNET_TENSORS}, sharded / UNET)
        assert dict(open_checkpoint(sharded).unet.tensors()).keys() == {"whole", *UNET_TENSORS}


class TestFormats:
    @pytest.mark.parametrize("make", [zip_file, legacy_file])
    @pytest.mark.parametrize("name", [UNET, VAE, TEXT])
    def test_files_of_pytorch(self, folder, name, make):
        before = {c.name: dict(c.tensors()) for c in open_checkpoint(folder).components}
        arrays = before[name.split("/")[0]]
        stem = "pytorch_model" if name == TEXT else "diffusion_pytorch_model"
        stored = {key: tensor(str(i), array) for i, (key, array) in enumerate(arrays.items())}
        (folder / name).with_name(f"{stem}.bin").write_bytes(make(stored))
        (folder / name).unlink()
        for component in open_checkpoint(folder).components:
            found = dict(component.tensors())
            assert found.keys() == before[component.name].keys()
            for key, array in found.items():
                assert np.array_equal(array, before[component.name][key])

    @pytest.mark.parametrize("parts", [1, 2])
    def test_files_of_paddle_whose_linear_weights_are_the_other_way_round(self, folder, parts):
        (folder / UNET).unlink()
        tensors = [(k, a.T if a.ndim == 2 else a, "F32") for k, a in UNET_TENSORS.items()]
        names = [f"model_state-{i + 1:05d}-of-{parts:05d}.pdparams" for i in range(parts)]
        if parts == 1:
            write_paddle(folder / "unet" / "model_state.pdparams", tensors)
        else:
            index = {"weight_map": dict(zip(UNET_TENSORS, names, strict=True))}
            (folder / "unet" / "model_state.pdparams.index.json").write_text(json.dumps(index))
            for name, item in zip(names, tensors, strict=True):
                write_paddle(folder / "unet" / name, [item])
        unet = open_checkpoint(folder).unet
        assert unet.layout.linear_in_out
        assert len(unet.files) == parts
        assert {name: unet.shape(name) for name in unet.places} == {
            f"{BLOCK}.transformer_blocks.0.attn2.to_k.weight": (768, 2),
            f"{BLOCK}.proj_in.weight": (2, 2, 1, 1),
        }

    def test_the_safest_and_quickest_is_preferred(self, folder, save):
        order = [
            "diffusion_pytorch_model.safetensors",
            "model.safetensors",
            "diffusion_pytorch_model.bin",
            "pytorch_model.bin",
            "model_state.pdparams",
        ]
        for value, name in reversed(list(enumerate(order))):
            save(name, value)
            assert taken(folder) == value


class TestVariants:
    def test_the_only_one_is_taken_by_itself(self, folder, save):
        save("diffusion_pytorch_model.fp16.safetensors", 16)
        assert taken(folder) == taken(folder, "fp16") == 16

    @pytest.mark.parametrize("plain", ["safetensors", "bin"])
    def test_plain_weights_are_taken_unless_one_is_asked_for(self, folder, save, plain):
        save("diffusion_pytorch_model.fp16.safetensors", 16)
        save("diffusion_pytorch_model.non_ema.bin", 0)
        save(f"diffusion_pytorch_model.{plain}", 32)
        assert taken(folder) == 32
        assert taken(folder, "fp16") == 16
        assert taken(folder, "non_ema") == 0

    def test_the_same_one_in_two_formats(self, folder, save):
        save("diffusion_pytorch_model.fp16.bin", 1)
        save("diffusion_pytorch_model.fp16.safetensors", 0)
        assert taken(folder) == taken(folder, "fp16") == 0

    def test_that_one_network_lacks_is_refused_saying_what_is_there(self, folder):
        for name in (UNET, TEXT):
            (folder / name).rename((folder / name).with_suffix(".fp16.safetensors"))
        line = refusal(folder, variant="fp16")
        assert line.startswith(f"{folder / 'vae'}: fp16 weights missing; expected .safetensors")
        assert line.endswith("holds config.json, diffusion_pytorch_model.safetensors")

    def test_several_without_plain_weights_are_refused(self, folder, save):
        save("diffusion_pytorch_model.bf16.safetensors", 1)
        save("diffusion_pytorch_model.fp16.bin", 2)
        line = refusal(folder)
        assert line.startswith(f"{folder / 'vae'}: weights missing")
        assert "diffusion_pytorch_model.bf16.safetensors, diffusion_pytorch_model.fp16.bin" in line

    @pytest.mark.parametrize(
        ("index", "part"),
        [
            ("model.safetensors.index.fp16.json", "model.fp16-{}.safetensors"),
            ("model.safetensors.fp16.index.json", "model-{}.fp16.safetensors"),
            ("model.fp16.safetensors.index.json", "model.fp16-{}.safetensors"),
        ],
    )
    def test_in_parts_however_diffusers_called_them(self, sharded, index, part):
        names = [f"diffusion_pytorch_{part.format(f'0000{i}-of-00002')}" for i in (1, 2)]
        for path, name in zip(sorted((sharded / "unet").glob("part-*")), names, strict=True):
            path.rename(path.with_name(name))
        (sharded / f"{UNET}.index.json").unlink()
        path = sharded / "unet" / f"diffusion_pytorch_{index}"
        path.write_text(json.dumps({"weight_map": {"a": names[0], "c": names[1]}}))
        unet = open_checkpoint(sharded).unet
        assert [path.name for path in unet.files] == names
        assert dict(unet.tensors()).keys() == {"a", "c", *UNET_TENSORS}
        assert open_component(sharded / "unet", "unet", "fp16").files == unet.files


class TestTwoTextEncoders:
    """SDXL has them, and an embedding of sizes and pooled text in its UNet."""

    @pytest.fixture
    def sdxl(self, folder):
        added = {"add_embedding.linear_1.weight": np.zeros((2, 2), np.float32)}
        save_file({**UNET_TENSORS, **added}, folder / UNET)
        for part in ("text_encoder", "tokenizer"):
            shutil.copytree(folder / part, folder / f"{part}_2")
        return folder

    def test_are_opened_with_their_tokenizers(self, sdxl):
        checkpoint = open_checkpoint(sdxl)
        assert checkpoint.family == "sdxl"
        assert [c.name for c in checkpoint.text_encoders] == ["text_encoder", "text_encoder_2"]
        folders = [tokenizer.folder.name for tokenizer in checkpoint.tokenizers]
        assert folders == ["tokenizer", "tokenizer_2"]

    @pytest.mark.parametrize("part", ["text_encoder_2", "tokenizer_2", "text_encoder"])
    def test_are_both_needed(self, sdxl, part):
        shutil.rmtree(sdxl / part)
        assert str(sdxl / part) in refusal(sdxl)

    def test_are_refused_in_other_families(self, sdxl):
        save_file(UNET_TENSORS, sdxl / UNET)
        assert refusal(sdxl).startswith(f"{sdxl / 'text_encoder_2'}: unexpected, sd1 has one text")

    def test_both_are_part_of_the_digests(self, sdxl):
        weights, configs = open_checkpoint(sdxl).weights_sha256, open_checkpoint(sdxl).config_sha256
        save_file({"weight": np.zeros(3, np.float32)}, sdxl / "text_encoder_2/model.safetensors")
        (sdxl / "tokenizer_2" / "vocab.json").write_text('{"b": 0}')
        assert open_checkpoint(sdxl).weights_sha256 != weights
        assert open_checkpoint(sdxl).config_sha256 != configs


class TestRefuses:
    def test_a_folder_that_is_not_there(self, tmp_path):
        assert f"{tmp_path / 'none'}: no such file or folder" in refusal(tmp_path / "none")

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
        path.rename(path.with_suffix(".msgpack"))
        line = refusal(folder)
        assert line.startswith(f"{path.parent}: weights missing; expected .safetensors, .bin or")
        assert line.endswith(f"the folder holds config.json, {path.with_suffix('.msgpack').name}")

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

    def test_a_key_in_two_shards(self, sharded):
        save_file({"a": np.zeros(2)}, sharded / "unet" / "part-2.safetensors")
        assert refusal(sharded).endswith("part-2.safetensors: a: is in part-1.safetensors too")

    @pytest.mark.parametrize(
        "index", [{}, {"weight_map": {}}, {"weight_map": {"a": 1}}, {"weight_map": {"a": "../x"}}]
    )
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
        (folder / TEXT).rename(folder / "aside")
        (folder / VAE).rename(folder / TEXT)
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
        save_file({"other": np.zeros(1), **UNET_TENSORS}, folder / UNET)
        moved = folder.rename(folder.parent / "other name")
        assert open_checkpoint(moved).config_sha256 == before


def test_json_is_read_as_utf8(tmp_path):
    (tmp_path / "x.json").write_text('{"名": "模型"}', encoding="utf-8")
    assert read_json(tmp_path / "x.json") == {"名": "模型"}
