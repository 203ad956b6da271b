"""Pictures made in bfloat16 on a CPU are those of float32 to the eye: 45 dB and more."""

import numpy as np

from sdbatch.engine.cache import ProgramCache
from sdbatch.engine.device import Device
from sdbatch.engine.execution import Inference
from sdbatch.engine.load import load_pipeline
from sdbatch.engine.options import PredictorOptions
from sdbatch.request import ImageRequest
from sdbatch.weights.source import open_checkpoint
from tests.conftest import ASSETS
from tests.engine.marks import needs_bf16

PROMPTS = (
    "a large red circle on a blue background",
    "a small green star on a white background",
    "a yellow square on a black background",
    "a blue heart on a red background",
)


@needs_bf16
def test_bfloat16_keeps_45_decibels_over_whole_pictures(pipelines, tmp_path):
    plain = pipelines("demo")
    way = Inference(PredictorOptions(bf16=True), ProgramCache(tmp_path, 1 << 30))
    half = load_pipeline(
        open_checkpoint(ASSETS / "demo"), plain.sampler, Device("cpu", "bf16"), execution=way
    )
    requests = [
        ImageRequest(prompt, "", seed, 128, 128, 20, 7.5) for seed, prompt in enumerate(PROMPTS)
    ]
    found, expected = half.generate(requests), plain.generate(requests)
    assert not np.array_equal(found, expected)
    psnr = -10 * np.log10(np.mean((found - expected) ** 2))
    assert psnr > 45
