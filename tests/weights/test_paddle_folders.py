"""Folders as ppdiffusers and PaddleNLP save them: the same weights, linear ones turned back.

The forms are those of ppdiffusers 0.29 and PaddleNLP 2.8: ppdiffusers has text encoders of its own,
named as in transformers, and marks only some of its `.safetensors` files as Paddle's.
"""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from sdbatch.engine.load import networks
from sdbatch.weights.assign import Targets
from sdbatch.weights.files.paddle_file import write_paddle
from sdbatch.weights.load import build
from sdbatch.weights.source import open_checkpoint
from tests.conftest import ASSETS


def paddles(network, names: str) -> dict[str, np.ndarray]:
    """A network's weights by transformers' or PaddleNLP's names, linear ones [in, out]."""
    component = network.component
    targets = Targets.of(build(network.factory, "float32"))
    found = {}
    for key, value in component.tensors():
        ((name, array),) = component.layout.rename(key, value)
        ((target, array),) = network.to_layer(name, array)
        turned = array.T if target in targets.linear else array
        found[target if names == "paddlenlp" else name] = np.ascontiguousarray(turned)
    return found


def save_safetensors(folder, name, tensors):
    text = name == "text_encoder"
    file = "model.safetensors" if text else "diffusion_paddle_model.safetensors"
    save_file(tensors, folder / name / file, {"format": "np" if text else "pd"})


def save_pdparams(folder, name, tensors):
    kinds = {np.dtype("<f2"): "F16", np.dtype("<f4"): "F32"}
    rows = ((key, array, kinds[array.dtype]) for key, array in tensors.items())
    write_paddle(folder / name / "model_state.pdparams", rows)


@pytest.mark.parametrize(
    ("names", "save"),
    [
        ("transformers", save_safetensors),
        ("transformers", save_pdparams),
        ("paddlenlp", save_pdparams),
    ],
)
def test_weights_are_those_of_the_folder_they_were_made_from(tmp_path, names, save):
    folder = shutil.copytree(ASSETS / "demo", tmp_path / "saved")
    originals = networks(open_checkpoint(ASSETS / "demo"))
    index = json.loads((folder / "model_index.json").read_text())
    for network in originals:
        name = network.component.name
        for old in (folder / name).glob("*.safetensors"):
            old.unlink()
        index[name] = ["ppdiffusers.transformers" if name == "text_encoder" else "ppdiffusers", ""]
        save(folder, name, paddles(network, names))
    (folder / "model_index.json").write_text(json.dumps(index))
    for network, original in zip(networks(open_checkpoint(folder)), originals, strict=True):
        found = network.load("float32").state_dict()
        for name, expected in original.load("float32").state_dict().items():
            assert np.array_equal(found[name].numpy(), expected.numpy()), name
