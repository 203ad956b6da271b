"""The real command, from a prompt table to a dataset folder, in a new process each time."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.conftest import ASSETS, ROOT

QUICK = ("steps=2", "width=64", "height=64")


def pixels(folder) -> dict[str, np.ndarray]:
    """Every image of a dataset by its id."""
    rows = pq.read_table(folder / "metadata.parquet").to_pylist()
    return {
        row["image_id"]: np.asarray(Image.open(folder / row["file_name"])).astype(int)
        for row in rows
    }


def test_a_table_becomes_a_dataset(sdbatch, tmp_path, write_table):
    table = write_table(
        id=["甲", "b/c", "d"],
        prompt=["a red star on a white background", "a blue heart", "a small green circle"],
        seed=[None, 7, None],
        images_per_prompt=[1, 2, 1],
        width=[None, None, 96],
        topic=["x", None, "z"],
    )
    run = sdbatch(f"prompts.path={table}", "output.shard_size=2", *QUICK)
    assert run.returncode == 0, run.stderr
    folder = tmp_path / "outputs" / "table"
    assert run.stdout.strip() == "outputs/table"
    rows = pq.read_table(folder / "metadata.parquet").to_pylist()
    assert [row["sample_index"] for row in rows] == [0, 0, 1, 0]
    assert [row["seed"] for row in rows[1:3]] == [7, 8]
    assert [row["topic"] for row in rows] == ["x", None, None, "z"]
    assert rows[0]["image_id"] == "甲-000"
    assert (rows[3]["width"], rows[3]["height"]) == (96, 64)
    for row in rows:
        with Image.open(folder / row["file_name"]) as image:
            assert image.size == (row["width"], row["height"])
            assert image.text["parameters"].startswith(row["prompt"])
            assert f"Seed: {row['seed']}" in image.text["parameters"]
    assert {path.name for path in (folder / "shards").iterdir()} == {"00000", "00001"}
    assert json.loads((folder / "summary.json").read_text())["counts"] == {"ok": 4}
    assert (next((folder / "logs").iterdir()) / ".hydra" / "config.yaml").is_file()
    assert list((folder / "_tmp").iterdir()) == []


def test_a_second_run_skips_finished_shards(sdbatch, tmp_path, write_table):
    table = write_table(prompt=["a red star", "a blue heart", "a green circle"])
    command = (f"prompts.path={table}", "output.shard_size=1", *QUICK)
    assert sdbatch(*command).returncode == 0
    folder = tmp_path / "outputs" / "table"
    first = pixels(folder)
    kept = (folder / "shards" / "00000").stat().st_mtime_ns
    for path in sorted((folder / "shards" / "00001").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (folder / "shards" / "00001").rmdir()
    again = sdbatch(*command)
    assert again.returncode == 0
    assert "1 shards to do" in again.stderr
    assert (folder / "shards" / "00000").stat().st_mtime_ns == kept
    second = pixels(folder)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_batch_size_changes_no_pixel_seed_or_id(sdbatch, tmp_path, write_table):
    prompts = [f"a {c} star on a white background" for c in ("red", "blue", "green", "black")]
    table = write_table(prompt=prompts * 2)
    found = []
    for size in (1, 3, 8):
        folder = tmp_path / f"batch{size}"
        run = sdbatch(
            f"prompts.path={table}", f"output.dir={folder}", f"batch_size={size}", "steps=4"
        )
        assert run.returncode == 0, run.stderr
        rows = pq.read_table(folder / "metadata.parquet").to_pylist()
        assert max(row["batch_size_used"] for row in rows) == size
        found.append(([(row["image_id"], row["seed"]) for row in rows], pixels(folder)))
    for names, pictures in found[1:]:
        assert names == found[0][0]
        for key, picture in pictures.items():
            assert np.abs(picture - found[0][1][key]).max() <= 1


def test_other_settings_are_refused_with_what_differs(sdbatch, write_table):
    table = write_table(prompt=["a red star"])
    assert sdbatch(f"prompts.path={table}", *QUICK).returncode == 0
    other = sdbatch(f"prompts.path={table}", *QUICK[1:], "steps=3", "seed=5")
    assert other.returncode == 1
    assert "seed was 0, now 5; steps was 2, now 3" in other.stderr
    assert other.stdout == ""


def test_news_2026_is_half_chinese_which_the_english_demo_refuses(sdbatch, tmp_path):
    run = sdbatch("prompts=news_2026", *QUICK)
    assert run.returncode == 1
    assert "prompt: rows 0, 2, 4, 6, 8 and 27 more: the text encoder of demo reads English; " in (
        run.stderr
    )
    assert run.stderr.endswith("found 水墨画风格的城市夜景\n")
    assert not (tmp_path / "outputs").exists()


def test_news_2026_brings_its_own_translations(sdbatch, tmp_path):
    run = sdbatch("prompts=news_2026", "prompts.limit=3", "text.on_chinese=translate", *QUICK)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "outputs/news_2026\n"
    rows = pq.read_table(tmp_path / "outputs/news_2026/metadata.parquet").to_pylist()
    assert [row["prompt"] for row in rows][::2] == [
        row["prompt"] for row in rows if row["prompt_en"]
    ]
    assert [row["prompt_translated"] for row in rows] == [row["prompt_en"] or None for row in rows]
    with Image.open(tmp_path / "outputs/news_2026" / rows[0]["file_name"]) as image:
        assert image.text["parameters"].startswith(rows[0]["prompt_en"])
    again = sdbatch("outputs/news_2026", "--regenerate", "3", module="sdbatch.verify")
    assert again.returncode == 0, again.stderr


def test_a_table_in_the_working_folder_goes_by_its_name(sdbatch, tmp_path, write_table):
    (tmp_path / "prompts").mkdir()
    write_table(prompt=["a red star"]).rename(tmp_path / "prompts" / "mine.parquet")
    run = sdbatch("prompts=mine", *QUICK)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "outputs/mine\n"


def test_a_signal_stops_the_run_and_the_next_run_goes_on(tmp_path, write_table):
    table = write_table(prompt=["a red star on a white background"] * 12)
    command = [
        sys.executable, "-m", "sdbatch", f"prompts.path={table}",
        "output.shard_size=2", "batch_size=1", "steps=20", "grace_s=0",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    shards = tmp_path / "outputs" / "table" / "shards"
    run = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(shards.glob("*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 75, errors.decode()
    done = {path.name for path in shards.iterdir()}
    assert 1 <= len(done) < 6
    assert not (tmp_path / "outputs" / "table" / "metadata.parquet").exists()
    again = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert f"{6 - len(done)} shards to do" in again.stderr
    metadata = pq.read_table(tmp_path / "outputs" / "table" / "metadata.parquet")
    assert metadata.num_rows == 12


def test_importing_and_help_need_no_paddle(sdbatch, tmp_path):
    modules = "sdbatch.__main__, sdbatch.runner.local, sdbatch.convert.__main__"
    script = f"import sys, {modules}; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
    (tmp_path / "paddle.py").write_text("raise SystemExit('paddle was imported')")
    text = sdbatch("--help")
    assert text.returncode == 0, text.stderr
    for words in ("prompts: ", "scheduler: checkpoint, ddim, ", "Exit codes: 0"):
        assert words in text.stdout


def test_cfg_job_shows_the_whole_config(sdbatch, tmp_path):
    whole = sdbatch("--cfg", "job", "steps=33")
    assert whole.returncode == 0
    for line in ("steps: 33", "guidance_scale: 7.5", "  shard_size: auto", "  solver: checkpoint"):
        assert line in whole.stdout.splitlines()
    assert list(tmp_path.iterdir()) == []


def test_half_precision_on_a_cpu_is_refused_with_advice(sdbatch, tmp_path):
    run = sdbatch("precision=fp16", "device=cpu")
    assert run.returncode == 1
    assert "choose precision=fp32" in run.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("model", ["demo", "demo_zh"])
def test_bundled_checkpoints_are_whole(model):
    names = {str(path.relative_to(ASSETS / model)) for path in (ASSETS / model).rglob("*.*")}
    assert "unet/diffusion_pytorch_model.safetensors" in names
    assert "model_index.json" in names
