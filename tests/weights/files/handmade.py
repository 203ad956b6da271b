"""`.safetensors` files made by hand, where the library's writer would not write them."""

import json
import struct

import numpy as np


def file_bytes(header: object, data: bytes = b"") -> bytes:
    """A file with this header, which may be any JSON value or raw bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def bfloat16_file(tensors: dict[str, np.ndarray]) -> bytes:
    """A file of bfloat16 tensors: the upper halves of these float32 values."""
    header, data = {}, b""
    for key, array in tensors.items():
        start = len(data)
        data += (array.view("<u4") >> 16).astype("<u2").tobytes()
        entry = {"dtype": "BF16", "shape": array.shape, "data_offsets": [start, len(data)]}
        header[key] = entry
    return file_bytes(header, data)


def rounded_to_bfloat16(array: np.ndarray) -> np.ndarray:
    """What `bfloat16_file` keeps of a float32 array, as float32."""
    return (array.view("<u4") & 0xFFFF0000).view("<f4")
