"""One step of a UNet: sdbatch, PyTorch diffusers and ppdiffusers in turns, against the floor.

    python benchmarks/make_random.py sd15 /tmp/sd15-random
    python benchmarks/unet.py /tmp/sd15-random --precisions fp32 bf16 \\
        --torch-python /path/to/torch/env/bin/python --json unet.json

A guided picture calls the network with a batch of 2 at every step. "floor" is the time that the
work would take at the speed of the machine's own product of large matrices, measured between the
rounds by all peers, of which the best counts; "of peak" is that over the time taken. "error" is
the relative L2 distance to PyTorch in float32, on the same inputs. `--profile` runs each peer of
sdbatch once more with oneDNN's own report, and prints where the time went.
"""

from __future__ import annotations

import sys

from comparison import add_options, measure, peaks_line, title
from peers import PeerFailed, parser
from profile_onednn import profile
from reports import print_table, report


def main() -> None:
    """Take turns, print medians and ratios."""
    made = parser(__doc__)
    add_options(made, batches=(1, 2))
    made.add_argument("--profile", action="store_true", help="shares by kind of operation (CPU)")
    given = made.parse_args()
    found = measure(given, "unet")
    shares = []
    for name in found.versions if given.profile else ():
        if name.startswith("sdbatch"):
            try:
                shares.append(profile(name, found.setting, found.load, given.batches[-1]))
            except PeerFailed as error:
                print(f"left out: {error}", file=sys.stderr)
    heading = title(given.folder, found.load, given)
    report(heading, found.rows, found.versions, given.json, peaks=found.peaks, profile=shares)
    print(peaks_line(found.peaks))
    if shares:
        print()
        print_table(shares)


if __name__ == "__main__":
    main()
