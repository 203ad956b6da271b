"""The container recipes: they pass their linters, and agree with each other and with the locks."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.linters import run_linter

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "containers" / "Dockerfile"
RECIPE = ROOT / "containers" / "sdbatch.def"
INSTALL = ROOT / "containers" / "install.sh"


def sections() -> dict[str, str]:
    """Return the sections of the Apptainer recipe, without comments."""
    text = re.sub(r"^ *#.*\n", "", RECIPE.read_text(), flags=re.MULTILINE)
    parts = re.split(r"^%(\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def let_in() -> list[str]:
    """Return what .dockerignore lets into an image; it shuts out everything else."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    return [line[1:] for line in lines if line.startswith("!")]


def images(path: Path) -> set[str]:
    return set(re.findall(r"paddlepaddle/paddle:([\w.-]+)", path.read_text()))


def pinned(lock: str, package: str) -> str:
    text = (ROOT / "requirements" / lock).read_text()
    return re.search(rf"^{package}==(\S+)", text, re.MULTILINE)[1]


def test_dockerfile_passes_hadolint():
    run_linter("hadolint", "--no-color", str(DOCKERFILE))


def test_install_script_passes_shellcheck():
    run_linter("shellcheck", str(INSTALL))


@pytest.mark.parametrize("section", ["post", "environment", "runscript"])
def test_shell_of_the_recipe_passes_shellcheck(section):
    run_linter("shellcheck", "--shell=sh", "-", text=sections()[section])


def test_what_is_copied_exists():
    copies = re.findall(r"^COPY (\S+) ", DOCKERFILE.read_text(), re.MULTILINE)
    assert copies
    for source in [*copies, *let_in()]:
        assert (ROOT / source).exists(), source


def test_scripts_that_are_called_exist_and_can_run():
    calls = re.findall(r"^RUN (\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    calls += re.findall(r"/opt/sdbatch/(\S+) ", sections()["post"])
    assert calls == ["containers/install.sh"] * 4
    assert os.access(INSTALL, os.X_OK)


def test_both_images_hold_the_same_files():
    files = dict(line.split() for line in sections()["files"].splitlines() if line.strip())
    assert sorted(files) == sorted(set(let_in()) - {".dockerignore"})
    assert all(target == f"/opt/sdbatch/{source}" for source, target in files.items())


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_nothing_of_the_checkout_is_left_out():
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    top = {name.partition("/")[0] for name in tracked} - {".ci"}
    assert top <= set(let_in())


def test_recipes_and_documentation_name_the_same_images():
    assert images(DOCKERFILE) == images(RECIPE)
    assert images(DOCKERFILE) <= images(ROOT / "docs" / "containers.md")


def test_both_start_from_paddle_26_unless_told_otherwise():
    default = re.search(r"^ARG PADDLE=(\S+)", DOCKERFILE.read_text(), re.MULTILINE)[1]
    assert sections()["arguments"].strip() == f"PADDLE={default}"
    assert "paddle:2.6." in default


def test_images_bring_the_paddle_of_the_locks():
    versions = {tag.partition("-gpu-cuda")[0] for tag in images(DOCKERFILE)}
    assert versions == {
        pinned("paddle26-gpu.lock", "paddlepaddle-gpu"),
        pinned("paddle33.lock", "paddlepaddle"),
    }


def test_lock_serves_paddle_3_as_well():
    """The images share one lock: beside Paddle it must hold what Paddle 3 was tested with."""

    def pins(lock: str) -> set[str]:
        return set((ROOT / "requirements" / lock).read_text().splitlines())

    # Paddle 2.6 and what it alone needs. What Paddle 3 alone needs, its image has.
    old = ("paddlepaddle-gpu=", "astor=", "decorator=")
    ours = {line for line in pins("paddle26-gpu.lock") if not line.startswith(old)}
    assert ours <= pins("paddle33.lock")


def test_no_pytorch_gets_in():
    lock = (ROOT / "requirements" / "paddle26-gpu.lock").read_text()
    assert not re.search(r"^torch", lock, re.MULTILINE)
