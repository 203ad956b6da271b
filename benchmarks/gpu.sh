#!/usr/bin/env bash
# All benchmarks on a machine with a GPU, unattended, in under eight minutes.
#
#     PYTHON=.venv/bin/python TORCH_PYTHON=/path/to/torch/env/bin/python benchmarks/gpu.sh results
#     benchmarks/gpu.sh --dry-run results      # on a CPU, tiny models: does the script itself work?
#
# Writes JSON and logs into the folder, and ends with the bars to beat. A step that fails or runs
# out of time is reported, the rest goes on, and the script ends with 1. WEIGHTS is where random checkpoints are kept for
# the next time (10 GB). TORCH_PYTHON may be left out.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python}
deadline=$((SECONDS + 465))

dry_run=false
if [[ ${1:-} == --dry-run ]]; then
    dry_run=true
    shift
fi
if [[ $# -ne 1 ]]; then
    echo "usage: $0 [--dry-run] FOLDER" >&2
    exit 1
fi
folder=$1
mkdir -p "$folder"

if $dry_run; then
    weights=${WEIGHTS:-$folder/weights}
    make=(--tiny)
    device=(--device cpu --rounds 1)
    precision=fp32
    calls=1
else
    weights=${WEIGHTS:-${TMPDIR:-/tmp}/sdbatch-random}
    make=(--dtype float16)
    device=(--device gpu --rounds 3)
    precision=fp16
    calls=10
fi

failed=0
engines=("sdbatch/inference/$precision" "sdbatch/static/$precision" "sdbatch/dygraph/$precision")
best=("${engines[0]}")
options=("${device[@]}" --python "$python")
if [[ -n ${TORCH_PYTHON:-} ]]; then
    options+=(--torch-python "$TORCH_PYTHON")
    engines+=("diffusers/sdpa/$precision" "diffusers/compile/$precision")
    best+=("diffusers/sdpa/$precision")
fi

# step NAME SECONDS COMMAND...: runs the command for so long at most, and never over the deadline.
step() {
    local name=$1 limit=$2 left=$((deadline - SECONDS))
    shift 2
    echo
    echo "== $name (${left} s left)"
    if ((left < 5)); then
        echo "$name: no time left"
        failed=1
        return
    fi
    if ! timeout --kill-after=5 "$((limit < left ? limit : left))" "$@" 2>"$folder/$name.log"; then
        echo "$name: failed, or was not done in time; see $folder/$name.log"
        failed=1
    fi
    grep '^left out' "$folder/$name.log" || true
}

# bench NAME SECONDS SCRIPT MODEL OPTIONS...
bench() {
    local name=$1 limit=$2 script=$3 model=$4
    shift 4
    step "$name" "$limit" "$python" "$here/$script.py" "$weights/$model" \
        "${options[@]}" --json "$folder/$name.json" "$@"
}

for model in sd15 sdxl; do
    if [[ ! -e $weights/$model.made ]]; then
        step "make-$model" 100 "$python" "$here/make_random.py" "$model" "$weights/$model" \
            "${make[@]}"
        if [[ -e $weights/$model/text_encoder/model.safetensors ]]; then
            touch "$weights/$model.made"
        fi
    fi
    bench "$model-unet" 110 unet "$model" --batches 2 16 --calls "$calls" --peers "${engines[@]}"
done
for model in sd15 sdxl; do
    bench "$model-end_to_end" 60 end_to_end "$model" --batch 4 --peers "${best[@]}"
    bench "$model-vae" 40 vae "$model" --calls "$calls" --peers "${best[@]}"
    bench "$model-memory" 40 memory "$model" --peers "${best[@]}"
done

echo
if $dry_run; then
    echo "A dry run: tiny models on a CPU. That there are lines below is all they say."
fi
"$python" "$here/bars.py" "$folder"
echo "took $SECONDS s; results in $folder"
exit "$failed"
