"""The outermost level alone, with deep features of another call, is the UNet as far as it goes."""

import numpy as np
import paddle
import pytest

from sdbatch.models.config import UNetConfig
from sdbatch.models.unet import UNet
from tests.models.test_shapes import SD1_LIKE, SD2_LIKE, SDXL_LIKE

LIKE = {"sd1": SD1_LIKE, "sd2": SD2_LIKE, "sdxl": SDXL_LIKE}


@pytest.fixture(scope="module", params=LIKE)
def unet(request):
    return UNet(UNetConfig.from_dict(LIKE[request.param]))


def arguments(unet, timestep: float, height: int = 9, width: int = 13):
    """Of `forward`: those before and those after where `outermost` takes `deep`."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return paddle.to_tensor(rng.standard_normal(shape).astype("float32"))

    first = (normal(2, 4, height, width), paddle.full([2], timestep), normal(2, 7, 6))
    return first, ((normal(2, 5), paddle.ones([2, 6])) if unet.add_embedding is not None else ())


@paddle.no_grad()
def test_the_whole_network_gives_its_deep_features_beside_its_output(unet):
    first, more = arguments(unet, 500.0)
    output, deep = unet.whole(*first, *more)
    assert np.array_equal(output.numpy(), unet(*first, *more).numpy())
    assert deep.shape[0] == 2
    assert deep.shape[2:] == [9, 13]


@paddle.no_grad()
def test_with_the_features_of_the_same_call_the_output_is_the_same(unet):
    first, more = arguments(unet, 500.0)
    output, deep = unet.whole(*first, *more)
    assert np.array_equal(unet.outermost(*first, deep, *more).numpy(), output.numpy())


@paddle.no_grad()
def test_with_those_of_another_call_latents_and_time_still_count(unet):
    first, more = arguments(unet, 500.0)
    output, deep = unet.whole(*first, *more)
    later, _ = arguments(unet, 400.0)
    found = unet.outermost(*later, deep, *more)
    assert not np.allclose(found.numpy(), output.numpy())
    assert not np.allclose(found.numpy(), unet(*later, *more).numpy())
