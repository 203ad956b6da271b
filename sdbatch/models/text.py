"""Text encoders from PaddleNLP behind one small interface.

`TextEncoder.encode` turns ids into the states that the UNet's cross-attention reads. Which
encoder a checkpoint has is told by its own `config.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn
from paddlenlp.transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    RobertaConfig,
)
from paddlenlp.transformers.model_utils import no_init_weights

from sdbatch.models.config import ROBERTA_SERIES, UnsupportedConfig, text_architecture
from sdbatch.models.roberta import RobertaSeries
from sdbatch.text.tokens import Tokenizer

ReadRows = Callable[[Tensor, int, bool], tuple[Tensor, Tensor]]
"""Rows, `skip` and `normed` to what `TextReading.forward` gives."""


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer and the network that reads its ids.

    `read_rows` is the network's `TextReading`, executed in some faster way; None: as it is.
    """

    tokenizer: Tokenizer
    network: nn.Layer
    read_rows: ReadRows | None = None

    @property
    def layers(self) -> int:
        """How many transformer layers can be left out."""
        whole = self.network.config.num_hidden_layers
        return whole - getattr(self.network, "has_pre_transformation", False)

    def encode(
        self, ids: Sequence[Sequence[int]], skip: int = 0, *, normed: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Read rows of ids, each by itself.

        Args:
            ids: [n, tokens], framed and padded.
            skip: how many of the last layers are left out of the states, at most `layers`.
            normed: whether states pass the norm that follows the last layer. BERT and XLM-R have
                none.

        Returns:
            states [n, tokens, width], and, of a network with a projection, the projected state
            [n, projection] of each row's end, which no layer is left out of.
        """
        rows = paddle.to_tensor(np.asarray(ids, np.int64))
        network = self.network
        read_rows = self.read_rows or _read_as_they_are(network)
        states, last = read_rows(rows, skip, normed)
        if not isinstance(network, CLIPTextModelWithProjection):
            return states, None
        ends = _ends(np.asarray(ids), network.config.eos_token_id)
        pooled = paddle.stack([row[end] for row, end in zip(last, ends.tolist(), strict=True)])
        return states, paddle.matmul(pooled, network.text_projection)


def _read_as_they_are(network: nn.Layer) -> ReadRows:
    return lambda rows, skip, normed: TextReading(network, skip, normed)(rows)


class TextReading(nn.Layer):
    """A text network, and which of its states are wanted.

    Args:
        network: of `text_network`.
        skip, normed: as for `TextEncoder.encode`.
    """

    def __init__(self, network: nn.Layer, skip: int, normed: bool):
        super().__init__()
        self.network, self.skip, self.normed = network, skip, normed
        self.eval()

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """int64 [n, tokens] -> the wanted states and the normed last one, [n, tokens, width] each.

        Of BERT and XLM-R, the wanted ones twice; of XLM-R they are projected.
        """
        network, skip = self.network, self.skip
        if isinstance(network, RobertaSeries):
            states = network(rows, skip)
            return states, states
        if isinstance(network, BertModel):
            # Taiyi-style checkpoints were trained attending to the padding; left alone, PaddleNLP
            # would mask it.
            found = network(rows, attention_mask=paddle.ones_like(rows), **_ALL)
            states = found.hidden_states[-1 - skip]
            return states, states
        found = network.text_model(rows, **_ALL)
        last, states = found.last_hidden_state, found.hidden_states[-1 - skip]
        if self.normed:
            states = network.text_model.ln_final(states) if skip else last
        return states, last


_ALL = {"output_hidden_states": True, "return_dict": True}


def _ends(ids: np.ndarray, eos_token_id: int) -> np.ndarray:
    """The position of each row's first end token, as transformers' `CLIPTextModel` finds it.

    Configs from before transformers 4.31 say 2, which is wrong; there it is that of the largest id,
    which is the end token unless there are new tokens. (PaddleNLP does the same, but on a GPU
    which of several largest ids it takes is not said.)
    """
    return (ids if eos_token_id == 2 else ids == eos_token_id).argmax(axis=-1)


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
    ROBERTA_SERIES: (RobertaSeries, RobertaConfig),
}
