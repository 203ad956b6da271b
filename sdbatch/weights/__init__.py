"""Checkpoints from the PyTorch world into Paddle layers, with every key accounted for.

`files` reads files of tensors, `maps` renames keys as pure functions; `source` opens a checkpoint
of any kind, `assign` says which tensor becomes which weight, `load` fills a layer strictly.
"""
