"""Where random numbers come from: the streams of PyTorch's generators, with NumPy alone.

A published picture is reproducible from its seed only if the initial latent noise is the same.
PaddlePaddle's generators draw other numbers, so the noise is made here, without PyTorch.
"""

from sdbatch.noise.philox import PhiloxGenerator
from sdbatch.noise.seeds import MAX_SEED
from sdbatch.noise.torch_cpu import TorchGenerator, randn

NOISE_SOURCES = {"torch_cpu": TorchGenerator, "philox": PhiloxGenerator}
"""What `noise=` can name. Each takes a seed; `randn(shape)` draws on, as float32.

- `torch_cpu`: `torch.Generator()` on the CPU, the default of diffusers' examples and of the web
  UI's "CPU"; bit for bit.
- `philox`: `torch.Generator("cuda")`, the web UI's "GPU"; to about 1e-6, for latents that a GPU
  fills at once.  Also the web UI's "NV", which imitates it; to the last bit of float32.
"""

__all__ = ["MAX_SEED", "NOISE_SOURCES", "PhiloxGenerator", "TorchGenerator", "randn"]
