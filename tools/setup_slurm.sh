#!/usr/bin/env bash
# Install Slurm and munge for the tests that run a real cluster: tools/setup_slurm.sh
# Only the programs are used: no service is started, no configuration of the system's is read.
set -euo pipefail

export PATH=$PATH:/usr/sbin:/sbin
missing=()
command -v munged >/dev/null || missing+=(munge)
for program in slurmctld slurmd sbatch scancel; do
    command -v "$program" >/dev/null || missing+=(slurm-wlm)
done
[ ${#missing[@]} -gt 0 ] || exit 0
as_root=$([ "$(id -u)" = 0 ] || echo sudo)
if ! command -v apt-get >/dev/null; then
    echo "setup: please install Slurm and munge; without them their tests are skipped" >&2
    exit 0
fi
$as_root apt-get update -q
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends slurm-wlm munge
