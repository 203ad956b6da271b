"""The engine that a config asks for, on the device that it gets."""

from dataclasses import replace
from pathlib import Path

import pytest

from sdbatch.config.choices import EngineName
from sdbatch.config.schema import EngineConfig, ModelConfig
from sdbatch.engine.cards import CARDS
from sdbatch.engine.device import Device
from sdbatch.engine.options import default_cache
from sdbatch.errors import UserError
from sdbatch.runner import engine_options as module
from sdbatch.runner.engine_options import explain_engine, settle_engine
from sdbatch.runner.model import open_model
from tests.composing import job
from tests.conftest import ASSETS

CPU, BF16 = Device("cpu", "fp32"), Device("cpu", "bf16")
GPUS = (Device("gpu:0", "fp16"), Device("gpu:1", "fp16"))


@pytest.fixture
def config():
    found = job("device=cpu")
    return replace(found, model=ModelConfig(path=str(ASSETS / "demo")))


@pytest.fixture
def settled(config):
    """`settled(device, ..., engine fields)`: what a job with that engine is run by."""

    def settle(*devices, batch_size="auto", **engine):
        changed = replace(config, engine=EngineConfig(**engine), batch_size=batch_size)
        return settle_engine(changed, open_model(changed), devices or (CPU,), (128, 128))

    return settle


def refusal(settled, *arguments, **engine) -> str:
    with pytest.raises(UserError) as error:
        settled(*arguments, **engine)
    return str(error.value)


def test_auto_is_paddle_inference_on_a_cpu_with_the_users_cache(settled):
    found = settled().options
    assert (found.name, found.cache, found.cache_bytes) == (
        "inference",
        default_cache(),
        512_000_000,
    )


@pytest.mark.parametrize("name", ["dygraph", "static", "inference", "random"])
def test_an_engine_that_is_named_is_taken(settled, name):
    assert settled(name=EngineName(name)).options.name == name


def test_the_cache_moves_and_has_a_limit(settled):
    found = settled(cache="somewhere", cache_mb=3).options
    assert (found.cache, found.cache_bytes) == (Path.cwd() / "somewhere", 3_000_000)


@pytest.mark.parametrize("name", ["random", "inference"])
def test_a_batch_size_that_is_asked_for_is_taken(settled, name):
    assert settled(name=EngineName(name), batch_size=7).batch_size == 7


def test_the_batch_of_a_cpu_is_what_its_share_of_memory_holds(settled, monkeypatch):
    monkeypatch.setattr(module, "available_memory", lambda: 3_439_000_000)
    assert settled(CPU).batch_size == 4
    assert settled(CPU, CPU).batch_size < 4


@pytest.mark.parametrize("name", ["dygraph", "static"])
def test_bfloat16_on_a_cpu_needs_paddle_inference(settled, monkeypatch, name):
    monkeypatch.setattr(module, "paddle_line", lambda: (3, 3))
    monkeypatch.setattr(module, "cpu_has_bf16", lambda: True)
    assert refusal(settled, BF16, name=EngineName(name)) == (
        f"precision=bf16: on a CPU expected engine=inference, found {name}"
    )
    assert settled(BF16).options.name == "inference"


def test_bfloat16_on_a_cpu_needs_its_instructions(settled, monkeypatch):
    monkeypatch.setattr(module, "cpu_has_bf16", lambda: False)
    assert refusal(settled, BF16) == (
        "precision=bf16: this CPU multiplies no bfloat16 (no avx512_bf16 in /proc/cpuinfo); "
        "expected fp32"
    )


def test_bfloat16_on_a_cpu_needs_paddle_3(settled, monkeypatch):
    monkeypatch.setattr(module, "paddle_line", lambda: (2, 6))
    monkeypatch.setattr(module, "cpu_has_bf16", lambda: True)
    assert refusal(settled, BF16) == ("precision=bf16: on a CPU it needs Paddle 3; expected fp32")


@pytest.mark.parametrize("key", ["cinn", "tensorrt"])
def test_what_only_a_gpu_has_is_refused_on_a_cpu(settled, key):
    assert refusal(settled, **{key: True}).startswith(f"engine.{key}=true: expected engine=")


def test_a_card_is_described_by_nvidia_smi_or_else_by_paddle(settled, monkeypatch):
    monkeypatch.setattr(module, "paddle_line", lambda: (3, 3))
    monkeypatch.setattr(module, "installed_cards", lambda: [CARDS["t4"], CARDS["a100"]])
    by_smi = settled(*GPUS).options
    monkeypatch.setattr(module, "installed_cards", lambda: None)
    monkeypatch.setattr(module, "cards_by_paddle", lambda: [CARDS["t4"], CARDS["a100"]])
    assert by_smi == settled(*GPUS).options
    assert (by_smi.name, by_smi.kernels.flash) == ("static", 0)


class TestExplanation:
    def test_is_of_this_machines_cpu(self, config):
        text = explain_engine(config)
        assert text.startswith("plan for cpu")
        assert "engine                inference" in text

    def test_is_of_a_card_that_is_not_here(self, config):
        found = explain_engine(replace(config, engine=EngineConfig(card="v100"), device="auto"))
        assert found.startswith("plan for V100 32 GB (compute capability 7.0)")
        assert found.endswith("benchmarks/gpu.sh measures")

    def test_refuses_a_card_nobody_knows(self, config):
        with pytest.raises(UserError, match=r"^engine.card: v1000: expected one of .*did you mean"):
            explain_engine(replace(config, engine=EngineConfig(card="v1000")))

    def test_refuses_a_gpu_that_is_not_there(self, config, monkeypatch):
        monkeypatch.setattr(module, "installed_cards", lambda: None)
        with pytest.raises(UserError, match=r"^engine.explain: device=gpu: nvidia-smi shows no"):
            explain_engine(replace(config, device="gpu"))

    def test_refuses_a_rehearsal(self, config):
        with pytest.raises(UserError, match=r"^engine.explain: engine=random has no networks"):
            explain_engine(replace(config, engine=EngineConfig(EngineName.random)))


def test_the_command_prints_the_plan_and_runs_nothing(sdbatch, tmp_path):
    result = sdbatch("engine.explain=true", "engine.card=t4")
    assert (result.returncode, result.stdout) == (0, "")
    assert "plan for T4 (compute capability 7.5)" in result.stderr
    assert list(tmp_path.iterdir()) == []
