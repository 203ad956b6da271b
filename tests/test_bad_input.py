"""Whatever a user gets wrong: one clear line, exit code 1, nothing written."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import ASSETS

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the demo checkpoint, to be damaged."""
    return shutil.copytree(ASSETS / "demo", tmp_path / "checkpoint")


def change_tensors(path, change) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_no_such_table(refused):
    line = refused("prompts.path=nowhere.parquet")
    assert "nowhere.parquet: no such file" in line


def test_no_such_table_name(refused):
    line = refused("prompts=nowhere")
    assert "nowhere.parquet" in line
    assert "news_2026, shapes, shapes_zh" in line


def test_a_file_that_is_not_parquet(refused, tmp_path):
    (tmp_path / "text.parquet").write_text("hello")
    assert "text.parquet: not a readable Parquet file" in refused("prompts.path=text.parquet")


def test_table_without_prompt(refused, write_table):
    line = refused(f"prompts.path={write_table(text=['a'], topic=['b'])}")
    assert "no column 'prompt'; found text, topic" in line


def test_null_prompts(refused, write_table):
    line = refused(f"prompts.path={write_table(prompt=['a', None, 'b', None])}")
    assert "prompt: rows 1, 3: expected text, found null" in line


def test_duplicate_ids(refused, write_table):
    line = refused(f"prompts.path={write_table(prompt=['a', 'b', 'c'], id=['x', 'y', 'x'])}")
    assert "id 'x': duplicate in rows 0 and 2" in line


def test_width_100(refused, write_table):
    assert "width: expected a multiple of 8, found 100" in refused("width=100")
    line = refused(f"prompts.path={write_table(prompt=['a', 'b'], width=[64, 100])}")
    assert "width: row 1: expected a multiple of 8, found 100" in line


def test_seed_out_of_range(refused, write_table):
    line = refused(f"prompts.path={write_table(prompt=['a'], seed=[-1])}")
    assert "seed: row 0: expected 0 to 2^63-1, found -1" in line


def test_a_column_named_as_ours(refused, write_table):
    line = refused(f"prompts.path={write_table(prompt=['a'], sha256=['b'])}")
    assert "column sha256: the name is reserved" in line


def test_a_folder_that_is_not_a_checkpoint(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty: not a diffusers checkpoint" in refused("model.path=empty")
    assert "nowhere: no such file or folder" in refused("model.path=nowhere")


def test_a_truncated_safetensors_file(refused, checkpoint):
    data = (checkpoint / UNET).read_bytes()
    (checkpoint / UNET).write_bytes(data[:-1000])
    line = refused(f"model.path={checkpoint}")
    assert f"truncated: expected {len(data)} bytes, found {len(data) - 1000}" in line


def test_a_missing_key(refused, checkpoint):
    change_tensors(checkpoint / UNET, lambda tensors: tensors.pop("conv_in.bias"))
    assert "missing key: conv_in.bias" in refused(f"model.path={checkpoint}")


def test_an_unexpected_key(refused, checkpoint):
    extra = np.zeros(3, np.float16)
    change_tensors(checkpoint / UNET, lambda tensors: tensors.update({"lora.up": extra}))
    assert "lora.up: unexpected key" in refused(f"model.path={checkpoint}")


def test_a_key_of_the_wrong_shape(refused, checkpoint):
    wrong = np.zeros((48, 4, 1, 1), np.float16)
    change_tensors(checkpoint / UNET, lambda t: t.update({"conv_in.weight": wrong}))
    line = refused(f"model.path={checkpoint}")
    assert "conv_in.weight: expected shape [48, 4, 3, 3], found [48, 4, 1, 1]" in line


def test_a_config_that_asks_for_another_network(refused, checkpoint):
    path = checkpoint / "unet" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "class_embed_type": "timestep"}))
    assert "class_embed_type='timestep'" in refused(f"model.path={checkpoint}")


def test_a_scheduler_that_is_not_there(refused, checkpoint):
    path = checkpoint / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "_class_name": "KDPM2DiscreteScheduler"}))
    line = refused(f"model.path={checkpoint}")
    assert "scheduler_config.json: _class_name='KDPM2DiscreteScheduler': not implemented" in line


def test_an_unknown_scheduler(refused):
    line = refused("scheduler=euler_z")
    assert "scheduler=euler_z: no such choice; did you mean euler_a? expected one of check" in line


def test_a_setting_that_the_sampler_has_not(refused):
    line = refused("scheduler=ddim", "scheduler.sigmas=karras")
    assert "scheduler.sigmas='karras': ddim has no such setting" in line


def test_settings_of_text_and_pictures_out_of_range(refused):
    assert "text.max_chunks: expected 1 or more, found 0" in refused("text.max_chunks=0")
    line = refused("text.clip_skip=3")
    assert "text.clip_skip=3: expected at most 2; the text encoder has 2 layers" in line
    assert "strength: expected more than 0, up to 1, found 0.0" in refused("strength=0.0")
    assert "guidance_rescale: expected 0 to 1, found 1.5" in refused("guidance_rescale=1.5")


def test_a_misspelt_override(refused):
    assert "stepz: no such key; did you mean steps?" in refused("stepz=30")
    assert "out.dir: no such key" in refused("+out.dir=x")


def test_a_value_of_the_wrong_type(refused):
    assert "steps: Value 'many'" in refused("steps=many")
    assert "precision=int8: no such choice; expected one of auto, bf16, fp16" in refused(
        "precision=int8"
    )


def test_more_steps_than_the_model_was_trained_with(refused):
    assert "steps=1001: expected 1 to 1000" in refused("steps=1001")


def test_an_unknown_flag(sdbatch, tmp_path):
    run = sdbatch("--frobnicate")
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else(refused, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"")
    assert "photos: not empty and not a dataset" in refused("output.dir=photos")


def test_a_place_that_cannot_be_written(refused):
    assert "/proc/nowhere" in refused("output.dir=/proc/nowhere")
