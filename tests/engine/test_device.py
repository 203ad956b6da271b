"""Devices for workers: what `auto` means, who gets which cores or card, and what is refused."""

import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.engine import device as module
from sdbatch.engine.cards import Hardware
from sdbatch.engine.device import (
    RANDOM,
    Device,
    cards_by_paddle,
    choose_devices,
    cpu_devices,
    gpu_count,
)
from sdbatch.errors import UserError
from tests.conftest import ROOT


@pytest.fixture
def machine(monkeypatch):
    """`machine(gpus=2, cores={0, 1})`: what Paddle and the kernel show of this machine."""

    def be(gpus: int = 0, cores=frozenset({0, 1, 2, 3})) -> None:
        monkeypatch.setattr(module, "gpu_count", lambda: gpus)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(cores))

    be()
    return be


def choose(kind="auto", devices="auto", workers="auto", precision="auto", cpu_workers=1):
    return choose_devices(kind, devices, workers, precision, cpu_workers)


def names(devices) -> list[str]:
    return [device.name for device in devices]


def refusal(*arguments, **keywords) -> str:
    with pytest.raises(UserError) as error:
        choose(*arguments, **keywords)
    return str(error.value)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp16", "float16"), ("bf16", "bfloat16"), ("fp32", "float32")]
)
def test_precisions_have_paddles_names(precision, dtype):
    assert Device("gpu:0", precision).dtype == dtype


@pytest.mark.usefixtures("machine")
class TestCpu:
    @pytest.mark.parametrize("kind", ["auto", "cpu"])
    def test_is_chosen_where_there_is_no_gpu_or_it_is_asked_for(self, kind):
        assert choose(kind) == (Device("cpu", "fp32"),)

    def test_is_chosen_beside_gpus_that_are_not_even_looked_for(self, monkeypatch):
        monkeypatch.setattr(module, "gpu_count", None)
        assert choose("cpu") == (Device("cpu", "fp32"),)

    def test_auto_means_as_many_workers_as_the_caller_thinks_fit(self):
        assert len(choose(cpu_workers=3)) == 3
        assert len(choose(workers=2, cpu_workers=3)) == 2

    def test_float16_is_refused_with_what_to_choose(self):
        assert refusal("cpu", precision="fp16") == (
            "precision=fp16: Paddle has no fp16 convolutions on a CPU; "
            "choose precision=fp32 (or auto) or bf16, or run on a GPU"
        )

    def test_bfloat16_is_what_is_computed_in_and_not_the_weights_format(self):
        assert choose("cpu", precision="bf16") == (Device("cpu", "bf16"),)
        assert Device("cpu", "bf16").dtype == "float32"

    def test_a_rehearsal_has_no_precision(self):
        assert cpu_devices(1, RANDOM) == (Device("cpu", "none"),)

    @pytest.mark.parametrize(("devices", "shown"), [(2, "2"), ([0, 1], "[0, 1]")])
    def test_cards_are_refused(self, devices, shown):
        assert refusal("cpu", devices=devices) == (
            f"devices: {shown}: for GPUs only; on a CPU give workers=N instead"
        )


class TestCores:
    """Of the cores that this process may use, whatever their numbers are."""

    cores = st.sets(st.integers(0, 1023), min_size=1, max_size=96)
    workers = st.integers(2, 200)

    def divided(self, cores, workers) -> list[tuple[int, ...]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "sched_getaffinity", lambda _: cores)
            devices = cpu_devices(workers, "fp32")
        assert set(names(devices)) == {"cpu"}
        return [device.cores for device in devices]

    @given(cores, workers)
    def test_every_worker_has_some_and_no_core_is_idle(self, cores, workers):
        shares = self.divided(cores, workers)
        assert len(shares) == workers
        assert all(shares)
        assert {core for share in shares for core in share} == cores

    @given(cores, workers)
    def test_shares_differ_by_one_at_most(self, cores, workers):
        sizes = [len(share) for share in self.divided(cores, workers)]
        assert max(sizes) - min(sizes) <= 1

    @given(cores, workers)
    def test_a_core_is_shared_only_where_workers_are_more_and_then_evenly(self, cores, workers):
        uses = Counter(core for share in self.divided(cores, workers) for core in share)
        assert max(uses.values()) - min(uses.values()) <= 1
        assert workers > len(cores) or set(uses.values()) == {1}

    @given(
        st.integers(2, 96).flatmap(
            lambda n: st.tuples(
                st.sets(st.integers(0, 1023), min_size=n, max_size=96), st.integers(2, n)
            )
        )
    )
    def test_neighbours_stay_together(self, cores_and_workers):
        """Their caches are near each other."""
        cores, workers = cores_and_workers
        shares = self.divided(cores, workers)
        assert [core for share in shares for core in share] == sorted(cores)

    def test_one_worker_keeps_to_none(self, machine):
        machine(cores={4, 5})
        assert cpu_devices(1, "auto") == (Device("cpu", "fp32", ()),)


class TestGpus:
    def test_are_all_used_in_half_precision(self, machine):
        machine(gpus=2)
        two = tuple(Device(f"gpu:{n}", "fp16", sharing=2) for n in (0, 1))
        assert choose() == choose("gpu") == two

    @pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
    def test_or_in_the_one_that_is_asked_for(self, machine, precision):
        machine(gpus=1)
        assert choose(precision=precision) == (Device("gpu:0", precision),)

    @pytest.mark.parametrize(
        ("devices", "chosen"),
        [(1, ["gpu:0"]), (3, ["gpu:0", "gpu:1", "gpu:2"]), ([3, 1], ["gpu:3", "gpu:1"])],
    )
    def test_may_be_chosen_by_count_or_by_number(self, machine, devices, chosen):
        machine(gpus=4)
        assert names(choose(devices=devices)) == chosen
        assert names(choose(devices=devices, workers=len(chosen))) == chosen

    @pytest.mark.parametrize(("devices", "shown"), [(5, "5"), ([0, 4], "[0, 4]")])
    def test_that_are_not_there_are_refused(self, machine, devices, shown):
        machine(gpus=4)
        assert refusal(devices=devices) == (
            f"devices: {shown}: this machine shows Paddle 4 GPUs, numbered 0 to 3"
        )

    def test_none_at_all_are_refused(self, machine):
        machine(gpus=0)
        assert refusal("gpu") == (
            "device: gpu: this machine shows Paddle 0 GPUs; choose device=cpu"
        )
        assert refusal(devices=2).startswith("devices: 2: for GPUs only; ")

    def test_have_one_worker_each(self, machine):
        machine(gpus=4)
        assert refusal(devices=[0, 1], workers=4) == (
            "workers: 4: on GPUs there is one worker for each of devices (2 here)"
        )

    def test_what_a_cpu_would_hold_does_not_matter(self, machine):
        machine(gpus=2)
        assert len(choose(cpu_workers=7)) == 2


@pytest.mark.parametrize("kind", ["tpu", "", "cpu:0", "GPU", "gpu 0"])
def test_a_device_of_another_kind_is_refused(kind):
    assert refusal(kind) == f"device: expected auto, cpu or gpu, found {kind!r}"


def test_a_card_named_as_paddle_names_it_is_refused_with_what_to_give():
    assert refusal("gpu:1") == (
        "device: expected auto, cpu or gpu, found 'gpu:1'; choose cards with devices=[0]"
    )


@pytest.mark.usefixtures("machine")
class TestEnvironment:
    """What a worker's process finds before it imports Paddle."""

    def cards(self, index: int, shown: str | None) -> str:
        inherited = {} if shown is None else {"CUDA_VISIBLE_DEVICES": shown}
        return Device(f"gpu:{index}", "fp16").environment(inherited)["CUDA_VISIBLE_DEVICES"]

    @pytest.mark.parametrize("shown", [None, ""])
    def test_shows_it_its_own_card(self, shown):
        assert [self.cards(n, shown) for n in range(3)] == ["0", "1", "2"]

    def test_counts_among_those_that_the_parent_was_shown(self):
        assert [self.cards(n, "2,3,7") for n in range(3)] == ["2", "3", "7"]

    def test_takes_names_as_they_are(self):
        shown = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,MIG-GPU-5a/1/0"
        assert [self.cards(n, shown) for n in range(2)] == shown.split(",")

    def test_lets_it_use_its_cores_only(self, machine):
        def threads(*cores):
            return Device("cpu", "fp32", cores).environment({})["OMP_NUM_THREADS"]

        machine(cores=range(8))
        assert (threads(0, 1, 2), threads()) == ("3", "8")

    def test_of_a_cpu_leaves_cards_alone_and_keeps_the_rest(self):
        inherited = {"CUDA_VISIBLE_DEVICES": "2,3", "PATH": "/bin"}
        found = Device("cpu", "fp32").environment(inherited)
        assert inherited.items() <= found.items()
        assert inherited == {"CUDA_VISIBLE_DEVICES": "2,3", "PATH": "/bin"}  # not ours to change


class TestCount:
    """Of GPUs, by the Paddle that is installed; the process that asks does not import it."""

    ASK = (
        "import sys\n"
        "from sdbatch.engine.device import gpu_count\n"
        "from sdbatch.errors import UserError\n"
        "try: print(gpu_count())\n"
        "except UserError as error: print(error)\n"
        "print('paddle' in sys.modules)\n"
    )

    def ask(self, *folders) -> list[str]:
        path = os.pathsep.join(map(str, [*folders, ROOT]))
        child = subprocess.run(
            [sys.executable, "-c", self.ASK], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": path}, cwd=ROOT,
        )  # fmt: skip
        return child.stdout.splitlines()

    def paddle(self, folder, code: str, cuda: str = "11.8"):
        """A package of this name and of a build for GPUs."""
        (folder / "paddle" / "version").mkdir(parents=True)
        (folder / "paddle" / "__init__.py").write_text(code)
        (folder / "paddle" / "version" / "__init__.py").write_text(f"cuda_version     = '{cuda}'\n")
        return folder

    COUNT = (
        "from types import SimpleNamespace as Of\n"
        "print('a warning of some library')\n"
        "device = Of(cuda=Of(device_count=lambda: 3))\n"
    )

    def test_with_a_build_for_cpus_there_is_none(self, tmp_path):
        # Even if it cannot be imported: it is not.
        assert self.ask(self.paddle(tmp_path, "1 / 0", "False")) == ["0", "False"]

    def test_is_what_a_build_for_gpus_says_in_a_process_of_its_own(self, tmp_path):
        assert self.ask(self.paddle(tmp_path, self.COUNT)) == ["3", "False"]

    def test_they_are_described_whatever_libraries_print_beside(self, monkeypatch):
        said = ["a warning of some library", "sdbatch-card 8 0 85899345920 NVIDIA A100 80GB"]
        monkeypatch.setattr(module, "_asked_of_paddle", lambda script: said)
        assert cards_by_paddle() == [Hardware("NVIDIA A100 80GB", (8, 0), 85899345920)]

    def test_cannot_be_known_where_paddle_cannot_be_imported(self, tmp_path):
        broken = self.paddle(tmp_path, "raise ImportError('libcudart.so.11.0: no such file')")
        assert self.ask(broken) == [
            "Paddle cannot be imported: ImportError: libcudart.so.11.0: no such file", "False",
        ]  # fmt: skip

    def test_cannot_be_known_without_paddle(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(UserError, match=r"^Paddle is not installed; expected sdbatch\[cpu\]"):
            gpu_count()
