"""Whether a judge's config, weights and vocabulary belong together. Imports no Paddle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sdbatch.errors import UserError
from sdbatch.scoring.config import JudgeConfig
from sdbatch.text.tokens import Tokenizer
from sdbatch.weights.checkpoint import Component, TokenizerFiles
from sdbatch.weights.vocabulary import bert_vocabulary, clip_vocabulary

CONCEPTS = ("concept_embeds", "special_care_embeds")
"""Weights of a safety checker, each with thresholds of the same name and `_weights`."""

Shape = tuple[int | None, ...]
"""None: any size."""


def check_shapes(component: Component, config: JudgeConfig) -> None:
    """What another model's folder would not have; loading accounts for every weight.

    Raises:
        UserError: such a weight is missing or of another shape.
    """
    vision = config.vision
    table = (vision.patches + 1, vision.hidden_size)
    patches = (vision.hidden_size, 3, vision.patch_size, vision.patch_size)
    expected: dict[str, Shape] = {
        "visual_projection.weight": (config.projection, vision.hidden_size),
        "vision_model.embeddings.patch_embedding.weight": patches,
        "vision_model.embeddings.position_embedding.weight": table,
    }
    if config.text:
        expected["text_projection.weight"] = (config.projection, config.text["hidden_size"])
    else:
        expected |= dict.fromkeys(CONCEPTS, (None, config.projection))
        expected |= dict.fromkeys((f"{name}_weights" for name in CONCEPTS), (None,))
    found = component.diffusers_shapes()
    for name, shape in expected.items():
        if name not in found:
            raise UserError(f"{component.source}: missing key: {name} not in the checkpoint")
        if not _fits(found[name], shape):
            wanted = ["any" if side is None else side for side in shape]
            raise UserError(
                f"{component.source}: {name}: expected shape {wanted} by "
                f"{component.config_path.name}, found {list(found[name])}"
            )


def _fits(found: tuple[int, ...], shape: Shape) -> bool:
    if len(found) != len(shape):
        return False
    return all(wanted in (None, side) for wanted, side in zip(shape, found, strict=True))


def check_vocabulary(
    given: TokenizerFiles, tokenizer: Tokenizer, config: JudgeConfig, config_path: Path
) -> None:
    """Ids must have rows in the table, and CLIP's end must be where its state is taken.

    Raises:
        UserError: they do not.
    """
    text: Mapping = config.text
    bert = text["architectures"] == ["BertModel"]
    ids = bert_vocabulary(given) if bert else clip_vocabulary(given)[0]
    largest = max(ids.values())
    if largest >= text["vocab_size"]:
        raise UserError(
            f"{given.folder}: expected a vocabulary of at most {text['vocab_size']} tokens, "
            f"text_config.vocab_size of {config_path.name}, found ids up to {largest}"
        )
    # 2 is an old mistake that transformers and `TextEncoder` know.
    if not bert and text["eos_token_id"] not in (2, tokenizer.eos):
        raise UserError(
            f"{config_path}: text_config.eos_token_id={text['eos_token_id']}: "
            f"expected {tokenizer.eos}, the tokenizer's"
        )
