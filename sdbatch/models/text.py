"""Text encoders from PaddleNLP behind one small interface.

`TextEncoder.encode` turns strings into the states that the UNet's cross-attention reads. Which
encoder a checkpoint has is told by its own `config.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import Tensor, nn
from paddlenlp.transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
)
from paddlenlp.transformers.model_utils import no_init_weights

from sdbatch.models.config import UnsupportedConfig, text_architecture

Tokenize = Callable[[Sequence[str]], list[list[int]]]


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer and the network that reads its ids."""

    tokenize: Tokenize
    network: nn.Layer

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Text states [len(texts), tokens, width], every text padded or cut to the full length."""
        ids = paddle.to_tensor(self.tokenize(texts), dtype="int64")
        if isinstance(self.network, BertModel):
            # Taiyi-style checkpoints were trained attending to the padding; left alone, PaddleNLP
            # would mask it.
            return self.network(ids, attention_mask=paddle.ones_like(ids))[0]
        states = self.network(ids)
        # With a projection, the pooled text comes first.
        return states[isinstance(self.network, CLIPTextModelWithProjection)]


def text_network(config: Mapping[str, Any]) -> nn.Layer:
    """The network for a `text_encoder/config.json`, not yet filled.

    Raises:
        UnsupportedConfig: an architecture without an adapter here.
    """
    network_class, config_class = _NETWORKS[encoder_kind(config)]
    with no_init_weights():
        network = network_class(config_class(**config))
    # PaddleNLP builds its LayerNorms with Paddle's default epsilon, whatever the config says: BERT
    # has 1e-12, Paddle 1e-5, which shows on low-variance rows.
    for layer in network.sublayers():
        if isinstance(layer, nn.LayerNorm):
            layer._epsilon = config.get("layer_norm_eps", layer._epsilon)
    return network


def encoder_kind(config: Mapping[str, Any]) -> str:
    """The architecture, from the config's `architectures` or `model_type`; a key of `_NETWORKS`.

    Raises:
        UnsupportedConfig: an architecture without an adapter here.
    """
    kind = text_architecture(config)
    if kind not in _NETWORKS:
        raise UnsupportedConfig(f"text encoder {kind!r}: expected one of {', '.join(_NETWORKS)}")
    return kind


_NETWORKS = {
    "CLIPTextModel": (CLIPTextModel, CLIPTextConfig),
    "CLIPTextModelWithProjection": (CLIPTextModelWithProjection, CLIPTextConfig),
    "BertModel": (BertModel, BertConfig),
}
