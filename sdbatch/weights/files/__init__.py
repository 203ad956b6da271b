"""Files of tensors, read by readers that trust nothing in them.

`formats.open_tensor_file` opens a `.safetensors`, PyTorch or Paddle file as a `TensorFile`, from
which tensors are read one at a time; `paddle_file.write_paddle` writes `.pdparams`.
"""
