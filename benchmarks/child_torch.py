"""PyTorch diffusers as a peer: with its default attention (SDPA), or by torch.compile."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from child import PROMPT, SEED


class Diffusers:
    """See `child.Side`."""

    def __init__(self, spec: dict[str, Any]):
        if spec["cache"]:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(spec["cache"]) / "inductor")
        warnings.filterwarnings("ignore")
        import diffusers
        import torch
        from diffusers import StableDiffusionPipeline, UNet2DConditionModel  # noqa: F401  lazy

        names = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
        self._dtype = names[spec["precision"]]
        self._device = "cuda" if spec["device"] == "gpu" else "cpu"
        self._compiled = spec["engine"] == "compile"
        self._folder = Path(spec["folder"])
        self.version = f"torch {torch.__version__}, diffusers {diffusers.__version__}"

    def load(self, networks: list[str]) -> None:
        """A network alone by its own class, a whole picture's by the pipeline's."""
        from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel

        if "text" in networks:
            pipe = DiffusionPipeline.from_pretrained(
                self._folder, torch_dtype=self._dtype, safety_checker=None
            ).to(self._device)
            pipe.set_progress_bar_config(disable=True)
            pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
            pipe.unet = self._fast(pipe.unet)
            pipe.vae.decode = self._fast(pipe.vae.decode)
            self._pipe = pipe
        elif "unet" in networks:
            self._unet = self._fast(self._open(UNet2DConditionModel, "unet", self._dtype))
        else:
            import torch

            config = AutoencoderKL.load_config(self._folder / "vae")
            # As the pipelines do, and we do: half precision overflows in such a decoder.
            upcast = config.get("force_upcast", True) and self._dtype == torch.float16
            dtype = torch.float32 if upcast else self._dtype
            self._vae = self._open(AutoencoderKL, "vae", dtype)
            self._decode = self._fast(self._vae.decode)

    def unet(self, inputs: dict[str, Any]) -> Callable[[], Any]:
        """The call that the pipeline makes at every step."""
        tensors = self._tensors(inputs, self._dtype)
        added = {"text_embeds": tensors["pooled"]} if "pooled" in tensors else {}
        added |= {"time_ids": tensors["time_ids"]} if "time_ids" in tensors else {}
        positional = [tensors[name] for name in ("latents", "timesteps", "context")]
        return _without_gradients(
            lambda: self._unet(*positional, added_cond_kwargs=added, return_dict=False)[0]
        )

    def vae(self, inputs: dict[str, Any]) -> Callable[[], Any]:
        """The decoder's."""
        latents = self._tensors(inputs, self._vae.dtype)["latents"]
        return _without_gradients(lambda: self._decode(latents, return_dict=False)[0])

    def picture(self, batch: int, side: int, steps: int) -> tuple[Any, dict[str, float]]:
        """Pictures of one batch, DDIM, guidance 7.5; what is neither text nor decoding is steps."""
        import torch

        watch = {"text": 0.0, "decode": 0.0}
        pipe = self._pipe
        encode_prompt, decode = pipe.encode_prompt, pipe.vae.decode
        pipe.encode_prompt = self._timed(encode_prompt, watch, "text")
        pipe.vae.decode = self._timed(decode, watch, "decode")
        start = time.perf_counter()
        try:
            pixels = pipe(
                [f"{PROMPT} {n}" for n in range(batch)],
                num_inference_steps=steps,
                guidance_scale=7.5,
                height=side,
                width=side,
                generator=[torch.Generator().manual_seed(SEED + n) for n in range(batch)],
                output_type="np",
            ).images
        finally:
            pipe.encode_prompt, pipe.vae.decode = encode_prompt, decode
        denoise = time.perf_counter() - start - sum(watch.values())
        return pixels, {"text": watch["text"], "denoise": denoise, "decode": watch["decode"]}

    def fetch(self, result: Any) -> Any:
        """float32, on the host."""
        return result.float().cpu().numpy()

    def device_bytes(self) -> int | None:
        """None on a CPU."""
        import torch

        return torch.cuda.max_memory_allocated() if self._device == "cuda" else None

    def product(self, size: int) -> Callable[[], Any]:
        """As PyTorch multiplies, bfloat16 too."""
        import torch

        values = torch.randn(size, size).to(self._device, self._dtype)
        return _without_gradients(lambda: values @ values)

    def _open(self, kind: Any, name: str, dtype: Any) -> Any:
        layer = kind.from_pretrained(self._folder / name, torch_dtype=dtype)
        return layer.to(self._device).eval()

    def _fast(self, call: Any) -> Any:
        import torch

        return torch.compile(call) if self._compiled else call

    def _tensors(self, inputs: dict[str, Any], dtype: Any) -> dict[str, Any]:
        import torch

        return {
            name: torch.from_numpy(array).to(self._device, dtype) for name, array in inputs.items()
        }

    def _timed(self, call: Any, watch: dict[str, float], stage: str) -> Any:
        """The call, with its time added to a stage's; a GPU is waited for before and after."""

        def timed(*arguments: Any, **named: Any) -> Any:
            self._wait()
            start = time.perf_counter()
            result = call(*arguments, **named)
            self._wait()
            watch[stage] += time.perf_counter() - start
            return result

        return timed

    def _wait(self) -> None:
        if self._device == "cuda":
            import torch

            torch.cuda.synchronize()


def _without_gradients(call: Callable[[], Any]) -> Callable[[], Any]:
    import torch

    return torch.inference_mode()(call)
