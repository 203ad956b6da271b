"""sdbatch: Stable Diffusion on PaddlePaddle as an overnight batch job.

Importing this package imports neither Paddle nor PaddleNLP (seconds each); the modules under
`models`, `engine`, `weights.load` and `pipeline` do.
"""

__version__ = "0.1.0"
