"""What is added to a checkpoint when it is loaded: LoRAs and textual inversions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdbatch.errors import UserError
from sdbatch.models.config import text_architecture
from sdbatch.weights import embeddings as inversions
from sdbatch.weights import lora as low_rank
from sdbatch.weights.checkpoint import Checkpoint, Component, file_sha256
from sdbatch.weights.maps import Patch, unchanged


@dataclass(frozen=True)
class Additions:
    """LoRAs, each with its strength, and embeddings; none of either by default."""

    loras: tuple[tuple[low_rank.Lora, float], ...] = ()
    embeddings: tuple[inversions.Embedding, ...] = ()

    def check(self, checkpoint: Checkpoint) -> None:
        """Refuse what was made for another kind of model; no tensor is read.

        Raises:
            UserError: naming the file.
        """
        texts = {component.name for component in checkpoint.text_encoders}
        low_rank.refuse_misplaced([lora for lora, _ in self.loras], {"unet", *texts})
        inversions.refuse_misplaced(self.embeddings, texts)
        kinds = {text_architecture(component.config) for component in checkpoint.text_encoders}
        if self.embeddings and not all(str(kind).startswith("CLIP") for kind in kinds):
            raise UserError(
                f"{self.embeddings[0].path}: textual inversions are for CLIP text encoders; "
                f"{checkpoint.name} has a {', '.join(sorted(map(str, kinds)))}"
            )

    def patch(self, component: Component, layers_per_block: int = 0) -> Patch:
        """What happens to each weight of a network on its way into the layer.

        Args:
            component: the network.
            layers_per_block: of the UNet.
        """
        if not self.loras and not self.embeddings:
            return unchanged
        # Merged weights are rounded once, when the layer takes them, and not to the file's dtype.
        names = component.diffusers_shapes()
        merge = low_rank.lora_patch(
            self.loras, component.name, names, layers_per_block, dtype="float32"
        )
        if not component.name.startswith("text_encoder"):
            return merge
        extend = inversions.extended(self.embeddings, component.name, dtype="float32")

        def patch(name: str, array: np.ndarray) -> np.ndarray:
            return extend(name, merge(name, array))

        return patch

    def text_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """A text encoder's config with room for the new tokens."""
        return inversions.extended_config(config, self.embeddings) if self.embeddings else config

    def digests(self) -> tuple[str, str]:
        """Content and strength of every LoRA; content and token of every embedding."""
        loras = (f"{_content(lora.path)} x {strength!r}" for lora, strength in self.loras)
        words = (f"{file_sha256(item.path)} as {item.token}" for item in self.embeddings)
        return "; ".join(loras), "; ".join(words)


def _content(path: Path) -> str:
    """Digest of a LoRA's file and of peft's settings beside it, if there are any."""
    settings = path.with_name("adapter_config.json")
    digests = [file_sha256(file) for file in (path, settings) if file.is_file()]
    return " + ".join(digests)


NOTHING = Additions()
