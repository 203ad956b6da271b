"""Decoding of a picture: sdbatch, PyTorch diffusers and ppdiffusers in turns, against the floor.

    python benchmarks/make_random.py sd15 /tmp/sd15-random
    python benchmarks/vae.py /tmp/sd15-random --torch-python /path/to/torch/env/bin/python

The columns are those of `unet.py`. Where the checkpoint says that half precision overflows in its
decoder (SDXL), sdbatch and diffusers run it in float32 on a GPU, whatever the peer's name says.
"""

from __future__ import annotations

from comparison import add_options, measure, peaks_line, title
from peers import parser
from reports import report


def main() -> None:
    """Take turns, print medians and ratios."""
    made = parser(__doc__)
    add_options(made, batches=(1,))
    given = made.parse_args()
    found = measure(given, "vae")
    heading = title(given.folder, found.load, given)
    report(heading, found.rows, found.versions, given.json, peaks=found.peaks)
    print(peaks_line(found.peaks))


if __name__ == "__main__":
    main()
