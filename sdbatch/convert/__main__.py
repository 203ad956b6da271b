"""`python -m sdbatch.convert SRC DST`: a checkpoint from the PyTorch world in Paddle's own form."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from sdbatch.command import CommandParser, complain, say
from sdbatch.disk import is_full
from sdbatch.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from sdbatch.weights.family import FAMILIES, PREDICTIONS
from sdbatch.weights.options import SourceOptions


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert, print the new folder, exit with the contract's code."""
    given = _parser().parse_args(arguments)
    try:
        _run(given)
    except UserError as error:
        _fail(str(error), EXIT_USER_ERROR)
    except KeyboardInterrupt:
        whole = (given.target / "model_index.json").is_file()
        state = "is whole, but was not verified" if whole else "was not written"
        _fail(f"interrupted: {given.target} {state}", EXIT_INTERRUPTED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(
            f"{where}{error.strerror or error}",
            EXIT_INTERRUPTED if is_full(error) else EXIT_USER_ERROR,
        )
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(given.target) + b"\n")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "convert", "Convert a Stable Diffusion 1.x, 2.x or XL checkpoint to Paddle's own form."
    )
    add = parser.add_argument
    add("source", type=Path, help="a .safetensors or .ckpt file, or a folder of diffusers")
    add("target", type=Path, help="the folder to make; must not exist, or be empty")
    add("--family", choices=FAMILIES, help="refuse the source if it is another")
    add("--prediction", choices=PREDICTIONS, help="what the UNet predicts, if the source says not")
    add("--dtype", choices=("fp16", "bf16", "fp32"), help="default: as stored")
    add("--ema", action="store_true", help="take the running averages of the UNet's weights")
    add("--vae", type=Path, help="a file or folder whose autoencoder to use instead")
    add("--variant", help="which weights of a folder, e.g. fp16")
    add("--base", type=Path, help="a folder of diffusers for what a single file lacks")
    add("--verify", action="store_true", help="read the result again and compare every tensor")
    add("--report", type=Path, help="write a page about the conversion, .html or .md")
    return parser


def _run(given: argparse.Namespace) -> None:
    from sdbatch.convert.report import check_report, write_report
    from sdbatch.convert.target import refuse_full
    from sdbatch.weights.source import open_checkpoint

    signal.signal(signal.SIGTERM, _interrupt)
    if given.report:
        check_report(given.report)
    refuse_full(given.target)
    options = SourceOptions(
        given.family, given.prediction, given.ema, given.variant, given.vae, given.base
    )
    checkpoint = open_checkpoint(given.source, options)
    for line in checkpoint.evidence:
        say(line)
    # Nothing of Paddle before this line: a hostile file is refused by a small process.
    from sdbatch.engine.device import prepare_process

    prepare_process()
    with contextlib.redirect_stdout(sys.stderr):
        import paddle

        from sdbatch.convert.verify import verify
        from sdbatch.convert.write import convert

        paddle.disable_signal_handler()
    signal.signal(signal.SIGTERM, _interrupt)  # again: Paddle took it
    paddle.set_device("cpu")
    conversion = convert(checkpoint, given.target, options, given.dtype)
    for name, records in conversion.networks.items():
        say(f"{name}: {len(records)} tensors")
    say(f"dropped: {len(conversion.dropped)} tensors, each with its reason in conversion.json")
    verified = None
    if given.verify:
        verified = verify(checkpoint, given.target, conversion, given.dtype)
        say(f"verified: {verified} tensors equal the source")
    if given.report:
        write_report(given.report, conversion, verified)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> NoReturn:
    sys.exit(complain(message, code))


if __name__ == "__main__":
    main()
