"""Single files in the original layout: whatever was made of them, the same weights come out."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from sdbatch.convert.tensors import Accounted
from sdbatch.engine.load import networks
from sdbatch.errors import UserError
from sdbatch.weights import single_file
from sdbatch.weights.files.paddle_file import write_paddle
from sdbatch.weights.files.tensor_file import TensorFile
from sdbatch.weights.files.torch_file import is_legacy
from sdbatch.weights.options import SourceOptions
from sdbatch.weights.source import open_checkpoint
from tests.conftest import ASSETS
from tests.weights.checkpoints import (
    DEMO,
    as_in_layers,
    assert_equal,
    demo_networks,
    narrow_base,
    published,
    weights_of,
    write,
)
from tests.weights.files.handmade import bfloat16_file, rounded_to_bfloat16
from tests.weights.files.torch_files import legacy_file, tensor, zip_file
from tests.weights.original import original_tensors, random_networks

FAMILIES = ("sd1", "sd2", "sdxl")
UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT = "cond_stage_model.transformer."
ATTENTION = "mid.attn_1."


@pytest.fixture(scope="module")
def original() -> dict[str, np.ndarray]:
    """The demo as its trainer would have saved it. Not to be changed."""
    return original_tensors("demo", demo_networks(), averages=False)


@pytest.fixture(scope="module")
def expected() -> dict[str, dict[str, np.ndarray]]:
    """Every weight of the demo, read from its folder."""
    return weights_of(open_checkpoint(DEMO))


@pytest.fixture
def opened(tmp_path):
    """`opened(tensors, name, **options)`: a file of these tensors, with the demo's configs."""

    def call(tensors, name="model.safetensors", beside=None, **options):
        path = write(tmp_path / name, tensors, **(beside or {}))
        return open_checkpoint(path, SourceOptions(**{"base": DEMO, **options}))

    return call


@pytest.fixture
def refusal(opened):
    def call(*args, **options) -> str:
        with pytest.raises(UserError) as caught:
            opened(*args, **options)
        line = str(caught.value)
        assert len(line.splitlines()) == 1
        return line

    return call


def renamed(tensors, old, new) -> dict[str, np.ndarray]:
    """Tensors whose keys begin with `new` instead of `old`."""
    return {new + k.removeprefix(old) if k.startswith(old) else k: a for k, a in tensors.items()}


def reshaped(tensors, contains, shape) -> dict[str, np.ndarray]:
    """Weights of linear layers as matrices or 1x1 convolutions."""

    def change(key, array):
        chosen = contains in key and key.endswith(".weight") and array.ndim in (2, 4)
        return array.reshape(*array.shape[:2], *shape) if chosen else array

    return {key: change(key, array) for key, array in tensors.items()}


def reasons(checkpoint) -> dict[str, str]:
    """Every key that was left out, and why."""
    found = {item.key: item.reason for item in checkpoint.dropped}
    for component in checkpoint.components:
        for name, place in component.places.items():
            if why := component.layout.why_dropped(name):
                found[place.key] = why
    return found


def used(checkpoint) -> set[str]:
    """Every key of the file that a network takes."""
    places = [place for component in checkpoint.components for place in component.places.values()]
    return {p.key for p in places if p.file.path == checkpoint.path} - reasons(checkpoint).keys()


class TestForms:
    def test_an_original_checkpoint_is_its_folder_in_another_layout(
        self, opened, original, expected
    ):
        checkpoint = opened(original)
        assert (checkpoint.name, checkpoint.family) == ("model", "sd1")
        assert checkpoint.components[0].config == open_checkpoint(DEMO).unet.config
        assert checkpoint.scheduler == open_checkpoint(DEMO).scheduler
        assert_equal(weights_of(checkpoint), expected)

    def test_every_key_is_used_or_left_out_for_a_reason(self, opened, original):
        checkpoint = opened(original)
        left_out = reasons(checkpoint)
        assert not left_out.keys() & used(checkpoint)
        assert left_out.keys() | used(checkpoint) == original.keys()
        assert "schedule" in left_out["alphas_cumprod"]
        assert "constant" in left_out[f"{TEXT}text_model.embeddings.position_ids"]
        assert len(left_out) == 15

    @pytest.mark.parametrize("beside", [{}, {"epoch": 3, "pytorch-lightning_version": "1.4"}])
    @pytest.mark.parametrize("name", ["model.ckpt", "model.legacy.ckpt"])
    def test_what_pytorch_saves_bare_or_by_lightning(
        self, opened, original, expected, name, beside
    ):
        checkpoint = opened(original, name, beside)
        assert is_legacy(checkpoint.path.read_bytes()[:64]) == ("legacy" in name)
        assert_equal(weights_of(checkpoint), expected)

    @pytest.mark.parametrize("make", [zip_file, legacy_file])
    def test_a_whole_state_of_the_training(self, original, expected, tmp_path, make):
        moments = {0: {"step": 5, "exp_avg": tensor("m", np.ones(3, np.float32))}}
        stored = {key: tensor(str(i), a) for i, (key, a) in enumerate(original.items())}
        state = {
            "epoch": 3,
            "state_dict": stored,
            "callbacks": {"EMA": {"best": tensor("b", np.ones(1, np.float32))}},
            "optimizer_states": [{"state": moments, "param_groups": [{"lr": 1e-4}]}],
        }
        path = tmp_path / "last.ckpt"
        path.write_bytes(make(state))
        checkpoint = open_checkpoint(path, SourceOptions(base=DEMO))
        left_out = reasons(checkpoint)
        for key in ("optimizer_states.0.state.0.exp_avg", "callbacks.EMA.best"):
            assert left_out[key] == "kept beside the model: state of the training"
        assert_equal(weights_of(checkpoint), expected)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("", "module."),
            ("", "state_dict."),
            (UNET, "diffusion_model."),
            (UNET, ""),
            (f"{TEXT}text_model.", TEXT),
            (f"{TEXT}text_model.", "cond_stage_model.text_model."),
            (f"{TEXT}text_model.", "text_model."),
            (TEXT, "conditioner.embedders.0.transformer."),
            (VAE, "vae."),
            (VAE, ""),
        ],
    )
    def test_prefixes_that_are_there_or_not(self, opened, original, expected, old, new):
        assert_equal(weights_of(opened(renamed(original, old, new))), expected)

    @pytest.mark.parametrize(
        ("key", "shape", "why"),
        [
            ("cond_stage_model.logit_scale", (), "text encoder's training"),
            ("safety_checker.vision_model.embeddings.class_embedding", (4,), "safety checker"),
            ("optimizer.state.0.exp_avg", (4,), "state of the training"),
            ("lr_scheduler.last", (1,), "state of the training"),
            ("loss.discriminator.main.0.weight", (4, 4), "discriminator"),
            (f"{VAE}loss.logvar", (), "discriminator"),
            (f"{VAE}model_ema.decoderconv_inweight", (4,), "running averages"),
            ("model_ema.num_updates", (), "counter of the training"),
            ("model_ema.diffusion_modelout2weight", (4,), "not asked for"),
            ("denoiser.sigmas", (1000,), "noise schedule"),
            ("lvlb_weights", (1000,), "noise schedule"),
            ("cond_stage_model.model.transformer.text_model.embeddings.position_ids", (77,), "con"),
        ],
    )
    def test_what_no_network_uses(self, opened, original, key, shape, why):
        checkpoint = opened({**original, key: np.ones(shape, np.float32)})
        assert why in reasons(checkpoint)[key]
        for network in networks(checkpoint):
            Accounted.of(network)

    @pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int32, None])
    def test_position_ids_of_any_type_or_none(self, opened, original, dtype):
        tensors = dict(original)
        key = f"{TEXT}text_model.embeddings.position_ids"
        ids = tensors.pop(key)
        if dtype:
            tensors[key] = ids.astype(dtype)
        checkpoint = opened(tensors)
        assert checkpoint.family == "sd1"
        assert (key in reasons(checkpoint)) == bool(dtype)

    @pytest.mark.parametrize("shape", [(), (1, 1)])
    def test_attention_of_the_vae_as_matrices_or_convolutions(
        self, opened, original, expected, shape
    ):
        found = opened(reshaped(original, ATTENTION, shape))
        assert found.vae.shape(f"decoder.{ATTENTION}q.weight")[2:] == shape
        assert_equal(weights_of(found), expected)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
    def test_types(self, opened, original, expected, name, dtype):
        checkpoint = opened({key: array.astype(dtype) for key, array in original.items()}, name)
        found = weights_of(checkpoint)
        assert {array.dtype.type for array in found["unet"].values()} == {dtype}
        assert_equal(found, expected)  # the demo is stored as float16

    def test_bfloat16(self, original, expected, tmp_path):
        (tmp_path / "x.safetensors").write_bytes(
            bfloat16_file({k: np.ascontiguousarray(a, np.float32) for k, a in original.items()})
        )
        stored = {}
        for key, array in original.items():
            bits = (array.astype("<f4").view("<u4") >> 16).astype("<u2")
            stored[key] = tensor(str(len(stored)), bits, "BFloat16Storage")
        (tmp_path / "x.ckpt").write_bytes(zip_file(stored))
        for path in (tmp_path / "x.safetensors", tmp_path / "x.ckpt"):
            found = weights_of(open_checkpoint(path, SourceOptions(base=DEMO)))
            for name, weights in expected.items():
                for key, array in weights.items():
                    nearby = rounded_to_bfloat16(np.ascontiguousarray(array, np.float32))
                    assert np.array_equal(found[name][key], nearby), key

    def test_nothing_is_read_when_a_file_is_opened(self, opened, original, monkeypatch):
        monkeypatch.setattr(TensorFile, "read", None)
        assert opened(original).family == "sd1"


class TestAverages:
    """LitEma keeps them in float32 under names without dots."""

    @pytest.fixture
    def both(self):
        halves = {key: array / 2 for key, array in demo_networks()["unet"].items()}
        return original_tensors("demo", demo_networks(), averages=halves)

    def test_the_weights_themselves_are_taken_unless_asked_otherwise(self, opened, both, expected):
        checkpoint = opened(both)
        left_out = reasons(checkpoint)
        assert "not asked for" in left_out["model_ema.diffusion_modelout2weight"]
        assert left_out.keys() | used(checkpoint) == both.keys()
        assert_equal(weights_of(checkpoint), expected)

    @pytest.mark.parametrize("prefix", [UNET, "", "diffusion_model."])
    def test_averages_replace_the_unet_and_nothing_else(self, opened, both, expected, prefix):
        checkpoint = opened(renamed(both, UNET, prefix), ema=True)
        found, left_out = weights_of(checkpoint), reasons(checkpoint)
        halves = {key: array / 2 for key, array in expected["unet"].items()}
        assert_equal(found, {**expected, "unet": halves})
        assert "replaced by its running average" in left_out[f"{prefix}out.2.weight"]
        assert not left_out.keys() & used(checkpoint)

    def test_they_give_another_digest(self, opened, both):
        digests = {opened(both, ema=ema).weights_sha256 for ema in (False, True)}
        assert len(digests) == 2

    def test_one_that_is_missing(self, refusal, both):
        del both["model_ema.diffusion_modelout2weight"]
        line = refusal(both, ema=True)
        assert f"ema: there is no running average of {UNET}out.2.weight; expected model_ema" in line

    def test_a_file_without_any(self, refusal, original):
        assert "ema: there is no running average of" in refusal(original, ema=True)

    def test_one_of_a_weight_that_is_not_there(self, opened, both):
        key = "model_ema.diffusion_modelgone"
        checkpoint = opened({**both, key: np.zeros(1, np.float32)}, ema=True)
        assert reasons(checkpoint)[key] == "a running average of no weight of the UNet"


class TestOtherVAE:
    """Twice the demo's weights, so that nothing else can be mistaken for them."""

    @pytest.fixture(scope="class")
    def weights(self):
        return {key: array * 2 for key, array in demo_networks()["vae"].items()}

    @pytest.fixture
    def check(self, opened, original, weights, expected):
        def call(path):
            checkpoint = opened(original, vae=path)
            assert_equal(weights_of(checkpoint), {**expected, "vae": weights})
            left_out = reasons(checkpoint)
            assert left_out[f"{VAE}decoder.conv_in.bias"] == "replaced by the other VAE"
            return checkpoint

        return call

    @pytest.mark.parametrize("prefix", [VAE, "", "vae."])
    @pytest.mark.parametrize("name", ["vae.safetensors", "vae.ckpt"])
    def test_a_file_in_the_original_layout(self, check, weights, tmp_path, prefix, name):
        tensors = renamed(original_tensors("demo", {"vae": weights}, extras=False), VAE, prefix)
        checkpoint = check(write(tmp_path / name, tensors))
        assert checkpoint.vae.config == open_checkpoint(DEMO).vae.config

    def test_a_file_of_the_training_of_an_autoencoder(self, check, weights, tmp_path):
        tensors = renamed(original_tensors("demo", {"vae": weights}, extras=False), VAE, "")
        extra = {"loss.logvar": np.zeros(()), "model_ema.decay": np.zeros(())}
        checkpoint = check(write(tmp_path / "vae.ckpt", {**tensors, **extra}, epoch=1))
        assert "discriminator" in reasons(checkpoint)["state_dict.loss.logvar"]
        assert "counter" in reasons(checkpoint)["state_dict.model_ema.decay"]

    def test_a_file_of_diffusers(self, check, weights, tmp_path):
        check(write(tmp_path / "diffusion_pytorch_model.safetensors", weights))

    def test_a_file_of_paddle(self, check, weights, tmp_path):
        path = tmp_path / "model_state.pdparams"
        turned = {k: a.T if ".to_" in k and a.ndim == 2 else a for k, a in weights.items()}
        write_paddle(path, ((key, array, "F16") for key, array in turned.items()))
        check(path)
        path.unlink()
        check(write(tmp_path / "diffusion_paddle_model.safetensors", turned, format="pd"))

    @pytest.mark.parametrize("inside", ["", "vae"])
    def test_a_folder_by_itself_or_of_a_whole_checkpoint(self, check, weights, tmp_path, inside):
        folder = shutil.copytree(DEMO / "vae", tmp_path / "whole" / inside)
        save_file(weights, folder / "diffusion_pytorch_model.safetensors")
        check(tmp_path / "whole")

    def test_a_whole_checkpoint_in_one_file(self, check, weights, tmp_path):
        tensors = original_tensors("demo", {**demo_networks(), "vae": weights}, extras=False)
        checkpoint = check(write(tmp_path / "other.safetensors", tensors))
        assert reasons(checkpoint)["model_ema.diffusion_modelout2weight"].startswith("not of the V")

    def test_with_a_folder_as_model(self, weights, expected, tmp_path):
        path = write(tmp_path / "vae.safetensors", weights)
        checkpoint = open_checkpoint(DEMO, SourceOptions(vae=path))
        assert_equal(weights_of(checkpoint), {**expected, "vae": weights})
        assert checkpoint.weights_sha256 != open_checkpoint(DEMO).weights_sha256

    def test_one_that_has_none(self, refusal, original, tmp_path):
        unet = {key: array for key, array in original.items() if key.startswith(UNET)}
        path = write(tmp_path / "unet.safetensors", unet)
        assert refusal(original, vae=path).startswith(f"{path}: no VAE in it")
        with pytest.raises(UserError, match="no VAE in it"):
            open_checkpoint(DEMO, SourceOptions(vae=path))

    def test_one_that_is_not_there(self, refusal, original, tmp_path):
        assert "gone: cannot be read: No such file" in refusal(original, vae=tmp_path / "gone")


class TestScaleOfLatents:
    KEY = "scale_factor"

    @pytest.mark.parametrize("shape", [(), (1,)])
    def test_a_file_that_says_it_wins_over_the_config(self, opened, original, shape):
        scale = np.full(shape, 0.25, np.float32)
        checkpoint = opened({**original, self.KEY: scale})
        assert checkpoint.vae.config["scaling_factor"] == 0.25
        assert "noise schedule" in reasons(checkpoint)[self.KEY]

    def test_a_vae_of_its_own_brings_its_own(self, opened, original, tmp_path):
        tensors = original_tensors("demo", {"vae": demo_networks()["vae"]}, extras=False)
        path = write(tmp_path / "vae.safetensors", {**tensors, self.KEY: np.float32(0.5)})
        model = {**original, self.KEY: np.float32(0.25)}
        assert opened(model, vae=path).vae.config["scaling_factor"] == 0.5


class TestBase:
    """Configs, tokenizer, and networks that a file lacks."""

    @pytest.mark.parametrize("prefix", [VAE, "cond_stage_model."])
    def test_gives_the_networks_that_a_file_lacks(self, opened, original, expected, prefix):
        tensors = {key: array for key, array in original.items() if not key.startswith(prefix)}
        checkpoint = opened(tensors)
        assert_equal(weights_of(checkpoint), expected)
        assert len({path for c in checkpoint.components for path in c.files}) == 2

    @pytest.mark.parametrize(
        ("prefix", "advice"),
        [
            (VAE, "no vae in it; give a vae, or a base, a diffusers folder that has one"),
            ("cond_stage_model.", "no text_encoder in it; give a base, a diffusers folder that"),
        ],
    )
    def test_without_one_a_missing_network_is_refused_with_advice(
        self, refusal, original, prefix, advice
    ):
        tensors = {key: array for key, array in original.items() if not key.startswith(prefix)}
        assert advice in refusal(tensors, base=None)

    def test_may_be_in_paddles_form(self, opened, original, expected, tmp_path):
        base = shutil.copytree(DEMO, tmp_path / "base")
        (base / "vae" / "diffusion_pytorch_model.safetensors").unlink()
        linear = {k: a.T if ".to_" in k and a.ndim == 2 else a for k, a in expected["vae"].items()}
        path = base / "vae" / "model_state.pdparams"
        write_paddle(path, ((key, array, "F16") for key, array in linear.items()))
        tensors = {key: array for key, array in original.items() if not key.startswith(VAE)}
        assert_equal(weights_of(opened(tensors, base=base)), expected)

    def test_gives_the_tokenizer_whatever_its_files(self, opened, original, tmp_path):
        base = shutil.copytree(DEMO, tmp_path / "base")
        for name in ("vocab.json", "merges.txt"):
            (base / "tokenizer" / name).unlink()
        (base / "tokenizer" / "tokenizer.json").write_text("{}")
        (tokenizer,) = opened(original, base=base).tokenizers
        assert tokenizer.files.keys() & {"vocab.json", "tokenizer.json"} == {"tokenizer.json"}

    def test_without_one_the_tokenizer_is_openais(self, opened, original):
        (tokenizer,) = opened(original, base=None).tokenizers
        assert tokenizer.files["vocab.json"] == ASSETS / "clip_tokenizer" / "vocab.json"
        assert tokenizer.files["tokenizer_config.json"].parent.parent == ASSETS / "families/sd1"

    def test_is_not_for_folders(self):
        with pytest.raises(UserError, match="base is for single files"):
            open_checkpoint(DEMO, SourceOptions(base=DEMO))

    def test_that_is_not_there(self, refusal, original, tmp_path):
        line = refusal(original, base=tmp_path / "gone")
        assert f"{tmp_path / 'gone'}" in line
        assert "cannot be read: No such file" in line

    def test_ema_is_not_for_folders_and_variants_are(self, refusal, original):
        with pytest.raises(UserError, match="ema: only single files hold two sets of weights"):
            open_checkpoint(DEMO, SourceOptions(ema=True))
        assert "variant is for folders" in refusal(original, variant="fp16")


class TestRefuses:
    @pytest.mark.parametrize("key", ["nonsense", f"{UNET}extra.weight", "control_model.x.weight"])
    def test_a_key_of_no_network_by_its_name(self, refusal, original, key):
        line = refusal({**original, key: np.zeros(1, np.float32)})
        assert f"{key}: unexpected key, part of no network" in line

    @pytest.mark.parametrize(
        "key",
        [f"{UNET}out.7.weight", f"{VAE}extra.weight", f"{TEXT}text_model.extra.weight"],
    )
    def test_a_key_of_no_weight_by_its_name(self, opened, original, key):
        checkpoint = opened({**original, key: np.zeros(1, np.float32)})
        with pytest.raises(UserError, match="unexpected key, no such weight"):
            weights_of(checkpoint)

    @pytest.mark.parametrize("other", ["out.2.bias", "diffusion_model.out.2.bias"])
    def test_a_weight_that_is_there_twice(self, refusal, original, other):
        line = refusal({**original, other: original[f"{UNET}out.2.bias"]})
        assert f"{UNET}out.2.bias" in line
        assert line.endswith("are both out.2.bias")

    def test_a_missing_weight(self, opened, original):
        tensors = {k: a for k, a in original.items() if k != f"{UNET}out.2.bias"}
        with pytest.raises(UserError, match=r"missing key: conv_out\.bias not in the checkpoint"):
            weights_of(opened(tensors))

    def test_a_second_text_encoder_where_the_family_has_one(self, refusal, original):
        key = "conditioner.embedders.1.model.ln_final.weight"
        line = refusal({**original, key: np.zeros(1, np.float32)})
        assert f"{key}: unexpected key, sd1 has no text_encoder_2" in line

    @pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint16])
    def test_weights_that_are_no_floats(self, refusal, original, dtype):
        key = f"{UNET}out.2.weight"
        line = refusal({**original, key: original[key].astype(dtype)})
        assert f"{key}: weights of dtype {np.dtype(dtype).kind.upper()}" in line

    @pytest.mark.parametrize(
        ("key", "shape"),
        [
            (f"{UNET}input_blocks.0.0.op.weight", (4, 4, 3, 3)),
            (f"{UNET}input_blocks.0.0.weight", (48,)),
            (f"{UNET}out.2.weight", ()),
            (f"{UNET}middle_block.1.proj_in.weight", ()),
            (f"{VAE}decoder.up.99.block.0.conv1.weight", (1,)),
            (f"{VAE}decoder.up.{'9' * 5000}.block.0.conv1.weight", (1,)),
            (f"{UNET}input_blocks.{'9' * 5000}.0.weight", (1,)),
            (f"{TEXT}text_model.embeddings.token_embedding.weight", ()),
        ],
    )
    def test_shapes_and_numbers_that_no_network_has(self, opened, original, key, shape):
        with pytest.raises(UserError):
            weights_of(opened({**original, key: np.zeros(shape, np.float32)}))


@pytest.mark.parametrize("family", FAMILIES)
class TestFamilies:
    @pytest.fixture
    def narrow(self, family):
        return random_networks(family, shrink=32)

    @pytest.mark.parametrize("form", ["safetensors", "ckpt"])
    def test_every_weight_comes_out_as_it_went_in(self, narrow, family, form, tmp_path):
        """q, k and v apart, the square text projection and the vocabulary the right way round."""
        path = write(tmp_path / f"x.{form}", original_tensors(family, narrow))
        options = SourceOptions(family, "epsilon", base=narrow_base(family, tmp_path))
        assert_equal(weights_of(open_checkpoint(path, options)), as_in_layers(narrow))

    def test_all_published_keys_and_shapes_are_accounted_for(self, family, monkeypatch):
        """On stand-ins: nothing is there that could be read."""
        file = published(family)
        monkeypatch.setattr(single_file, "open_tensor_file", lambda path: file)
        checkpoint = single_file.open_single_file(file.path, SourceOptions(prediction="epsilon"))
        assert checkpoint.family == family
        for network in networks(checkpoint):
            Accounted.of(network)
        left_out = reasons(checkpoint)
        assert not left_out.keys() & used(checkpoint)
        assert left_out.keys() | used(checkpoint) == file.tensors.keys()

    @pytest.mark.parametrize("shape", [(), (1, 1)])
    def test_projections_as_matrices_or_convolutions(self, narrow, family, shape, tmp_path):
        tensors = original_tensors(family, narrow, averages=False)
        for projection in (f"{UNET}middle_block.1.proj_in.", f"{UNET}middle_block.1.proj_out."):
            tensors = reshaped(tensors, projection, shape)
        options = SourceOptions(family, "epsilon", base=narrow_base(family, tmp_path))
        path = write(tmp_path / "x.safetensors", tensors)
        assert_equal(weights_of(open_checkpoint(path, options)), as_in_layers(narrow))


@pytest.mark.parametrize(("prediction", "size"), [("epsilon", 64), ("v_prediction", 96)])
def test_the_native_size_of_sd2_follows_from_what_it_predicts(monkeypatch, prediction, size):
    monkeypatch.setattr(single_file, "open_tensor_file", lambda path: published("sd2"))
    options = SourceOptions(prediction=prediction)
    checkpoint = single_file.open_single_file(published("sd2").path, options)
    assert checkpoint.unet.config["sample_size"] == size


def test_channels_of_the_unet_are_those_of_the_file(monkeypatch):
    """Inpainting: nine channels go in."""
    file = published("sd1")
    key = f"{UNET}input_blocks.0.0.weight"
    info = file.tensors[key]
    wide = replace(file, tensors={**file.tensors, key: replace(info, shape=(320, 9, 3, 3))})
    monkeypatch.setattr(single_file, "open_tensor_file", lambda path: wide)
    checkpoint = single_file.open_single_file(file.path, SourceOptions())
    assert checkpoint.unet.config["in_channels"] == 9
    for network in networks(checkpoint):
        Accounted.of(network)
