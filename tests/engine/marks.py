"""What some machines cannot run: skipped there, with the reason."""

import pytest

from sdbatch.engine.device import cpu_has_bf16
from sdbatch.engine.predictor import IS_PADDLE_3

needs_bf16 = pytest.mark.skipif(
    not (IS_PADDLE_3 and cpu_has_bf16()),
    reason="bfloat16 on a CPU needs Paddle 3 and avx512_bf16; it is refused elsewhere",
)
