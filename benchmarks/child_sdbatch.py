"""sdbatch as a peer: the networks that a worker has, called as its pipeline calls them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from child import PROMPT, SEED  # noqa: E402

from sdbatch.engine.device import Device, enter  # noqa: E402


class Sdbatch:
    """See `child.Side`."""

    def __init__(self, spec: dict[str, Any]):
        self._device = Device("gpu:0" if spec["device"] == "gpu" else "cpu", spec["precision"])
        os.environ.update(self._device.environment(dict(os.environ)))
        enter(self._device)
        import paddle

        import sdbatch.engine.load  # noqa: F401  PaddleNLP takes seconds: import, not load

        self._spec = spec
        self.version = f"paddle {paddle.__version__}"

    def load(self, networks: list[str]) -> None:
        """All of them: they are memory maps until they are called."""
        from sdbatch.engine.execution import make_execution
        from sdbatch.runner.engine_options import settle_engine
        from sdbatch.runner.engines import open_engine
        from sdbatch.runner.model import open_model

        config = _config(self._spec)
        model = open_model(config)
        size = (model.side, model.side)
        options = settle_engine(config, model, (self._device,), size).options
        self._pipeline = open_engine(options, model, self._device)
        self._execution = make_execution(options, self._device)

    def unet(self, inputs: dict[str, Any]) -> Callable[[], Any]:
        """The call that the pipeline makes at every step."""
        unet = self._pipeline.unet
        tensors = _tensors(inputs, unet.dtype, keep=("timesteps", "time_ids"))
        names = ("latents", "timesteps", "context", "pooled", "time_ids", "guidance_scale")
        arguments = [tensors.get(name) for name in names]
        return _without_gradients(lambda: unet(*arguments))

    def vae(self, inputs: dict[str, Any]) -> Callable[[], Any]:
        """The decoder's."""
        vae = self._pipeline.vae
        latents = _tensors(inputs, vae.dtype)["latents"]
        return _without_gradients(lambda: vae.decode(latents))

    def picture(self, batch: int, side: int, steps: int) -> tuple[Any, dict[str, float]]:
        """Pictures of one micro-batch, DDIM, guidance 7.5."""
        from sdbatch.request import ImageRequest
        from sdbatch.stopwatch import Stopwatch

        requests = [
            ImageRequest(f"{PROMPT} {n}", "", SEED + n, side, side, steps, 7.5)
            for n in range(batch)
        ]
        watch = Stopwatch()
        return self._pipeline.generate(requests, watch=watch), watch.seconds

    def fetch(self, result: Any) -> Any:
        """float32, on the host."""
        return result.astype("float32").numpy()

    def device_bytes(self) -> int | None:
        """None on a CPU."""
        return self._pipeline.peak_device_bytes

    def product(self, size: int) -> Callable[[], Any]:
        """As the engine itself computes it: bfloat16 on a CPU is known to it alone."""
        import paddle

        from sdbatch.engine.execution import Compilable
        from sdbatch.models.layers import Linear

        layer = Linear(size, size, bias=False)
        layer.to(dtype=self._device.dtype)
        layer.eval()
        values = paddle.randn([size, size]).astype(self._device.dtype)
        call = self._execution.compile(Compilable("product", layer, layer, {"size": size}))
        return _without_gradients(lambda: call(values))


def _config(spec: dict[str, Any]) -> Any:
    """The job that would run the networks so; `+cinn` and `+tensorrt` may follow an engine."""
    from sdbatch.config import schema

    engine, *compilers = spec["engine"].split("+")
    return schema.Config(
        model=schema.ModelConfig(path=spec["folder"]),
        scheduler=schema.SchedulerConfig(solver=schema.SolverName.ddim),
        engine=schema.EngineConfig(
            name=schema.EngineName(engine),
            cache=spec["cache"],
            cinn="cinn" in compilers,
            tensorrt="tensorrt" in compilers,
        ),
        precision=schema.PrecisionConfig(schema.PrecisionName(spec["precision"])),
        batch_size=1,
    )


def _tensors(inputs: dict[str, Any], dtype: Any, keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """Arrays on the device in the network's precision, but for those to `keep` float32."""
    import paddle

    return {
        name: paddle.to_tensor(array).astype("float32" if name in keep else dtype)
        for name, array in inputs.items()
    }


def _without_gradients(call: Callable[[], Any]) -> Callable[[], Any]:
    import paddle

    return paddle.no_grad()(call)
