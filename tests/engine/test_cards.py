"""Known cards, the cards that nvidia-smi reports, and which Paddle line has code for which."""

import os
import subprocess

import pytest

from sdbatch.engine import cards as module
from sdbatch.engine.cards import (
    CARDS,
    Hardware,
    card,
    installed_cards,
    paddle_line,
    parse_nvidia_smi,
    refuse_misfit,
)
from sdbatch.errors import UserError

CPU = Hardware("cpu", None, 10**10, cores=4)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_has_a_capability_and_memory(name):
    assert card(name).is_gpu
    assert card(name).memory_bytes > 14 * 10**9
    assert not CPU.is_gpu


@pytest.mark.parametrize(
    ("name", "capability"),
    [("v100", (7, 0)), ("t4", (7, 5)), ("a100", (8, 0)), ("rtx3090", (8, 6)), ("h200", (9, 0))],
)
def test_capabilities_are_cudas(name, capability):
    assert card(name).capability == capability


def test_an_unknown_card_is_refused_with_its_near_miss():
    with pytest.raises(UserError) as error:
        card("A100-40GB")
    message = str(error.value)
    assert message.startswith("engine.card: A100-40GB: expected one of v100_16gb, v100, t4, ")
    assert message.endswith("did you mean a100_40gb?")


def test_a_card_unlike_any_is_refused_without_a_guess():
    with pytest.raises(UserError, match=r"h200$"):
        card("abacus")


REPORT = "NVIDIA A100-SXM4-80GB, 8.0, 81920, 81038\nTesla T4, 7.5, 15360, 14910\n"


def test_nvidia_smi_is_read():
    a100, t4 = parse_nvidia_smi(REPORT)
    assert a100.name == "NVIDIA A100-SXM4-80GB"
    assert a100.capability == (8, 0)
    assert a100.memory_bytes == 81920 << 20
    assert t4.free_bytes == t4.usable_bytes == 14910 << 20


def test_a_name_may_have_commas():
    assert parse_nvidia_smi("A card, by us, 9.0, 100, 90")[0].name == "A card, by us"


@pytest.mark.parametrize("text", ["no devices were found", "GB10, 12.1, [N/A], [N/A]"])
def test_other_reports_are_no_cards(text):
    with pytest.raises(ValueError, match=r"."):
        parse_nvidia_smi(text)


def test_a_card_that_is_not_here_is_free():
    assert card("t4").usable_bytes == card("t4").memory_bytes


@pytest.fixture
def nvidia_smi(monkeypatch, tmp_path):
    """`nvidia_smi(script)`: a program of that name, which alone is found."""

    def install(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    monkeypatch.setattr(os, "environ", {"PATH": str(tmp_path)})
    return install


def test_this_machines_cards_are_asked_for(nvidia_smi):
    nvidia_smi('echo "Tesla T4, 7.5, 15360, 14910"')
    assert installed_cards() == parse_nvidia_smi("Tesla T4, 7.5, 15360, 14910")


def test_visible_cards_are_asked_for_in_their_order(nvidia_smi):
    nvidia_smi('for which; do :; done; echo "card $which, 8.0, 100, 90"')
    os.environ["CUDA_VISIBLE_DEVICES"] = "2,0"
    assert [one.name for one in installed_cards()] == ["card 2", "card 0"]


def test_no_card_is_visible(nvidia_smi):
    nvidia_smi("exit 1")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    assert installed_cards() == []


@pytest.mark.parametrize("script", ["exit 9", "echo No devices were found", "echo x, 8.0, N/A, 1"])
def test_an_nvidia_smi_that_cannot_tell_is_none(nvidia_smi, script):
    nvidia_smi(script)
    assert installed_cards() is None
    os.environ["CUDA_VISIBLE_DEVICES"] = "0"
    assert installed_cards() is None


@pytest.mark.usefixtures("nvidia_smi")
def test_no_nvidia_smi_is_none():
    assert installed_cards() is None


def test_an_nvidia_smi_that_hangs_is_none(monkeypatch):
    def hang(*arguments, **keywords):
        raise subprocess.TimeoutExpired("nvidia-smi", 60)

    monkeypatch.setattr(subprocess, "run", hang)
    assert installed_cards() is None


def test_the_paddle_line_is_the_one_installed():
    import paddle

    assert paddle_line() == tuple(map(int, paddle.__version__.split(".")[:2]))


def test_paddle_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="Paddle is not installed"):
        paddle_line()


@pytest.mark.parametrize("name", CARDS)
def test_paddle_3_has_code_for_every_card(name):
    refuse_misfit(card(name), (3, 3))


@pytest.mark.parametrize("name", sorted(CARDS.keys() - {"h100", "h200"}))
def test_paddle_26_has_code_for_volta_to_ada(name):
    refuse_misfit(card(name), (2, 6))


@pytest.mark.parametrize("name", ["h100", "h200"])
def test_paddle_26_has_none_for_hopper(name):
    with pytest.raises(UserError, match=r"2\.6 has no code for compute capability 9\.0.*Paddle 3"):
        refuse_misfit(card(name), (2, 6))


def test_any_paddle_runs_on_a_cpu():
    refuse_misfit(CPU, (2, 6))
