"""Decoding of a picture: sdbatch, PyTorch diffusers and ppdiffusers in turns, against the floor.

    python benchmarks/make_random.py sd15 /tmp/sd15-random
    python benchmarks/vae.py /tmp/sd15-random --torch-python /path/to/torch/env/bin/python

The columns are those of `unet.py`. Where the checkpoint says that half precision overflows in its
decoder (SDXL), sdbatch and diffusers run it in float32 on a GPU, whatever the peer's name says.
"""

from __future__ import annotations

from comparison import Load, add_options, compare, peaks_line, title
from flops import decoder_flops
from peers import Group, names_of, parser, setting_of
from reports import configs, report, trained_side


def main() -> None:
    """Take turns, print medians and ratios."""
    made = parser(__doc__)
    add_options(made, batches=(1,))
    given = made.parse_args()
    setting, side = setting_of(given), given.side or trained_side(given.folder)
    _, vae = configs(given.folder)
    cells = side // vae.downscale
    load = Load("vae", decoder_flops(vae, cells, cells), side, given.batches)
    with Group(names_of(given, setting), setting, ["vae"]) as group:
        rows, peaks = compare(group, load, given.rounds, given.calls)
        versions = group.versions
    report(title(given.folder, load, given), rows, versions, given.json, peaks=peaks)
    print(peaks_line(peaks))


if __name__ == "__main__":
    main()
