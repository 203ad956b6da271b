"""The networks of Stable Diffusion as Paddle layers.

Sublayers carry the names that diffusers gives its modules, so that a checkpoint's keys are the
parameter names. Nothing here reads a file or knows of Hydra.
"""
