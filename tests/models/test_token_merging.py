"""Token merging: similar cells go through a layer as one, the others as they are."""

import numpy as np
import paddle
import pytest

from sdbatch.models.config import UNetConfig
from sdbatch.models.token_merging import TokenMerging
from sdbatch.models.transformer import SpatialTransformer
from sdbatch.models.unet import UNet
from tests.models.test_shapes import SD1_LIKE, SDXL_LIKE


def tokens(batch: int, height: int, width: int, channels: int = 8) -> paddle.Tensor:
    rng = np.random.default_rng(3)
    return paddle.to_tensor(
        rng.standard_normal((batch, height * width, channels)).astype("float32")
    )


def unchanged(x):
    return x


class Recorder:
    """A layer that gives back what it is given, and remembers it."""

    def __call__(self, x):
        self.seen = x.numpy()
        return x


class TestMerging:
    @pytest.mark.parametrize(
        ("size", "ratio", "left"),
        [
            ((4, 6), 0.25, 18),
            ((4, 6), 0.5, 12),
            ((4, 6), 0.75, 6),
            ((3, 5), 0.5, 8),  # 15 cells, 6 of them receivers
            ((3, 5), 0.75, 6),  # all but the receivers, though 0.75 would be more
            ((4, 6), 0.04, 24),  # less than one
            ((1, 1), 0.75, 1),
        ],
    )
    def test_leaves_the_layer_fewer_tokens(self, size, ratio, left):
        x, layer = tokens(2, *size), Recorder()
        y = TokenMerging(*size, ratio).around(layer, x, metric=x)
        assert layer.seen.shape == (2, left, 8)
        assert y.shape == x.shape

    def test_of_none_changes_no_bit(self):
        x = tokens(2, 4, 6)
        assert np.array_equal(TokenMerging(4, 6, 0.0).around(unchanged, x, metric=x), x)

    def test_keeps_the_tokens_that_are_not_merged(self):
        x = tokens(3, 6, 6)
        y = TokenMerging(6, 6, 0.25).around(unchanged, x, metric=x)
        kept = (x == y).all(axis=-1).numpy().sum(axis=1)
        # 36 tokens, 9 of them merged into at most as many receivers.
        assert (kept >= 36 - 2 * 9).all()
        assert (kept < 36 - 9).all()

    def test_gives_every_merged_token_the_mean_of_its_group(self):
        """Two kinds of cells, so that it is known what is merged into what."""
        kind = np.array([[0, 0, 1, 1], [0, 0, 1, 1]]).flatten()
        metric = np.eye(2, dtype="float32")[kind][None]
        x = np.arange(8, dtype="float32")[None, :, None]
        y = TokenMerging(2, 4, 0.75).around(
            unchanged, paddle.to_tensor(x), metric=paddle.to_tensor(metric)
        )
        means = np.array([x[0, kind == k].mean() for k in (0, 1)])
        assert np.array_equal(y.numpy().flatten(), means[kind])

    def test_takes_the_most_similar_first(self):
        metric = np.array([[1, 0], [1, 0.1], [0.1, 1], [0, 1]], "float32")[None]
        x = np.arange(4, dtype="float32")[None, :, None]
        y = TokenMerging(2, 2, 0.25).around(
            unchanged, paddle.to_tensor(x), metric=paddle.to_tensor(metric)
        )
        assert y.numpy().flatten().tolist() == [0.5, 0.5, 2, 3]

    def test_is_the_published_algorithm(self):
        """Written again as loops over the tokens of one picture."""
        height, width, ratio = 5, 6, 0.4
        x = tokens(1, height, width)
        cells = x.numpy()[0]
        unit = cells / np.linalg.norm(cells, axis=1, keepdims=True)
        receivers = [r * width + c for r in range(0, height, 2) for c in range(0, width, 2)]
        givers = sorted(set(range(height * width)) - set(receivers))
        nearest = {g: max(receivers, key=lambda r: unit[g] @ unit[r]) for g in givers}
        givers.sort(key=lambda g: unit[g] @ unit[nearest[g]], reverse=True)
        merged = givers[: int(height * width * ratio)]
        expected = cells.copy()
        for receiver in receivers:
            group = [receiver, *(g for g in merged if nearest[g] == receiver)]
            expected[group] = cells[group].mean(axis=0)
        y = TokenMerging(height, width, ratio).around(unchanged, x, metric=x)
        assert np.allclose(y.numpy()[0], expected, atol=1e-6)

    def test_is_each_pictures_own(self):
        x = tokens(4, 6, 5)
        merging = TokenMerging(6, 5, 0.5)
        together = merging.around(unchanged, x, metric=x).numpy()
        alone = [merging.around(unchanged, one, metric=one).numpy() for one in x.split(4)]
        assert np.allclose(together, np.concatenate(alone), atol=1e-6)

    def test_survives_tokens_of_zeros(self):
        x = paddle.zeros([1, 16, 8])
        y = TokenMerging(4, 4, 0.5).around(unchanged, x, metric=x)
        assert np.array_equal(y.numpy(), x.numpy())


@pytest.mark.parametrize(
    ("raw", "level"), [(SD1_LIKE, 0), (SDXL_LIKE, 1)], ids=["sd1_like", "sdxl_like"]
)
def test_a_unet_merges_at_the_highest_resolution_that_has_attention(raw, level):
    unet = UNet(UNetConfig.from_dict(raw), token_merging=0.5)

    def ratios(part) -> set[float]:
        layers = part.sublayers(include_self=True)
        return {layer.token_merging for layer in layers if isinstance(layer, SpatialTransformer)}

    levels = len(raw["block_out_channels"])
    for i in range(levels):
        expected = {0.5} if i == level else {0.0}
        assert ratios(unet.down_blocks[i]) <= expected
        assert ratios(unet.up_blocks[levels - 1 - i]) <= expected
    assert ratios(unet.mid_block) == {0.0}
    assert ratios(unet.up_blocks[levels - 1 - level]) == {0.5}
