"""CLIP's vision transformer: a picture in patches, read by attention, to one vector.

Source of the structure and the names, `pre_layrnorm` among them: transformers
`models/clip/modeling_clip.py`; Radford et al. 2021, arXiv 2103.00020. Not PaddleNLP's layer: its
epsilons are fixed, and names that are the checkpoint's need no map.
"""

from __future__ import annotations

from collections.abc import Callable

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from sdbatch.models.attention import attend
from sdbatch.models.layers import Linear
from sdbatch.scoring.config import VisionConfig


class VisionTower(nn.Layer):
    """Patches and a class token through the layers; the class token's last state, normed."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.embeddings = Embeddings(config)
        self.pre_layrnorm = nn.LayerNorm(width, epsilon=eps)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(width, epsilon=eps)

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, 3, image_size, image_size] -> [B, hidden_size]."""
        states = self.pre_layrnorm(self.embeddings(pictures))
        return self.post_layernorm(self.encoder(states)[:, 0])


class Embeddings(nn.Layer):
    """A vector for each patch and one for the class token before them, by position."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.class_embedding = self.create_parameter([width])
        self.patch_embedding = nn.Conv2D(3, width, patch, stride=patch, bias_attr=False)
        self.position_embedding = nn.Embedding(config.patches + 1, width)

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, 3, image_size, image_size] -> [B, patches + 1, hidden_size]."""
        patches = self.patch_embedding(pictures).flatten(2).transpose([0, 2, 1])
        first = self.class_embedding.expand([len(pictures), 1, -1])
        return paddle.concat([first, patches], axis=1) + self.position_embedding.weight


class Encoder(nn.Layer):
    """The layers, one after another."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.layers = nn.LayerList(EncoderLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, states: Tensor) -> Tensor:
        """[B, N, hidden_size] -> the same."""
        for layer in self.layers:
            states = layer(states)
        return states


class EncoderLayer(nn.Layer):
    """Self-attention and two linear layers, each after a norm, each with a skip."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.self_attn = SelfAttention(width, config.num_attention_heads)
        self.layer_norm1 = nn.LayerNorm(width, epsilon=eps)
        self.mlp = MLP(config)
        self.layer_norm2 = nn.LayerNorm(width, epsilon=eps)

    def forward(self, states: Tensor) -> Tensor:
        """[B, N, hidden_size] -> the same."""
        states = states + self.self_attn(self.layer_norm1(states))
        return states + self.mlp(self.layer_norm2(states))


class SelfAttention(nn.Layer):
    """Multi-head attention with its four projections."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = Linear(width, width), Linear(width, width)
        self.v_proj, self.out_proj = Linear(width, width), Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        """[B, N, width] -> the same."""
        split = (0, 0, self.heads, states.shape[-1] // self.heads)
        q, k, v = (p(states).reshape(split) for p in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(attend(q, k, v).flatten(2))


class MLP(nn.Layer):
    """Two linear layers around the activation."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.activation = _ACTIVATIONS[config.hidden_act]
        self.fc1 = Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        """[B, N, hidden_size] -> the same."""
        return self.fc2(self.activation(self.fc1(states)))


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI's approximation of the GELU, with which its CLIP was trained."""
    return x * F.sigmoid(1.702 * x)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": F.gelu}
