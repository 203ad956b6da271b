"""Weights from the PyTorch world into Paddle layers, with every key accounted for.

`safetensors` reads files, `maps` renames keys as pure functions, `load` fills a layer strictly,
`checkpoint` knows a diffusers folder.
"""
