"""Every way of executing a network gives the numbers of plain Paddle layers, for any batch.

Tolerances are relative L2 distances: 1e-5 in float32, 2e-2 in bfloat16, and 3e-2 there on flat
inputs, where PyTorch in bfloat16 is as far from float32 (0.019 where this is 0.022). These tests
are what would catch the faults of Paddle Inference that `predictor.py` avoids.
"""

import numpy as np
import paddle
import pytest

from sdbatch.engine.cache import ProgramCache
from sdbatch.engine.device import Device
from sdbatch.engine.execution import Compilable, Dygraph, Inference, Static, make_execution
from sdbatch.engine.options import EngineOptions, PredictorOptions
from sdbatch.models.kernels import AttentionKernels
from sdbatch.models.text import TextReading
from tests.conftest import relative_error
from tests.engine.marks import needs_bf16
from tests.engine.networks import unet, unet_inputs, vae
from tests.text.xlm import encoder, record, write_tokenizer


def tolerance(name: str, *, flat: bool = False) -> float:
    if name != "bf16":
        return 1e-5
    return 3e-2 if flat else 2e-2


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return ProgramCache(tmp_path_factory.mktemp("programs"), 1 << 30)


@pytest.fixture(
    params=["static", "inference", pytest.param("bf16", marks=needs_bf16)], scope="module"
)
def execution(request, cache):
    if request.param == "static":
        return request.param, Static()
    bf16 = request.param == "bf16"
    return request.param, Inference(PredictorOptions(threads=1, bf16=bf16), cache)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@paddle.no_grad()
def test_unets_give_the_numbers_of_plain_layers(execution, family):
    name, way = execution
    layer = unet(family)
    call = way.compile(Compilable("unet", layer, layer, {"family": family}, bears_bf16=True))
    for flat in (False, True):
        for batch in (2, 1):  # one program serves both
            inputs = unet_inputs(family, batch, 16, flat=flat)
            error = relative_error(call(*inputs).numpy(), layer(*inputs).numpy())
            assert error < tolerance(name, flat=flat), f"flat={flat} batch={batch}"


@pytest.mark.parametrize("kernels", [AttentionKernels(score_bytes=1 << 14), AttentionKernels()])
@paddle.no_grad()
def test_attention_in_slices_is_attention(cache, kernels):
    layer = unet("sd1")
    inputs = unet_inputs("sd1", 2, 16)
    call = Inference(PredictorOptions(), cache, kernels).compile(
        Compilable("unet", layer, layer, {})
    )
    whole = Dygraph(AttentionKernels(score_bytes=1 << 40)).compile(
        Compilable("unet", layer, layer, {})
    )
    assert relative_error(call(*inputs).numpy(), whole(*inputs).numpy()) < 1e-5


@paddle.no_grad()
def test_latents_with_odd_sides_have_their_own_program(execution):
    name, way = execution
    layer = unet("sd1")
    call = way.compile(Compilable("unet", layer, layer, {}, bears_bf16=True))
    for side in (8, 11):
        inputs = unet_inputs("sd1", 1, side)
        assert relative_error(call(*inputs).numpy(), layer(*inputs).numpy()) < tolerance(name)


@pytest.mark.parametrize("variant", ["plain", "pre"])
@paddle.no_grad()
def test_xlm_roberta_gives_the_states_of_diffusers(execution, variant, tmp_path):
    name, way = execution
    network = encoder(variant, write_tokenizer(tmp_path / "tokenizer")).network
    reading = TextReading(network, 0, True)
    call = way.compile(Compilable("text_encoder", reading, reading, {"variant": variant}))
    for text in (1, 3):  # the second has the padding's own token inside
        ids, states = (record()[f"{variant}/{text}/0/{part}"] for part in ("ids", "0"))
        found = call(paddle.to_tensor(ids[None]))[0]
        assert relative_error(found.numpy()[0], states) < tolerance(name)


@pytest.mark.parametrize("flat", [False, True])
@paddle.no_grad()
def test_autoencoders_give_the_numbers_of_plain_layers_in_float32(execution, flat):
    """Also where the job is in bfloat16, which they do not bear."""
    _, way = execution
    layer = vae()
    decode = way.compile(Compilable("vae.decode", layer, layer.decode, {}))
    encode = way.compile(Compilable("vae.encode", layer, layer.encode, {}))
    scale, offset = (1e-3, 0.3) if flat else (1.0, 0.0)
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(1, 4, 8, 8), scale=scale) + offset
    pixels = rng.normal(size=(1, 3, 64, 64), scale=scale) + offset
    latents, pixels = (paddle.to_tensor(a.astype("float32")) for a in (latents, pixels))
    assert relative_error(decode(latents).numpy(), layer.decode(latents).numpy()) < 1e-5
    for found, expected in zip(encode(pixels), layer.encode(pixels), strict=True):
        assert relative_error(found.numpy(), expected.numpy()) < 1e-5


@paddle.no_grad()
def test_the_result_of_a_run_outlives_the_next(execution):
    _, way = execution
    layer = unet("sd1")
    call = way.compile(Compilable("unet", layer, layer, {}))
    first = call(*unet_inputs("sd1", 1, 8))
    kept = first.numpy().copy()
    call(*unet_inputs("sd1", 1, 8, flat=True))
    assert np.array_equal(first.numpy(), kept)


class TestInference:
    @paddle.no_grad()
    def test_networks_of_one_shape_share_a_program_and_keep_their_weights(self, tmp_path):
        way = Inference(PredictorOptions(), ProgramCache(tmp_path, 1 << 30))
        one, other = unet("sd1"), unet("sd1")
        for parameter in other.parameters():
            parameter.set_value(parameter * 0.9)
        inputs = unet_inputs("sd1", 1, 8)
        calls = [way.compile(Compilable("unet", layer, layer, {})) for layer in (one, other)]
        found = [call(*inputs).numpy() for call in calls]
        assert len(list(tmp_path.iterdir())) == 1
        for values, layer in zip(found, (one, other), strict=True):
            assert relative_error(values, layer(*inputs).numpy()) < 1e-5

    @paddle.no_grad()
    def test_a_program_on_disk_serves_the_next_process(self, tmp_path, monkeypatch):
        layer, inputs = unet("sd1"), unet_inputs("sd1", 1, 8)
        network = Compilable("unet", layer, layer, {})
        way = Inference(PredictorOptions(), ProgramCache(tmp_path, 1 << 30))
        first = way.compile(network)(*inputs).numpy()
        monkeypatch.setattr("sdbatch.engine.execution.trace", None)
        again = way.compile(network)(*inputs).numpy()
        assert np.array_equal(first, again)

    def test_what_changes_a_program_changes_its_key(self, tmp_path):
        cache = ProgramCache(tmp_path, 1 << 30)
        layer = unet("sd1")
        network = Compilable("unet", layer, layer, {"a": 1})
        plain = Inference(PredictorOptions(), cache)
        specs = []
        keys = [
            plain.key(network, specs),
            plain.key(Compilable("unet", layer, layer, {"a": 2}), specs),
            plain.key(Compilable("other", layer, layer, {"a": 1}), specs),
            plain.key(Compilable("unet", vae(), layer, {"a": 1}), specs),
            plain.key(network, [None]),
            Inference(PredictorOptions(device="gpu:0"), cache).key(network, specs),
            Inference(PredictorOptions(), cache, AttentionKernels(flash=64)).key(network, specs),
        ]
        assert all(a != b for i, a in enumerate(keys) for b in keys[:i])

    @paddle.no_grad()
    def test_predictors_unused_for_longest_go_where_memory_is_short(self, tmp_path, monkeypatch):
        layer = unet("sd1")
        way = Inference(PredictorOptions(), ProgramCache(tmp_path, 1 << 30))
        call = way.compile(Compilable("unet", layer, layer, {}))
        call(*unet_inputs("sd1", 1, 8))
        monkeypatch.setattr("sdbatch.engine.execution.available_memory", lambda: 0)
        call(*unet_inputs("sd1", 1, 16))
        assert len(call._programs[""]._predictors) == 1
        inputs = unet_inputs("sd1", 1, 8)
        assert relative_error(call(*inputs).numpy(), layer(*inputs).numpy()) < 1e-5

    @paddle.no_grad()
    def test_a_large_network_takes_one_row_after_the_other(self, cache, monkeypatch):
        layer, inputs = unet("sdxl"), unet_inputs("sdxl", 3, 16)
        monkeypatch.setattr("sdbatch.engine.execution.ROW_BY_ROW_BYTES", 1)
        call = Inference(PredictorOptions(), cache).compile(Compilable("unet", layer, layer, {}))
        assert relative_error(call(*inputs).numpy(), layer(*inputs).numpy()) < 1e-5
        alone = [call(*[a if a is None else a[i : i + 1] for a in inputs]) for i in range(3)]
        assert np.array_equal(call(*inputs).numpy(), paddle.concat(alone).numpy())

    @paddle.no_grad()
    def test_pages_of_the_weights_file_are_let_go_once_they_were_copied(self, cache, monkeypatch):
        forgotten = []
        monkeypatch.setattr("sdbatch.engine.execution.forget_file_pages", forgotten.append)
        layer = unet("sd1")
        network = Compilable("unet", layer, layer, {}, files=["weights"])
        call = Inference(PredictorOptions(), cache).compile(network)
        for _ in range(2):
            call(*unet_inputs("sd1", 1, 8))
        assert forgotten == [["weights"]]

    @pytest.mark.parametrize("bf16", [False, pytest.param(True, marks=needs_bf16)])
    @paddle.no_grad()
    def test_large_networks_in_turn_keep_their_numbers_in_parts(self, cache, monkeypatch, bf16):
        """More programs than oneDNN keeps the copies of by default, and some of them let go."""
        monkeypatch.setattr("sdbatch.engine.execution.FRUGAL_BYTES", 1)
        way = Inference(PredictorOptions(bf16=bf16), cache)
        most = tolerance("bf16" if bf16 else "fp32")
        layer, autoencoder = unet("sdxl"), vae()
        inputs, latents = unet_inputs("sdxl", 2, 11), paddle.randn([2, 4, 8, 8])
        expected, pixels = layer(*inputs).numpy(), autoencoder.decode(latents).numpy()
        whole = way.compile(
            Compilable("unet.whole", layer, layer.whole, {}, in_parts=True, bears_bf16=True)
        )
        decode = way.compile(
            Compilable("vae", autoencoder, autoencoder.decode, {}, in_parts=True, seldom=True)
        )
        for _ in range(3):
            assert relative_error(whole(*inputs)[0].numpy(), expected) < most
            assert relative_error(decode(latents).numpy(), pixels) < 1e-5

    @paddle.no_grad()
    def test_the_outermost_level_in_parts_takes_the_deep_features(self, cache, monkeypatch):
        monkeypatch.setattr("sdbatch.engine.execution.FRUGAL_BYTES", 1)
        layer = unet("sd1")
        latents, timesteps, context = unet_inputs("sd1", 1, 16)[:3]
        expected, deep = layer.whole(latents, timesteps, context)
        network = Compilable("unet.outermost", layer, layer.outermost, {}, in_parts=True)
        call = Inference(PredictorOptions(), cache).compile(network)
        found = call(latents, timesteps, context, deep)
        assert relative_error(found.numpy(), expected.numpy()) < 1e-5

    @paddle.no_grad()
    def test_a_large_network_called_seldom_leaves_no_predictor(self, cache, monkeypatch):
        monkeypatch.setattr("sdbatch.engine.execution.FRUGAL_BYTES", 1)
        forgotten, returned, layer = [], [], vae()
        monkeypatch.setattr("sdbatch.engine.execution.forget_file_pages", forgotten.append)
        monkeypatch.setattr(
            "sdbatch.engine.execution.return_freed_memory", lambda: returned.append(1)
        )
        network = Compilable("vae", layer, layer.decode, {}, ["a", "b"], in_parts=True, seldom=True)
        call = Inference(PredictorOptions(), cache).compile(network)
        call(paddle.randn([1, 4, 8, 8]))
        assert len(call._programs) > 10
        assert not any(programs._predictors for programs in call._programs.values())
        # Once before, for the other networks' pages, then after each part.
        assert len(forgotten) == len(call._programs) + 1
        # Once before, then where what comes is larger than what was.
        assert 1 < len(returned) < len(forgotten)


@pytest.mark.parametrize(
    ("name", "precision", "kind", "bf16"),
    [
        ("dygraph", "fp32", Dygraph, None),
        ("static", "fp32", Static, None),
        ("inference", "fp32", Inference, False),
        ("inference", "bf16", Inference, True),
    ],
)
def test_the_engines_name_decides(tmp_path, name, precision, kind, bf16):
    options = EngineOptions(name, tmp_path, 1 << 20)
    found = make_execution(options, Device("cpu", precision, cores=(0,)))
    assert type(found) is kind
    if bf16 is not None:
        assert found.options == PredictorOptions(device="cpu", threads=1, bf16=bf16)
