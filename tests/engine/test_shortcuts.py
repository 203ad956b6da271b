"""Shortcuts under every engine: merged tokens and kept features, with plain layers' numbers."""

from dataclasses import replace

import numpy as np
import paddle
import pytest

from sdbatch.engine.cache import ProgramCache
from sdbatch.engine.device import Device
from sdbatch.engine.execution import Compilable, Inference, Static
from sdbatch.engine.load import load_pipeline
from sdbatch.engine.options import PredictorOptions
from sdbatch.models.config import UNetConfig
from sdbatch.models.unet import UNet
from sdbatch.samplers import Sampler
from sdbatch.shortcuts import Shortcuts
from sdbatch.weights.source import open_checkpoint
from tests.conftest import ASSETS, relative_error
from tests.engine.networks import UNETS, seeded, unet_inputs
from tests.examples import a_request

# Two levels, and all that the network of any family reads.
TINY = {
    **UNETS["sdxl"],
    "block_out_channels": [16, 16],
    "down_block_types": ["CrossAttnDownBlock2D"] * 2,
    "up_block_types": ["CrossAttnUpBlock2D"] * 2,
    "attention_head_dim": 2,
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
}


@pytest.fixture(scope="module")
def inference(tmp_path_factory):
    cache = ProgramCache(tmp_path_factory.mktemp("programs"), 1 << 30)
    return Inference(PredictorOptions(threads=1), cache)


@pytest.fixture(params=["static", "inference"])
def execution(request, inference):
    return inference if request.param == "inference" else Static()


@paddle.no_grad()
def test_every_way_of_calling_a_unet(execution):
    layer = seeded(UNet(UNetConfig.from_dict(TINY), token_merging=0.5))
    whole, outermost = (
        execution.compile(Compilable(f"unet.{call.__name__}", layer, call, {}))
        for call in (layer.whole, layer.outermost)
    )
    # Of `inference` one program serves both; `static` makes one for each, slowly.
    for batch in (2, 1) if isinstance(execution, Inference) else (2,):
        first = unet_inputs("sdxl", batch, 9)
        found, expected = whole(*first), layer.whole(*first)
        for one, other in zip(found, expected, strict=True):
            assert relative_error(one.numpy(), other.numpy()) < 1e-5
        later = [*first[:3], expected[1], *first[3:]]
        found, expected = outermost(*later), layer.outermost(*later)
        assert relative_error(found.numpy(), expected.numpy()) < 1e-5


def test_pictures_do_not_depend_on_the_engine(inference):
    checkpoint = open_checkpoint(ASSETS / "demo")
    sampler = Sampler.from_config(checkpoint.scheduler)
    shortcuts = Shortcuts((0.2, 0.8), token_merging=0.5, feature_reuse=2)
    plain, fast = (
        load_pipeline(checkpoint, sampler, Device("cpu", "fp32"), shortcuts=shortcuts, **execution)
        for execution in ({}, {"execution": inference})
    )
    fast = replace(plain, unet=fast.unet)  # the other networks have no shortcuts
    requests = [a_request(seed=seed, steps=6) for seed in (1, 2)]
    assert np.abs(plain.generate(requests) - fast.generate(requests)).max() < 1e-3
