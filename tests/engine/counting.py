"""Bytes that Paddle allocates for one call of a network, by its own counters.

A process's peak never falls, so the cases must need more and more. Run with a JSON list of cases;
prints a JSON list of peaks beside what was held before the call.
"""

import json
import sys

import paddle

from sdbatch.models.attention import attention_kernels
from sdbatch.models.config import UNetConfig, VAEConfig
from sdbatch.models.kernels import AttentionKernels
from sdbatch.models.unet import UNet
from sdbatch.models.vae import VAE

_CURRENT = paddle.base.core.host_memory_stat_current_value
_PEAK = paddle.base.core.host_memory_stat_peak_value


def main(cases: list[dict]) -> list[int]:
    return [_counted(**case) for case in cases]


def _counted(
    network: str, config: dict, rows: int, height: int, width: int, score_bytes: int
) -> int:
    latents = paddle.zeros([rows, 4, height, width])
    if network == "vae":
        layer = VAE(VAEConfig.from_dict(config))
        call, arguments = layer.decode, [latents]
    else:
        layer = UNet(UNetConfig.from_dict(config))
        context = paddle.zeros([rows, 77, layer.config.cross_attention_dim[0]])
        call, arguments = layer, [latents, paddle.zeros([rows]), context]
    held, before = _CURRENT("Allocated", 0), _PEAK("Allocated", 0)
    with paddle.no_grad(), attention_kernels(AttentionKernels(score_bytes=score_bytes)):
        call(*arguments)
    peak = _PEAK("Allocated", 0)
    if peak <= before:
        raise ValueError("an earlier case needed more: put this one before it")
    return peak - held


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
