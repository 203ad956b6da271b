"""sdbatch: Stable Diffusion on PaddlePaddle as an overnight batch job.

Importing this package imports neither Paddle nor PaddleNLP (seconds each); the modules under
`models`, `engine`, `weights.load` and `pipeline` do.
"""

# Paddle 2.6 exports its own zlib; whichever is loaded first serves the whole process.
import zlib  # noqa: F401

__version__ = "0.1.0"
