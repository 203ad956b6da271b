#!/usr/bin/env bash
# Build a virtual environment from a lock: tools/setup_env.sh VENV LOCK
# Installs what the system lacks (python3-venv, libgomp1) where apt-get and the rights are there.
# A second call with the same lock does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1 lock=$2
stamp=$venv/.lock.sha256
digest=$(cat "$lock" pyproject.toml | sha256sum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$digest" ] && exit 0

find_python() {
    for name in ${PYTHON:-} python3.11 python3.12 python3.10 python3; do
        command -v "$name" >/dev/null || continue
        "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' || continue
        echo "$name" && return
    done
}
has_libgomp() { "$python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null; }
has_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }
# Python of another origin than the system's, as in Paddle's images, may have pip but no ensurepip.
has_pip() { "$python" -m pip --python "$python" --version >/dev/null 2>&1; }

python=$(find_python)
missing=()
[ -n "$python" ] || missing+=(python3)
{ [ -n "$python" ] && { has_venv || has_pip; }; } || missing+=(python3-venv)
{ [ -n "$python" ] && has_libgomp; } || missing+=(libgomp1)
if [ ${#missing[@]} -gt 0 ]; then
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    if ! command -v apt-get >/dev/null; then
        echo "setup: please install ${missing[*]} (Debian's names) and run this again" >&2
        exit 1
    fi
    $as_root apt-get update -q
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
    python=$(find_python)
fi
if [ -z "$python" ]; then
    echo "setup: no Python 3.10, 3.11 or 3.12 found; name one: make env PYTHON=python3.11" >&2
    exit 1
fi

echo "setup: $venv from $lock with $("$python" --version)" >&2
rm -rf "$venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
if has_venv; then
    "$python" -m venv "$venv"
else
    "$python" -m venv --without-pip "$venv"
    "$python" -m pip --python "$venv/bin/python" install -q pip
fi
# The lock is complete, so nothing may be resolved anew.
"$venv/bin/python" -m pip install -q --no-deps -r "$lock"
"$venv/bin/python" -m pip install -q --no-deps --no-build-isolation --editable .
"$venv/bin/python" -m pip check >&2
echo "$digest" > "$stamp"
