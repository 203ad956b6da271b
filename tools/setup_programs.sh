#!/usr/bin/env bash
# Install the programs that tests put sdbatch beside: tools/setup_programs.sh
# Slurm and munge, for a cluster on the loopback address (no service is started, no configuration of
# the system's is read); exiftool and exempi, which read the labels in image files.
set -euo pipefail

export PATH=$PATH:/usr/sbin:/sbin
missing=()
command -v munged >/dev/null || missing+=(munge)
for program in slurmctld slurmd sbatch scancel; do
    command -v "$program" >/dev/null || missing+=(slurm-wlm)
done
command -v exiftool >/dev/null || missing+=(libimage-exiftool-perl)
ldconfig -p | grep -q libexempi.so || missing+=(libexempi8)
[ ${#missing[@]} -gt 0 ] || exit 0
as_root=$([ "$(id -u)" = 0 ] || echo sudo)
if ! command -v apt-get >/dev/null; then
    echo "setup: please install ${missing[*]}; without them their tests are skipped" >&2
    exit 0
fi
$as_root apt-get update -q
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
