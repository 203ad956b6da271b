"""Marian's Transformer in Paddle: post-norm, sinusoidal positions, one table of embeddings.

PaddleNLP has no Marian, and what it has instead (`MBart`, `Bart`) learns its positions and norms
elsewhere. Source: transformers 4.46 `models/marian/modeling_marian.py`, whose names the weights
have without their prefix `model.`. Linear layers keep PyTorch's order (`models.layers.Linear`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from sdbatch.models.layers import Linear
from sdbatch.translation.config import MarianConfig

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one attention: [rows, heads, tokens, head_dim] each."""
_ACTIVATIONS = {"swish": F.silu, "silu": F.silu, "gelu": F.gelu, "relu": F.relu}


class Table(nn.Layer):
    """Rows by number: embeddings of tokens or of positions.

    Not `nn.Embedding`, which makes the padding's row zeros, and Marian's texts begin with padding.
    """

    def __init__(self, rows: int, channels: int):
        super().__init__()
        self.weight = self.create_parameter([rows, channels])


class Attention(nn.Layer):
    """Multi-head attention with its four projections."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads, self.head_dim = heads, channels // heads
        self.k_proj = Linear(channels, channels)
        self.v_proj = Linear(channels, channels)
        self.q_proj = Linear(channels, channels)
        self.out_proj = Linear(channels, channels)

    def read(self, x: Tensor) -> KeysValues:
        """Keys and values of x [rows, tokens, channels]."""
        return self._split(self.k_proj(x)), self._split(self.v_proj(x))

    def forward(self, x: Tensor, read: KeysValues, bias: Tensor | None = None) -> Tensor:
        """x: [rows, queries, channels]; bias: [rows, 1, 1, tokens], added to the scores."""
        keys, values = read
        scores = paddle.matmul(
            self._split(self.q_proj(x) * self.head_dim**-0.5), keys, transpose_y=True
        )
        if bias is not None:
            scores = scores + bias
        mixed = paddle.matmul(F.softmax(scores, axis=-1), values)
        return self.out_proj(mixed.transpose([0, 2, 1, 3]).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape([0, 0, self.heads, self.head_dim]).transpose([0, 2, 1, 3])


class EncoderLayer(nn.Layer):
    """Self-attention and two linear layers, each with a norm behind its skip."""

    def __init__(self, config: MarianConfig):
        super().__init__()
        width, inner = config.d_model, config.encoder_ffn_dim
        self.self_attn = Attention(width, config.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(width, epsilon=1e-5)
        self.fc1, self.fc2 = Linear(width, inner), Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width, epsilon=1e-5)
        self.activation = _ACTIVATIONS[config.activation_function]

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x: [texts, tokens, d_model]; bias: [texts, 1, 1, tokens]."""
        x = self.self_attn_layer_norm(x + self.self_attn(x, self.self_attn.read(x), bias))
        return self.final_layer_norm(x + self.fc2(self.activation(self.fc1(x))))


class DecoderLayer(nn.Layer):
    """As an encoder layer, with attention to the text between."""

    def __init__(self, config: MarianConfig):
        super().__init__()
        width, inner = config.d_model, config.decoder_ffn_dim
        self.self_attn = Attention(width, config.decoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(width, epsilon=1e-5)
        self.encoder_attn = Attention(width, config.decoder_attention_heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(width, epsilon=1e-5)
        self.fc1, self.fc2 = Linear(width, inner), Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width, epsilon=1e-5)
        self.activation = _ACTIVATIONS[config.activation_function]

    def forward(
        self, x: Tensor, before: KeysValues | None, text: KeysValues, bias: Tensor
    ) -> tuple[Tensor, KeysValues]:
        """One more token of each beginning.

        Args:
            x: [texts * beams, 1, d_model].
            before: of the tokens before, [texts * beams, heads, tokens, head_dim] each.
            text: of the encoder's states, [texts, ...]: the beams of a text share them.
            bias: [texts, 1, 1, tokens of the text].

        Returns:
            The states, as x, and `before` with this token.
        """
        now = self.self_attn.read(x)
        if before is not None:
            now = tuple(paddle.concat(pair, axis=2) for pair in zip(before, now, strict=True))
        x = self.self_attn_layer_norm(x + self.self_attn(x, now))
        together = x.reshape([bias.shape[0], -1, x.shape[-1]])  # beams as queries of their text
        x = x + self.encoder_attn(together, text, bias).reshape(x.shape)
        x = self.encoder_attn_layer_norm(x)
        return self.final_layer_norm(x + self.fc2(self.activation(self.fc1(x)))), now


class Stack(nn.Layer):
    """Positions and layers of the encoder or of the decoder."""

    def __init__(self, config: MarianConfig, layers: Sequence[nn.Layer]):
        super().__init__()
        self.embed_positions = Table(config.max_position_embeddings, config.d_model)
        self.layers = nn.LayerList(layers)


class Marian(nn.Layer):
    """transformers' `MarianMTModel`."""

    def __init__(self, config: MarianConfig):
        super().__init__()
        self.scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0
        self.shared = Table(config.vocab_size, config.d_model)
        self.encoder = Stack(config, [EncoderLayer(config) for _ in range(config.encoder_layers)])
        self.decoder = Stack(config, [DecoderLayer(config) for _ in range(config.decoder_layers)])
        self.final_logits_bias = self.create_parameter([1, config.vocab_size])

    def encode(self, ids: Tensor, bias: Tensor) -> Tensor:
        """Read texts.

        Args:
            ids: int64 [texts, tokens], at most `max_position_embeddings` of them.
            bias: [texts, 1, 1, tokens]: 0, and -inf where there is padding.

        Returns:
            [texts, tokens, d_model].
        """
        x = self._embedded(ids, self.encoder, 0)
        for layer in self.encoder.layers:
            x = layer(x, bias)
        return x

    def read(self, states: Tensor) -> list[KeysValues]:
        """What each layer of the decoder attends to, of the encoder's states."""
        return [layer.encoder_attn.read(states) for layer in self.decoder.layers]

    def step(
        self,
        tokens: Tensor,
        position: int,
        before: Sequence[KeysValues | None],
        text: Sequence[KeysValues],
        bias: Tensor,
    ) -> tuple[Tensor, list[KeysValues]]:
        """What may follow each beginning.

        Args:
            tokens: int64 [texts * beams], the last of each beginning.
            position: of these tokens.
            before: of the tokens before, by layer; None at the start.
            text: of `read`.
            bias: as for `encode`.

        Returns:
            logits [texts * beams, vocab_size], and `before` for the next step.
        """
        x = self._embedded(tokens.unsqueeze(1), self.decoder, position)
        after = []
        for layer, own, read in zip(self.decoder.layers, before, text, strict=True):
            x, now = layer(x, own, read, bias)
            after.append(now)
        logits = paddle.matmul(x.squeeze(1), self.shared.weight, transpose_y=True)
        return logits + self.final_logits_bias, after

    def _embedded(self, ids: Tensor, stack: Stack, start: int) -> Tensor:
        positions = stack.embed_positions.weight[start : start + ids.shape[1]]
        return F.embedding(ids, self.shared.weight) * self.scale + positions


def sinusoids(positions: int, channels: int) -> np.ndarray:
    """The table that positions have where none is stored: float32 [positions, channels].

    Sines in the first half, cosines in the second; computed in float64, as in transformers.
    """
    columns = np.arange(channels)
    angles = np.arange(positions)[:, None] / np.power(10000, 2 * (columns // 2) / channels)
    table = np.concatenate([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], axis=1)
    return table.astype(np.float32)
