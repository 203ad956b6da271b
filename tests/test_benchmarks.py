"""The benchmarks of peers: what they count is right, and they run on what is here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sdbatch.engine.device import Device
from sdbatch.models.config import UNetConfig, VAEConfig
from sdbatch.samplers import Sampler, SamplerOptions
from sdbatch.weights.source import open_checkpoint
from tests.conftest import ASSETS, ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Benchmarks are scripts: each finds the others in its own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def config(folder, name: str) -> dict:
    return json.loads((folder / name / "config.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("family", "cells", "unet", "decoder"),
    [("sd1", 64, 0.803, 2.51), ("sd2", 96, 2.15, 5.75), ("sdxl", 128, 6.76, 10.5)],
)
def test_the_work_of_the_known_models_in_tflop(family, cells, unet, decoder):
    from flops import decoder_flops, unet_flops

    folder = ASSETS / "families" / family
    count = unet_flops(UNetConfig.from_dict(config(folder, "unet")), cells, cells)
    assert count / 1e12 == pytest.approx(unet, rel=0.003)
    count = decoder_flops(VAEConfig.from_dict(config(folder, "vae")), cells, cells)
    assert count / 1e12 == pytest.approx(decoder, rel=0.003)


def test_the_work_of_the_demo_is_what_pytorch_counts():
    """`torch.utils.flop_counter` of PyTorch 2.13, attention by products, diffusers 0.42.1."""
    from flops import decoder_flops, unet_flops

    unet = UNetConfig.from_dict(config(ASSETS / "demo", "unet"))
    vae = VAEConfig.from_dict(config(ASSETS / "demo", "vae"))
    assert unet_flops(unet, 16, 16) == 568802304
    assert unet_flops(unet, 17, 19) == 780990336  # rounded up on the way down
    assert decoder_flops(vae, 16, 16) == 4088078336


def test_the_share_of_each_stage_in_what_onednn_reports():
    from profile_onednn import shares

    text = "\n".join(
        [
            "onednn_verbose,v1,info,cpu,isa:Intel AVX-512",
            "onednn_verbose,v1,primitive,exec,cpu,convolution,brg,forward,f32,,,mb1,200.0",
            "onednn_verbose,primitive,exec,cpu,matmul,brg:avx512,undef,f32,,,1x2,100",
            "onednn_verbose,v1,primitive,exec,cpu,reorder,jit,undef,f32,,,1x2,5e1",
            "onednn_verbose,v1,primitive,exec,cpu,eltwise,jit,undef,f32,,,1x2,50.0",
        ]
    )
    assert shares(text, seconds=1.0) == {
        "convolution": "20.0%",
        "matmul": "10.0%",
        "softmax": "0.0%",
        "reorder": "5.0%",
        "other oneDNN": "5.0%",
        "outside oneDNN": "60.0%",
    }


def test_a_table_is_as_wide_as_what_is_in_it(capsys):
    from reports import print_table

    print_table([{"peer": "a/long/name", "ms": 1234.5, "error": None}])
    assert capsys.readouterr().out == "peer               ms  error\na/long/name  1.23e+03      -\n"


def test_the_bars_name_the_best_of_sdbatch(tmp_path):
    from bars import verdicts

    rows = [
        {"peer": "sdbatch/static/fp16", "batch": 2, "calls/s": 90.0, "of peak": 0.2},
        {"peer": "sdbatch/inference/fp16", "batch": 2, "calls/s": 110.0, "of peak": 0.3},
        {"peer": "diffusers/sdpa/fp16", "batch": 2, "calls/s": 200.0, "of peak": 0.3},
        {"peer": "sdbatch/static/fp16", "batch": 16, "calls/s": 9.0, "of peak": 0.4},
    ]
    (tmp_path / "sd15-unet.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")
    pairs, share, absent = verdicts(tmp_path)
    assert pairs.endswith("110 by sdbatch/inference/fp16, over")
    assert share.endswith("0.4 by sdbatch/static/fp16, under")
    assert absent == "sdxl: no result"


def test_a_random_checkpoint_has_every_weight_under_the_name_that_diffusers_gives_it(tmp_path):
    from make_random import write

    from sdbatch.engine.load import load_pipeline

    write("sdxl", tmp_path, tiny=True)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.family == "sdxl"
    sampler = Sampler.from_config(checkpoint.scheduler, SamplerOptions("ddim"))
    load_pipeline(checkpoint, sampler, Device("cpu", "fp32"))  # strictly


class Recorded:
    """A peer that notes when it is asked, and may die of being asked for the third time."""

    def __init__(self, name: str, asked: list, mortal: bool = False):
        self.name, self.precision = name, name.rpartition("/")[2]
        self._asked, self._mortal = asked, mortal

    def ask(self, do: str, **arguments) -> dict:
        from peers import PeerFailed

        self._asked.append((self.name, *sorted(arguments)))
        if self._mortal and sum(name == self.name for name, *_ in self._asked) == 3:
            raise PeerFailed(f"{self.name}: out of memory")
        return {"seconds": 1.0, **({"error": 0.5} if "compare" in arguments else {})}


def test_peers_take_turns_after_one_in_which_they_are_compared_with_pytorch(monkeypatch, capsys):
    import peers

    monkeypatch.setattr(peers, "PAUSE_S", 0)
    asked: list = []
    group = peers.Group([], peers.Setting(ASSETS / "demo", "cpu", None, {}), ["unet"])
    ours, theirs, dies = "sdbatch/inference/fp32", "diffusers/sdpa/fp32", "diffusers/compile/fp32"
    group.peers = [Recorded(ours, asked), Recorded(theirs, asked), Recorded(dies, asked, True)]
    answers = group.turns(3, "run")
    compared = [(theirs, "save"), (ours, "compare"), (dies, "compare")]
    turns = [(ours,), (theirs,), (dies,), (ours,), (theirs,), (dies,), (ours,), (theirs,)]
    assert asked == compared + turns
    assert capsys.readouterr().err == f"left out: {dies}: out of memory\n"
    assert list(answers) == [ours, theirs]
    assert [len(given) for given in answers.values()] == [3, 3]
    assert (answers[ours][0]["error"], answers[theirs][0]["error"]) == (0.5, None)


def test_a_ratio_is_taken_round_by_round():
    from peers import ratio

    first, other = ([{"seconds": s} for s in times] for times in ((1, 10, 2), (2, 20, 40)))
    assert ratio(other, first) == 2


def test_the_unet_is_measured_by_what_is_here_and_what_is_not_is_left_out(tmp_path):
    file = tmp_path / "unet.json"
    ours, absent = "sdbatch/dygraph/fp32", "diffusers/sdpa/fp32"
    command = [sys.executable, BENCHMARKS / "unet.py", ASSETS / "demo", "--json", file]
    command += ["--rounds", "1", "--batches", "1", "--side", "64", "--peers", absent, ours]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == f"left out: {absent}: no such peer, or no Python given for it\n"
    record = json.loads(file.read_text(encoding="utf-8"))
    assert list(record["versions"]) == [ours]
    (row,) = record["rows"]
    assert (row["peer"], row["batch"], row["x first"], row["error"]) == (ours, 1, 1.0, None)
    assert row["of peak"] == pytest.approx(row["floor ms"] / row["ms"])
    assert record["peaks"]["fp32"] > 0
    assert ours in done.stdout
