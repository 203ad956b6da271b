"""What a checkpoint is and what its UNet predicts is told, never guessed in silence."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sdbatch.errors import UserError
from sdbatch.weights import single_file
from sdbatch.weights.family import prediction_of, settled_scheduler
from sdbatch.weights.files.tensor_file import TensorFile, TensorInfo
from sdbatch.weights.options import SourceOptions
from sdbatch.weights.source import open_checkpoint
from tests.weights.checkpoints import DEMO, published
from tests.weights.original import original_tensors, random_networks

UNET = "model.diffusion_model."
UNKNOWN = "is not known: SD 2.x comes as both"


@pytest.fixture
def opened(monkeypatch):
    """`opened(file, **options)`: a file without anything to read, as a checkpoint."""

    def call(file, **options):
        monkeypatch.setattr(single_file, "open_tensor_file", lambda path: file)
        return single_file.open_single_file(file.path, SourceOptions(**options))

    return call


@pytest.fixture
def refusal(opened):
    def call(file, **options) -> str:
        with pytest.raises(UserError) as caught:
            opened(file, **options)
        line = str(caught.value)
        assert len(line.splitlines()) == 1
        assert line.startswith(f"{file.path}: ")
        return line.removeprefix(f"{file.path}: ")

    return call


def of_keys(*keys: str, shape=(4, 4)) -> TensorFile:
    """A file with these keys."""
    info = TensorInfo("F32", shape, 0, 0)
    return TensorFile(Path("other.safetensors"), dict.fromkeys(keys, info))


def with_keys(file: TensorFile, *keys: str) -> TensorFile:
    """The file with scalars besides."""
    marks = dict.fromkeys(keys, TensorInfo("F32", (), 0, 0))
    return replace(file, tensors={**file.tensors, **marks})


class TestFamily:
    @pytest.mark.parametrize(
        ("family", "evidence"),
        [
            ("sd1", "cross-attention reads 768 channels"),
            ("sd2", "cross-attention reads 1024 channels"),
            (
                "sdxl",
                "cross-attention reads 2048 channels, and there is an embedding of sizes and "
                "pooled text",
            ),
        ],
    )
    def test_is_told_by_keys_and_shapes(self, opened, family, evidence):
        checkpoint = opened(published(family), prediction="epsilon")
        assert checkpoint.family == family
        assert checkpoint.evidence[0] == f"family {family}: {evidence}"
        assert len(checkpoint.text_encoders) == len(checkpoint.tokenizers)
        assert len(checkpoint.tokenizers) == (2 if family == "sdxl" else 1)

    def test_of_another_width_is_told_by_the_kind_of_projection(self, opened):
        checkpoint = open_checkpoint(DEMO)
        assert checkpoint.evidence[0] == (
            "family sd1: cross-attention reads 128 channels, projections are 1x1 convolutions"
        )
        tensors = {
            f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (8, 128),
            f"{UNET}input_blocks.1.1.proj_in.weight": (8, 8),
        }
        infos = {key: TensorInfo("F32", shape, 0, 0) for key, shape in tensors.items()}
        file = TensorFile(Path("x.safetensors"), infos)
        with pytest.raises(UserError, match=UNKNOWN):
            opened(file)

    @pytest.mark.parametrize(
        ("family", "wanted"), [("sd1", "sd2"), ("sd2", "sd1"), ("sdxl", "sd1")]
    )
    def test_that_was_asked_for_must_be_the_one_that_is_there(self, refusal, family, wanted):
        line = refusal(published(family), family=wanted)
        assert line.startswith(f"family {wanted} was asked for, but this is {family}: cross-attent")

    def test_of_a_folder_is_checked_too(self):
        assert open_checkpoint(DEMO, SourceOptions(family="sd1")).family == "sd1"
        with pytest.raises(UserError, match="family sdxl was asked for, but this is sd1"):
            open_checkpoint(DEMO, SourceOptions(family="sdxl"))


class TestOtherFiles:
    def test_the_refiner(self, refusal):
        file = of_keys(
            f"{UNET}label_emb.0.0.weight",
            f"{UNET}input_blocks.4.1.proj_in.weight",
            f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
            "conditioner.embedders.0.model.ln_final.weight",
            shape=(768, 1280),
        )
        assert refusal(file).startswith("the SDXL refiner is not supported (cross-attention reads")

    @pytest.mark.parametrize(
        ("keys", "expected"),
        [
            (
                ["lora_unet_x.lora_down.weight", "lora_unet_x.alpha"],
                "a LoRA; give it as model.loras",
            ),
            (["unet.up_blocks.0.to_q.lora_A.weight"], "a LoRA; give it as model.loras"),
            (["transformer.single_transformer_blocks.0.attn.to_k.lora_B.weight"], "a LoRA"),
            (["emb_params"], "a textual inversion; give it as model.embeddings"),
            (["string_to_param.*"], "a textual inversion; give it as model.embeddings"),
            (["control_model.time_embed.0.weight"], "a ControlNet, which is not supported"),
            (
                [f"{UNET}context_embedder.bias", f"{UNET}joint_blocks.0.x_block.attn.qkv.weight"],
                "a diffusion transformer (SD 3, FLUX), which is not supported",
            ),
            (["img_in.bias", "double_blocks.0.img_attn.qkv.weight"], "a diffusion transformer (SD"),
            (
                ["conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"],
                "a network of diffusers; give the folder that has model_index.json",
            ),
            (["decoder.conv_in.bias", "decoder.up_blocks.0.x.weight"], "a network of diffusers"),
        ],
    )
    def test_are_called_by_what_they_seem_to_be(self, refusal, keys, expected):
        line = refusal(of_keys(*keys))
        assert "unexpected key, part of no network of a Stable Diffusion checkpoint" in line
        assert f"; this looks like {expected}" in line

    def test_something_else(self, refusal):
        line = refusal(of_keys("fc1.weight", "fc2.weight"))
        assert line.startswith("fc1.weight: unexpected key")
        assert "looks like" not in line

    @pytest.mark.parametrize("prefix", ["first_stage_model.", ""])
    def test_a_vae_by_itself(self, refusal, prefix):
        line = refusal(of_keys(f"{prefix}decoder.conv_in.bias"))
        assert line.startswith("no UNet in it; expected a Stable Diffusion checkpoint")
        assert line.endswith("; a VAE by itself is given as model.vae")

    def test_a_file_without_tensors(self, refusal):
        assert refusal(of_keys()).endswith("found keys such as no tensors")

    def test_a_unet_without_cross_attention(self, refusal):
        line = refusal(of_keys(f"{UNET}out.2.weight"))
        assert line.startswith(
            "no UNet of a Stable Diffusion (no cross-attention); expected SD 1.x"
        )
        assert line.endswith("found keys such as out.2.weight")


def predicted(file: TensorFile, family: str, wanted: str | None = None) -> str:
    """The line of evidence; the answer must be the one that it gives."""
    prediction, line = prediction_of(file, family, wanted)
    assert line.startswith(f"prediction {prediction}: ")
    return line.removeprefix("prediction ")


class TestPredictionOfAFile:
    @pytest.mark.parametrize("family", ["sd1", "sdxl"])
    def test_is_noise_where_sd1_and_xl_do_not_say(self, family):
        line = predicted(of_keys(), family)
        assert line == f"epsilon: the file does not say, and {family} is published so"

    def test_must_be_told_for_sd2(self):
        with pytest.raises(UserError, match=f"{UNKNOWN} and the file does not say; give predict"):
            prediction_of(of_keys(), "sd2", None)
        assert predicted(of_keys(), "sd2", "v_prediction") == "v_prediction: asked for"

    @pytest.mark.parametrize("prefix", ["", "state_dict.", "module."])
    def test_a_key_may_say_v(self, prefix):
        file = with_keys(of_keys(), f"{prefix}v_pred")
        assert predicted(file, "sdxl") == "v_prediction: the key v_pred says so"

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ("epsilon", "epsilon"),
            ("eps", "epsilon"),
            ("v", "v_prediction"),
            ("V", "v_prediction"),
            ("v_prediction", "v_prediction"),
            ("v-prediction", "v_prediction"),
            ("sample", "sample"),
        ],
    )
    def test_metadata_may_say_it(self, said, expected):
        file = replace(of_keys(), metadata={"modelspec.prediction_type": said})
        for family in ("sd1", "sd2"):
            found = predicted(file, family)
            assert found == f"{expected}: modelspec.prediction_type in its metadata says so"

    def test_what_metadata_says_must_be_known(self):
        file = replace(of_keys(), metadata={"modelspec.prediction_type": "flow\nmatching"})
        with pytest.raises(UserError) as caught:
            prediction_of(file, "sd1", None)
        assert "says prediction flow matching, which is not known; give pred" in str(caught.value)
        assert predicted(file, "sd1", "epsilon").startswith(
            "epsilon: asked for, although modelspec"
        )

    def test_a_key_wins_over_metadata_and_that_over_a_config(self, tmp_path):
        (tmp_path / "m.yaml").write_text("model: {params: {parameterization: x0}}")
        said = {"modelspec.prediction_type": "epsilon"}
        file = replace(of_keys(), path=tmp_path / "m.safetensors", metadata=said)
        assert predicted(with_keys(file, "v_pred"), "sd1").startswith("v_prediction: the key")
        assert predicted(file, "sd1").startswith("epsilon: modelspec")
        assert predicted(replace(file, metadata={}), "sd1") == "sample: m.yaml says so"

    @pytest.mark.parametrize(
        ("said", "found"), [("epsilon", "v_prediction"), ("v_prediction", "epsilon")]
    )
    def test_what_is_asked_for_wins_and_the_contradiction_is_said(self, said, found):
        file = replace(of_keys(), metadata={"modelspec.prediction_type": said})
        assert predicted(file, "sd2", found) == (
            f"{found}: asked for, although modelspec.prediction_type in its metadata says {said}"
        )
        assert predicted(file, "sd2", said) == f"{said}: asked for"


class TestConfigBeside:
    @pytest.fixture
    def beside(self, tmp_path):
        """`beside(text)`: a file with this config of the same name."""

        def call(text: str | bytes) -> TensorFile:
            content = text if isinstance(text, bytes) else text.encode()
            (tmp_path / "model v2.yaml").write_bytes(content)
            return replace(of_keys(), path=tmp_path / "model v2.ckpt")

        return call

    @pytest.mark.parametrize(
        ("parameters", "expected"),
        [
            ("{parameterization: eps}", "epsilon"),
            ("{parameterization: v}", "v_prediction"),
            ("{parameterization: x0}", "sample"),
            ("{linear_start: 0.00085}", "epsilon"),
            ("{denoiser_config: {params: {scaling_config: {target: a.VScaling}}}}", "v_prediction"),
            ("{denoiser_config: {params: {scaling_config: {target: a.EpsScaling}}}}", "epsilon"),
        ],
    )
    def test_says_it(self, beside, parameters, expected):
        file = beside(f"model:\n  target: ldm.LatentDiffusion\n  params: {parameters}\n")
        assert predicted(file, "sd2") == f"{expected}: model v2.yaml says so"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "- a\n",
            "model: 1\n",
            "model: {params: [v]}\n",
            "model: {params: null}\n",
            "model: {params: {denoiser_config: {}}}\n",
            "model: {params: {denoiser_config: {params: {scaling_config: {target: 1}}}}}\n",
            "model: !!python/object/apply:os.system ['echo']\n",
            "model: [\n",
            "[" * 10_000,
            b"model: \xff\n",
        ],
    )
    def test_that_is_something_else_is_refused_by_name(self, beside, text):
        file = beside(text)
        with pytest.raises(UserError) as caught:
            prediction_of(file, "sd2", None)
        line = str(caught.value)
        assert line.startswith(f"{file.path.with_suffix('.yaml')}: ")
        assert len(line.splitlines()) == 1

    @pytest.mark.parametrize("said", ["mu", "[v]", "{v: 1}", "1"])
    def test_that_says_something_unknown_is_refused(self, beside, said):
        file = beside(f"model: {{params: {{parameterization: {said}}}}}\n")
        with pytest.raises(UserError, match=r"model v2\.yaml says prediction .* is not known"):
            prediction_of(file, "sd2", None)


class TestSchedulerOfAFile:
    def test_is_the_familys_with_the_prediction(self, opened):
        for prediction in ("epsilon", "v_prediction"):
            scheduler = opened(published("sd2"), prediction=prediction).scheduler
            assert scheduler["prediction_type"] == prediction
            assert "rescale_betas_zero_snr" not in scheduler

    @pytest.mark.parametrize("container", ["", "module."])
    def test_ends_in_noise_alone_where_a_key_says_so(self, opened, container):
        file = published("sdxl")
        file = replace(file, tensors={f"{container}{k}": i for k, i in file.tensors.items()})
        checkpoint = opened(with_keys(file, f"{container}v_pred", f"{container}ztsnr"))
        assert checkpoint.scheduler["rescale_betas_zero_snr"] is True
        assert checkpoint.scheduler["prediction_type"] == "v_prediction"
        marks = {item.key: item.reason for item in checkpoint.dropped}
        assert marks[f"{container}ztsnr"] == "a mark of what the UNet predicts, not a weight"


class TestPredictionOfAFolder:
    path = Path("scheduler_config.json")

    @pytest.mark.parametrize(
        ("config", "wanted", "prediction", "line"),
        [
            ({"prediction_type": "v_prediction"}, None, "v_prediction", f"{path} says so"),
            ({}, None, "epsilon", f"{path} names none, which diffusers takes to mean this"),
            ({}, "v_prediction", "v_prediction", "asked for"),
            ({"prediction_type": "epsilon"}, "epsilon", "epsilon", "asked for"),
            (
                {"prediction_type": "epsilon"},
                "sample",
                "sample",
                f"asked for, although {path} says epsilon",
            ),
        ],
    )
    def test_is_what_is_asked_for_else_what_its_scheduler_says(
        self, config, wanted, prediction, line
    ):
        scheduler, evidence = settled_scheduler({"beta_end": 0.012, **config}, self.path, wanted)
        assert scheduler == {"beta_end": 0.012, "prediction_type": prediction}
        assert evidence == f"prediction {prediction}: {line}"

    def test_changes_the_digest_of_the_configs(self):
        plain, same, other = (
            open_checkpoint(DEMO, SourceOptions(prediction=prediction))
            for prediction in (None, "epsilon", "v_prediction")
        )
        assert plain.config_sha256 == same.config_sha256 != other.config_sha256
        assert plain.weights_sha256 == other.weights_sha256


def test_metadata_of_a_real_file_is_read(tmp_path):
    networks = random_networks("demo", shrink=32)
    tensors = {k: np.ascontiguousarray(a) for k, a in original_tensors("demo", networks).items()}
    path = tmp_path / "x.safetensors"
    save_file(tensors, path, {"modelspec.prediction_type": "v"})
    checkpoint = open_checkpoint(path, SourceOptions(base=DEMO))
    assert checkpoint.scheduler["prediction_type"] == "v_prediction"
    assert checkpoint.evidence[1].endswith("modelspec.prediction_type in its metadata says so")
