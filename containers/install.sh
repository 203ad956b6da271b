#!/usr/bin/env bash
# Put sdbatch into one of Paddle's images: install.sh packages, then install.sh sdbatch.
# Dockerfile and sdbatch.def both call it. The image's Python and Paddle stay untouched: what sdbatch
# needs goes into a virtual environment in front of them. (Straight into the image, pip would have to
# remove packages of the distribution first, and refuses to: "distutils installed project".)
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-/opt/venv}
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PYTHONNOUSERSITE=1

packages() {
    # For `make demo` and `make test`. Asked of apt only where missing: an old image's sources may be gone.
    local missing=()
    for tool in make git; do command -v $tool >/dev/null || missing+=("$tool"); done
    if [ ${#missing[@]} -gt 0 ]; then
        apt-get update -q || echo "install: some package sources do not answer" >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
        rm -rf /var/lib/apt/lists/*
    fi

    # By its full name, python3.10: the images have bent the link python3, and apt may bend it back.
    # Without pip, as the images lack python3-venv; the image's pip fetches the one of the lock.
    "$(readlink -f "$(command -v python3)")" -m venv --system-site-packages --without-pip "$venv"
    # The lock is complete, so nothing may be resolved anew; Paddle is there.
    grep -v '^paddlepaddle' requirements/paddle26-gpu.lock > "$venv/packages.lock"
    "$venv/bin/python" -m pip install -q --no-deps -r "$venv/packages.lock"
}

sdbatch() {
    local wheels
    wheels=$(mktemp -d)
    "$venv/bin/python" -m pip wheel -q --no-deps --wheel-dir "$wheels" .
    # From nowhere but this machine: it fails if anything that sdbatch needs is not there by now.
    "$venv/bin/python" -m pip install -q --no-index "$wheels"/*.whl
    rm -rf "$wheels"
    check
}

check() {
    "$venv/bin/python" - <<'END'
import importlib.metadata, importlib.util, sys

paddle = importlib.util.find_spec("paddle")
if not paddle:
    sys.exit("install: the image has no Paddle for this Python")
if paddle.origin.startswith(sys.prefix):
    sys.exit("install: the lock brought another Paddle than the image's own")
for package in importlib.metadata.packages_distributions()["paddle"]:
    print("install:", package, importlib.metadata.version(package), "in", paddle.origin)
END
    (cd / && "$venv/bin/python" -m sdbatch --help >/dev/null)
    # A build has no NVIDIA driver, and some lines of Paddle cannot be loaded without. CUDA has a stub of it.
    local stub
    stub=$(mktemp -d)
    ln -s /usr/local/cuda/lib64/stubs/libcuda.so "$stub/libcuda.so.1"
    LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:$stub "$venv/bin/python" -c 'import paddle' ||
        echo "install: Paddle could not be tried, there is no driver; try it with --gpus all or --nv" >&2
    rm -rf "$stub"
}

"$1"
