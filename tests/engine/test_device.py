"""The device and the precision: what `auto` means, and what a device cannot do."""

import pytest

from sdbatch.engine.device import Device, choose_device
from sdbatch.errors import UserError


def test_a_cpu_computes_in_full_precision():
    assert choose_device("cpu", "auto") == Device("cpu", "fp32")
    assert choose_device("cpu", "fp32").dtype == "float32"


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_on_a_cpu_is_refused_with_what_to_choose(precision):
    with pytest.raises(UserError, match=f"^precision={precision}: .* choose precision=fp32"):
        choose_device("cpu", precision)


@pytest.mark.parametrize("device", ["gpu:99", "gpu:1000000"])
def test_a_gpu_that_is_not_there_is_refused(device):
    with pytest.raises(UserError, match=f"^device: {device}: this machine shows Paddle . GPUs"):
        choose_device(device, "auto")


@pytest.mark.parametrize("device", ["tpu", "", "cpu:0", "gpu:x", "gpu:-1", "gpu:²", "gpu 0", "GPU"])
def test_a_device_of_another_form_is_refused(device):
    with pytest.raises(UserError, match=r"^device: expected auto, cpu, gpu or gpu:N, found"):
        choose_device(device, "auto")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp16", "float16"), ("bf16", "bfloat16"), ("fp32", "float32")]
)
def test_precisions_have_paddles_names(precision, dtype):
    assert Device("gpu:0", precision).dtype == dtype
