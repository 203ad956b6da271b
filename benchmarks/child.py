"""The process of one peer: loads once, then does what its parent asks for, one line at a time.

Started by `peers.py`, never by hand. A question is a line of JSON on stdin, its answer a line of
JSON on stdout; whatever libraries print goes to stderr. Waiting for a question takes no processor
time. Each side's own part is in `child_sdbatch.py` and `child_torch.py`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

PROMPT = "a photograph of a cat on a wooden table, soft light"
SEED = 7
TOKENS = 77


class Side(Protocol):
    """What a peer can do. Results are float32 arrays in the memory of the host."""

    version: str

    def load(self, networks: list[str]) -> None:
        """Fill these networks: `unet`, `vae`, or both and `text` for whole pictures."""

    def unet(self, inputs: dict[str, Any]) -> Callable[[], Any]:
        """A call of the UNet on these; its result is on the device."""

    def vae(self, inputs: dict[str, Any]) -> Callable[[], Any]:
        """A call of the VAE's decoder on these."""

    def picture(self, batch: int, side: int, steps: int) -> tuple[Any, dict[str, float]]:
        """Pictures [batch, side, side, 3] in 0..1, and the seconds of text, denoise, decode."""

    def fetch(self, result: Any) -> Any:
        """A result as a NumPy array; waits for the device."""

    def device_bytes(self) -> int | None:
        """The most memory that was in use on a GPU; None on a CPU."""

    def product(self, size: int) -> Callable[[], Any]:
        """A product of two square matrices in the precision of this peer."""


def main() -> None:
    """Answer until stdin ends."""
    spec = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    side = open_side(spec)
    child = Child(side, spec)
    print(json.dumps({"version": side.version}), file=answers)
    for line in sys.stdin:
        question = json.loads(line)
        answer = getattr(child, question.pop("do"))(**question)
        print(json.dumps(answer), file=answers)


def open_side(spec: dict[str, Any]) -> Side:
    """Import what the peer needs."""
    kind = spec["kind"]
    if kind == "diffusers":
        from child_torch import Diffusers

        return Diffusers(spec)
    if kind == "ppdiffusers":
        from child_ppdiffusers import Ppdiffusers

        return Ppdiffusers(spec)
    from child_sdbatch import Sdbatch

    return Sdbatch(spec)


class Child:
    """The questions; each method's arguments are those of the line, its result the answer."""

    def __init__(self, side: Side, spec: dict[str, Any]):
        self._side, self._folder = side, Path(spec["folder"])
        self._calls: dict[tuple[str, int, int], Callable[[], Any]] = {}
        self._on_gpu = spec["device"] == "gpu"
        self._product: Callable[[], Any] | None = None

    def load(self, networks: list[str]) -> dict[str, Any]:
        """Fill networks; forgets the highest memory use so far."""
        Path("/proc/self/clear_refs").write_text("5")
        start = time.perf_counter()
        self._side.load(networks)
        return {"seconds": time.perf_counter() - start}

    def run(
        self,
        network: str,
        batch: int,
        side: int,
        calls: int = 1,
        save: str | None = None,
        compare: str | None = None,
    ) -> dict[str, Any]:
        """Seconds of a call; the last result may be saved, or compared with one that was."""
        key = (network, batch, side)
        if key not in self._calls:
            self._calls[key] = getattr(self._side, network)(self._inputs(*key))
        call = self._calls[key]
        start = time.perf_counter()
        for _ in range(calls):
            result = call()
        array = self._side.fetch(result)
        seconds = (time.perf_counter() - start) / calls
        return {"seconds": seconds, **_judge(array, save, compare)}

    def picture(
        self,
        batch: int,
        side: int,
        steps: int,
        save: str | None = None,
        compare: str | None = None,
    ) -> dict[str, Any]:
        """Seconds of whole pictures, all and by stage."""
        start = time.perf_counter()
        pixels, stages = self._side.picture(batch, side, steps)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "stages": stages, **_judge(pixels, save, compare)}

    def peak(self) -> dict[str, Any]:
        """The most operations a second that products of large matrices reach."""
        size, times = (8192, 10) if self._on_gpu else (2048, 1)
        if self._product is None:
            self._product = self._side.product(size)
            self._side.fetch(self._product()[:1, :1])
        best = 0.0
        for _ in range(4):
            start = time.perf_counter()
            for _ in range(times):
                result = self._product()
            self._side.fetch(result[:1, :1])
            best = max(best, times * 2 * size**3 / (time.perf_counter() - start))
        return {"flops": best}

    def memory(self) -> dict[str, int | None]:
        """Bytes: the highest resident set since `load`, what is resident now, and the device's."""
        status = _kilobytes("status")
        now = _kilobytes("smaps_rollup")
        return {
            "peak": status["VmHWM"],
            "resident": now["Rss"],
            "proportional": now["Pss"],
            "unique": now["Private_Clean"] + now["Private_Dirty"],
            "device": self._side.device_bytes(),
        }

    def _inputs(self, network: str, batch: int, side: int) -> dict[str, Any]:
        """The same numbers for every peer."""
        import numpy as np

        unet, vae = (self._config(name) for name in ("unet", "vae"))
        generator = np.random.default_rng(SEED)
        cells = side // 2 ** (len(vae["block_out_channels"]) - 1)

        def normal(*shape: int) -> np.ndarray:
            return generator.standard_normal(shape, np.float32)

        latents = normal(batch, vae["latent_channels"], cells, cells)
        if network == "vae":
            return {"latents": latents}
        inputs = {
            "latents": latents,
            "timesteps": np.full(batch, 501, np.float32),
            "context": normal(batch, TOKENS, unet["cross_attention_dim"]),
        }
        if unet.get("addition_embed_type") == "text_time":
            width = unet["projection_class_embeddings_input_dim"]
            inputs["pooled"] = normal(batch, width - 6 * unet["addition_time_embed_dim"])
            sizes = [side, side, 0, 0, side, side]
            inputs["time_ids"] = np.tile(np.array(sizes, np.float32), (batch, 1))
        return inputs

    def _config(self, name: str) -> dict[str, Any]:
        return json.loads((self._folder / name / "config.json").read_text(encoding="utf-8"))


def _judge(array: Any, save: str | None, compare: str | None) -> dict[str, float]:
    """Keep a result, or say how far it is from one that was kept (relative L2)."""
    import numpy as np

    if save:
        np.save(save, array)
    if compare is None:
        return {}
    expected = np.load(compare)
    return {"error": float(np.linalg.norm(array - expected) / np.linalg.norm(expected))}


def _kilobytes(name: str) -> dict[str, int]:
    """The sizes in one of the kernel's reports on this process, in bytes."""
    lines = (line.split() for line in Path(f"/proc/self/{name}").read_text().splitlines())
    return {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines if line[2:] == ["kB"]}


if __name__ == "__main__":
    main()
