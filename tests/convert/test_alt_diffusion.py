"""AltDiffusion's folders and files: loaded, converted, and the same again."""

import json

import numpy as np
import pytest

from sdbatch.convert.verify import verify
from sdbatch.convert.write import convert
from sdbatch.engine.device import Device
from sdbatch.engine.load import load_pipeline, text_network_of
from sdbatch.errors import UserError
from sdbatch.samplers import Sampler
from sdbatch.weights.checkpoint import Checkpoint, read_json
from sdbatch.weights.options import SourceOptions
from sdbatch.weights.source import open_checkpoint
from sdbatch.weights.tokenizer_kind import tokenizer_kind
from tests.examples import a_request
from tests.text.xlm import wide_weights, write_checkpoint
from tests.weights.checkpoints import demo_networks, write
from tests.weights.original import original_tensors

VARIANTS = ("plain", "pre")
PROMPTS = ("红色的龙，在云海之上", "a cat 🐱")


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def source(tmp_path_factory, variant):
    """A folder as diffusers has it."""
    return write_checkpoint(tmp_path_factory.mktemp("alt") / variant, variant)


@pytest.fixture(scope="module")
def converted(source):
    """The folder made of it, and the record."""
    folder = source.parent / "converted"
    return folder, convert(open_checkpoint(source), folder, SourceOptions())


def states(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """The text encoder's weights in the layer."""
    network = text_network_of(checkpoint.text_encoders[0]).load("float32")
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def pictures(checkpoint: Checkpoint) -> np.ndarray:
    sampler = Sampler.from_config(checkpoint.scheduler)
    pipeline = load_pipeline(checkpoint, sampler, Device("cpu", "fp32"))
    return np.asarray(
        pipeline.generate([a_request(steps=2, width=64, prompt=prompt) for prompt in PROMPTS])
    )


def test_weights_and_pictures_are_the_same(source, converted):
    before, after = open_checkpoint(source), open_checkpoint(converted[0])
    expected = states(before)
    for name, found in states(after).items():
        assert np.array_equal(found, expected[name]), name
    assert np.array_equal(pictures(after), pictures(before))


def test_every_key_is_written_or_dropped_for_a_reason(source, converted, variant):
    folder, record = converted
    written = {item.source for item in record.networks["text_encoder"]}
    dropped = dict(record.dropped)
    assert written | dropped.keys() == wide_weights(variant).keys()
    expected = {"roberta.pooler.dense.weight", "roberta.pooler.dense.bias"}
    if variant == "pre":
        expected |= {"transformation.weight", "transformation.bias"}
    assert dropped.keys() == expected
    assert verify(open_checkpoint(source), folder, record, None) > 500


def test_converted_once_more_is_the_same(converted, tmp_path):
    folder, _ = converted
    convert(open_checkpoint(folder), tmp_path / "twice", SourceOptions())
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "conversion.json":
            assert (tmp_path / "twice" / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_the_index_names_the_parts(converted):
    index = read_json(converted[0] / "model_index.json")
    assert index["_class_name"] == "AltDiffusionPipeline"
    assert index["text_encoder"] == ["alt_diffusion", "RobertaSeriesModelWithTransformation"]
    assert index["tokenizer"] == ["paddlenlp.transformers", "XLMRobertaTokenizer"]
    checkpoint = open_checkpoint(converted[0])
    assert tokenizer_kind(checkpoint.tokenizers[0], None) == "sentencepiece"


def test_a_single_file_with_a_base_has_the_same_weights(source, variant, tmp_path):
    networks = {k: v for k, v in demo_networks().items() if k != "text_encoder"}
    tensors = original_tensors("demo", networks)
    tensors |= {f"cond_stage_model.{key}": a for key, a in wide_weights(variant).items()}
    tensors["cond_stage_model.roberta.embeddings.position_ids"] = np.arange(14)[None]
    path = write(tmp_path / "alt.safetensors", tensors)
    found = states(open_checkpoint(path, SourceOptions(base=source)))
    for name, expected in states(open_checkpoint(source)).items():
        assert np.array_equal(found[name], expected), name
    with pytest.raises(UserError, match=r"XLM-R \(AltDiffusion\); give a base"):
        open_checkpoint(path)


def test_a_projection_that_the_unet_cannot_read_is_refused(source, tmp_path):
    path = source / "text_encoder" / "config.json"
    text = path.read_text()
    path.write_text(json.dumps({**json.loads(text), "project_dim": 64}))
    try:
        checkpoint = open_checkpoint(source)
        with pytest.raises(UserError, match="expected 64, the project_dim of text_encoder"):
            pictures(checkpoint)
    finally:
        path.write_text(text)
