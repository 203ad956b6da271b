"""XLM-RoBERTa with a projection, the text encoder of AltDiffusion, on PaddleNLP's layers.

Source: diffusers `pipelines/deprecated/alt_diffusion/modeling_roberta_series.py`; Chen et al. 2022,
arXiv 2211.06679; for AltDiffusion-m18, Ye et al. 2023, arXiv 2308.09991.
"""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from paddlenlp.transformers import RobertaConfig, RobertaModel

from sdbatch.text.unigram import FAIRSEQ


class RobertaSeries(nn.Layer):
    """The transformer, and the linear layer that makes what the UNet reads.

    Names are diffusers', but inside `roberta`, where they are PaddleNLP's. What diffusers builds
    and never reads is left out: the pooler, and with `pre_LN` the projection of the last layer.

    Args:
        config: of the transformer; also read are `project_dim`, `has_pre_transformation` (the
            states before the last layer are normed and projected, instead of the last ones) and
            `use_attention_mask` (nothing attends to the padding).
    """

    def __init__(self, config: RobertaConfig):
        super().__init__()
        self.config = config
        # Paddle's embeddings read the padding's row as zeros where they are told which it is;
        # PyTorch's read what the row holds.
        config.pad_token_id = None
        self.roberta = RobertaModel(config, add_pooling_layer=False)
        self.roberta.embeddings.padding_idx = config.pad_token_id = FAIRSEQ["<pad>"]
        width, projected = config.hidden_size, config.project_dim
        self.has_pre_transformation = bool(getattr(config, "has_pre_transformation", False))
        self.masks_padding = bool(getattr(config, "use_attention_mask", True))
        if self.has_pre_transformation:
            self.pre_LN = nn.LayerNorm(width)
            self.transformation_pre = nn.Linear(width, projected)
        else:
            self.transformation = nn.Linear(width, projected)

    def forward(self, rows: Tensor, skip: int = 0) -> Tensor:
        """int64 [n, tokens] -> [n, tokens, project_dim], `skip` more of the last layers left out.

        Positions are counted over all tokens but padding, from the padding's id and one.
        """
        found = self.roberta(
            rows,
            attention_mask=self._mask(rows),
            output_hidden_states=True,
            return_dict=True,
        ).hidden_states
        if self.has_pre_transformation:
            return self.transformation_pre(self.pre_LN(found[-2 - skip]))
        return self.transformation(found[-1 - skip])

    def _mask(self, rows: Tensor) -> Tensor:
        """1 up to each row's last token, as tokenizers give it, 0 behind; or 1 everywhere.

        A prompt may hold the padding's own token: it is not masked.
        """
        if not self.masks_padding:
            return paddle.ones_like(rows)
        tokens = (rows != self.config.pad_token_id).astype("int64")
        behind = paddle.flip(paddle.cumsum(paddle.flip(tokens, [1]), axis=1), [1])
        return (behind > 0).astype("int64")
