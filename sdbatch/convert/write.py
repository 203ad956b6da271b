"""Write a checkpoint as a folder in Paddle's own form, all or nothing.

    model_index.json  conversion.json
    unet/  vae/  text_encoder/  (text_encoder_2/)      config.json, model_state.pdparams
    tokenizer/  (tokenizer_2/)  scheduler/

One tensor is in memory at a time. The folder appears by one rename, when everything in it has
reached the disk.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from sdbatch import __version__
from sdbatch.convert.record import FILE_NAME, Conversion, TensorRecord
from sdbatch.convert.target import discard_abandoned, refuse_full
from sdbatch.convert.tensors import Accounted
from sdbatch.disk import fsync
from sdbatch.engine.load import networks
from sdbatch.models.config import ROBERTA_SERIES, text_architecture
from sdbatch.weights.checkpoint import Checkpoint, Component, file_sha256, tokenizer_name
from sdbatch.weights.files.paddle_file import write_paddle
from sdbatch.weights.options import SourceOptions
from sdbatch.weights.tokenizer_kind import CLIP_BPE, SENTENCEPIECE, WORDPIECE, tokenizer_kind
from sdbatch.weights.vocabulary import write_vocabulary

WEIGHTS = "model_state.pdparams"
_PIPELINES = {"sd1": "StableDiffusionPipeline", "sd2": "StableDiffusionPipeline"}
_TOKENIZERS = {
    CLIP_BPE: "CLIPTokenizer",
    WORDPIECE: "BertTokenizer",
    SENTENCEPIECE: "XLMRobertaTokenizer",
}


def convert(
    checkpoint: Checkpoint, folder: Path, options: SourceOptions, dtype: str | None = None
) -> Conversion:
    """Write `folder`, and say what became of every tensor.

    Args:
        checkpoint: opened from any source.
        folder: must not exist, or be empty.
        options: that it was opened with, for the record.
        dtype: fp32, fp16 or bf16; None keeps each tensor's own.

    Raises:
        UserError: a tensor is left over, missing or of a wrong shape (before anything is written);
            a value does not fit into the dtype; the folder is not empty.
    """
    refuse_full(folder)
    parts = [Accounted.of(network) for network in networks(checkpoint)]
    folder = folder.resolve()  # a rename replaces a link, not the empty folder that it names
    folder.parent.mkdir(parents=True, exist_ok=True)
    discard_abandoned(folder)
    unfinished = folder.parent / f".{folder.name}.{socket.gethostname()}.{os.getpid()}.partial"
    unfinished.mkdir()
    hashing = ThreadPoolExecutor(1)  # reads the files once more, while they are in memory
    source = hashing.submit(_source, checkpoint)
    try:
        records = {}
        for part in parts:
            component = part.network.component
            inside = unfinished / component.name
            inside.mkdir()
            _write_json(inside / "config.json", _config(component))
            records[component.name] = _write_weights(inside / WEIGHTS, part, dtype)
        conversion = Conversion(
            source=source.result(),
            family=checkpoint.family,
            prediction=checkpoint.scheduler["prediction_type"],
            evidence=checkpoint.evidence,
            options={
                **{k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items()},
                "dtype": dtype,
            },
            networks=records,
            dropped=_dropped(checkpoint),
            versions={"sdbatch": __version__, "paddle": paddle.__version__},
        )
        _write_rest(unfinished, checkpoint, conversion)
        _sync_folders(unfinished)
        try:
            unfinished.rename(folder)
        except OSError:
            refuse_full(folder)  # somebody else may have put something there meanwhile
            raise
        fsync(folder.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    finally:
        hashing.shutdown(wait=False, cancel_futures=True)
    return conversion


def _config(component: Component) -> dict[str, Any]:
    """The network's config without the dtype that it was stored in, which PaddleNLP would obey."""
    return {k: v for k, v in component.config.items() if k not in ("dtype", "torch_dtype")}


def _write_weights(path: Path, part: Accounted, dtype: str | None) -> tuple[TensorRecord, ...]:
    records = []

    def tensors() -> Iterator[tuple[str, np.ndarray, str]]:
        for record, array in part.converted(dtype):
            records.append(record)
            yield record.target, array, record.target_dtype

    write_paddle(path, tensors())
    return tuple(records)


def _dropped(checkpoint: Checkpoint) -> tuple[tuple[str, str], ...]:
    found = [(item.key, item.reason) for item in checkpoint.dropped]
    for component in checkpoint.components:
        for name, place in component.places.items():
            reason = component.layout.why_dropped(name)
            if reason:
                found.append((place.key, reason))
    return tuple(found)


def _source(checkpoint: Checkpoint) -> dict[str, Any]:
    files = sorted({path for component in checkpoint.components for path in component.files})
    return {
        "path": str(checkpoint.path.resolve()),
        "files": [
            {"path": str(path), "bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in files
        ],
    }


def _write_rest(folder: Path, checkpoint: Checkpoint, conversion: Conversion) -> None:
    (folder / "scheduler").mkdir()
    _write_json(folder / "scheduler" / "scheduler_config.json", checkpoint.scheduler)
    for component, tokenizer in zip(checkpoint.text_encoders, checkpoint.tokenizers, strict=True):
        name = tokenizer_name(component.name)
        (folder / name).mkdir()
        for file, path in tokenizer.files.items():
            shutil.copyfile(path, folder / name / file)
        kind = tokenizer_kind(tokenizer, text_architecture(component.config))
        write_vocabulary(tokenizer, kind, folder / name)
        for path in (folder / name).iterdir():
            fsync(path)
    _write_json(folder / FILE_NAME, conversion.as_json())
    _write_json(folder / "model_index.json", _model_index(checkpoint))


def _model_index(checkpoint: Checkpoint) -> dict[str, Any]:
    """What ppdiffusers reads to know the parts."""
    index: dict[str, Any] = {
        "_class_name": _PIPELINES.get(checkpoint.family, "StableDiffusionXLPipeline"),
        "scheduler": ["ppdiffusers", checkpoint.scheduler.get("_class_name", "DDIMScheduler")],
        "unet": ["ppdiffusers", "UNet2DConditionModel"],
        "vae": ["ppdiffusers", "AutoencoderKL"],
    }
    for component, tokenizer in zip(checkpoint.text_encoders, checkpoint.tokenizers, strict=True):
        kind = text_architecture(component.config)
        index[component.name] = ["paddlenlp.transformers", kind]
        if kind == ROBERTA_SERIES:
            index |= {
                "_class_name": "AltDiffusionPipeline",
                component.name: ["alt_diffusion", kind],
            }
        named = _TOKENIZERS[tokenizer_kind(tokenizer, kind)]
        index[tokenizer_name(component.name)] = ["paddlenlp.transformers", named]
    if checkpoint.family != "sdxl":
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
        index["requires_safety_checker"] = False
    else:
        index["force_zeros_for_empty_prompt"] = checkpoint.zeros_for_empty
    return index


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    # Names of files and keys need not be Unicode; what is not becomes \udcxx, as in JSON.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    fsync(path)


def _sync_folders(root: Path) -> None:
    for path in (*(p for p in root.iterdir() if p.is_dir()), root):
        fsync(path)
