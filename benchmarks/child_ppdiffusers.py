"""ppdiffusers as a peer, called operation by operation, which is how its pipelines run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Ppdiffusers:
    """See `child.Side`; networks alone, no whole pictures."""

    def __init__(self, spec: dict[str, Any]):
        # As for sdbatch: Paddle's own default is a single thread.
        os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
        warnings.filterwarnings("ignore")
        import paddle
        import ppdiffusers

        paddle.set_device(spec["device"])
        names = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
        self._dtype = names[spec["precision"]]
        self._folder = Path(spec["folder"])
        self.version = f"paddle {paddle.__version__}, ppdiffusers {ppdiffusers.__version__}"

    def load(self, networks: list[str]) -> None:
        """Each network by its own class."""
        from ppdiffusers import AutoencoderKL, UNet2DConditionModel

        if "unet" in networks:
            self._unet = self._open(UNet2DConditionModel, "unet")
        if "vae" in networks:
            self._vae = self._open(AutoencoderKL, "vae")

    def unet(self, inputs: dict[str, Any]) -> Callable[[], Any]:
        """The call that the pipeline makes at every step."""
        tensors = self._tensors(inputs)
        added = {"text_embeds": tensors.get("pooled"), "time_ids": tensors.get("time_ids")}
        positional = [tensors[name] for name in ("latents", "timesteps", "context")]
        return _without_gradients(
            lambda: self._unet(*positional, added_cond_kwargs=added, return_dict=False)[0]
        )

    def vae(self, inputs: dict[str, Any]) -> Callable[[], Any]:
        """The decoder's."""
        latents = self._tensors(inputs)["latents"]
        return _without_gradients(lambda: self._vae.decode(latents, return_dict=False)[0])

    def picture(self, batch: int, side: int, steps: int) -> tuple[Any, dict[str, float]]:
        """Not compared."""
        raise NotImplementedError("ppdiffusers is measured by its networks, not by whole pictures")

    def fetch(self, result: Any) -> Any:
        """float32, on the host."""
        return result.astype("float32").numpy()

    def device_bytes(self) -> int | None:
        """None on a CPU."""
        import paddle

        on_gpu = paddle.device.get_device().startswith("gpu")
        return paddle.device.cuda.max_memory_allocated() if on_gpu else None

    def product(self, size: int) -> Callable[[], Any]:
        """As Paddle multiplies."""
        import paddle

        values = paddle.randn([size, size]).astype(self._dtype)
        return _without_gradients(lambda: paddle.matmul(values, values))

    def _open(self, kind: Any, name: str) -> Any:
        layer = kind.from_pretrained(str(self._folder / name), from_diffusers=True)
        layer.to(dtype=self._dtype)
        layer.eval()
        return layer

    def _tensors(self, inputs: dict[str, Any]) -> dict[str, Any]:
        import paddle

        return {name: paddle.to_tensor(array).astype(self._dtype) for name, array in inputs.items()}


def _without_gradients(call: Callable[[], Any]) -> Callable[[], Any]:
    import paddle

    return paddle.no_grad()(call)
