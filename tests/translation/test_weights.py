"""Every tensor of a folder is used, or dropped by a rule, and every weight is set."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sdbatch.errors import UserError
from sdbatch.translation.files import open_translator
from sdbatch.translation.network import sinusoids
from sdbatch.translation.translator import load_translator
from tests.translation.folders import TRANSLATION, changed, record, states, translator

NORM = "model.encoder.layers.0.final_layer_norm.weight"
COPY = "model.decoder.embed_tokens.weight"
POSITIONS = "model.encoder.embed_positions.weight"
SHARED = "model.shared.weight"


@pytest.fixture
def folder_of(tmp_path):
    """`folder_of(tensors)`: the folder `computed` with these weights."""

    def make(tensors):
        folder = changed("computed", tmp_path, model__safetensors=None)
        arrays = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
        save_file(arrays, folder / "model.safetensors")
        return folder

    return make


@pytest.fixture
def tensors():
    return load_file(TRANSLATION / "computed" / "model.safetensors")


def refusal(folder) -> str:
    """The one line of a refusal to load."""
    with pytest.raises(UserError) as caught:
        load_translator(open_translator(folder))
    assert len(str(caught.value).splitlines()) == 1
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_weights_are_float32():
    kinds = {str(p.dtype).split(".")[-1] for p in translator("stored").network.parameters()}
    assert kinds == {"float32"}


def test_positions_are_computed_as_transformers_does():
    # Sines and cosines by hand, in float64.
    found = sinusoids(5, 6)
    for column in range(3):
        angle = 3 / 10000 ** (2 * column / 6)
        assert np.isclose(found[3, column], np.sin(angle), atol=1e-7)
        assert np.isclose(found[3, 3 + column], np.cos(angle), atol=1e-7)


def test_stored_positions_count():
    network = translator("stored").network
    found = network.encoder.embed_positions.weight.numpy()
    assert np.abs(found / 1.1 - sinusoids(40, 24)).max() < 1e-3  # they are stored in 16 bits


def test_one_table_of_positions_may_be_stored(folder_of, tensors):
    given = np.full((40, 24), 0.5, np.float32)
    network = load_translator(open_translator(folder_of(tensors | {POSITIONS: given}))).network
    assert np.array_equal(network.encoder.embed_positions.weight.numpy(), given)
    assert np.array_equal(network.decoder.embed_positions.weight.numpy(), sinusoids(40, 24))


@pytest.mark.parametrize("name", [COPY, "model.encoder.embed_tokens.weight", "lm_head.weight"])
def test_embeddings_may_have_any_of_their_names(name, folder_of, tensors):
    shared = tensors.pop(SHARED)
    folder = folder_of(tensors | {name: shared})
    ready = load_translator(open_translator(folder))
    assert np.array_equal(ready.network.shared.weight.numpy(), shared.astype(np.float32))
    texts = record()["texts"][40:44]
    assert ready.translate(texts) == translator("computed").translate(texts)


def test_copies_of_the_embeddings_are_dropped_if_they_are_copies(folder_of, tensors):
    load_translator(open_translator(folder_of(tensors | {COPY: tensors[SHARED].copy()})))
    other = tensors[SHARED] + np.float16(1)
    said = refusal(folder_of(tensors | {COPY: other}))
    assert f"{COPY}: expected a copy of {SHARED}, found other values" in said


def test_double_precision_and_single_are_read(folder_of, tensors):
    wide = {key: array.astype(np.float64) for key, array in tensors.items()}
    found = load_translator(open_translator(folder_of(wide))).network
    for key, parameter in found.state_dict().items():
        expected = translator("computed").network.state_dict()[key]
        assert np.array_equal(parameter.numpy(), expected.numpy())


def test_keys_must_be_known(folder_of, tensors):
    extra = {"model.encoder.layernorm_embedding.weight": tensors[NORM].copy()}
    said = refusal(folder_of(tensors | extra))
    assert "model.encoder.layernorm_embedding.weight: unexpected key" in said


def test_weights_must_be_there(folder_of, tensors):
    del tensors[NORM]
    assert "missing key: encoder.layers.0.final_layer_norm.weight" in refusal(folder_of(tensors))


def test_embeddings_must_be_there(folder_of, tensors):
    del tensors[SHARED]
    assert "missing key: shared.weight" in refusal(folder_of(tensors))


@pytest.mark.parametrize("key", [NORM, SHARED, "final_logits_bias"])
def test_shapes_must_fit(key, folder_of, tensors):
    said = refusal(folder_of(tensors | {key: tensors[key][..., :-1]}))
    assert f"{key}: expected shape" in said


def test_quantised_weights_are_refused(folder_of, tensors):
    said = refusal(folder_of(tensors | {NORM: tensors[NORM].astype(np.int8)}))
    assert f"{NORM}: expected a dtype of F64, F32, F16, BF16, found I8" in said


def test_the_record_is_of_a_folder_without_positions(tensors):
    assert not [key for key in tensors if "embed_positions" in key]
    assert [key for key in states() if key.startswith("computed/")]
