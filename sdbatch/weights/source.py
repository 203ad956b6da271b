"""Open a checkpoint, whatever kind of source it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sdbatch.errors import UserError, one_line
from sdbatch.weights.checkpoint import Checkpoint, Component
from sdbatch.weights.folder import open_folder
from sdbatch.weights.options import SourceOptions
from sdbatch.weights.single_file import open_single_file, open_vae

_FLOATS = ("F64", "F32", "F16", "BF16")


def open_checkpoint(path: Path, options: SourceOptions | None = None) -> Checkpoint:
    """A folder of diffusers or in Paddle's form, or a single file in the original layout.

    Only configs and headers are read.

    Raises:
        UserError: naming the file or key that is missing, malformed or unexpected.
    """
    options = options or SourceOptions()
    if path.is_file():
        if options.variant:
            raise UserError(f"{path}: variant is for folders; a single file holds no variants")
        return _refuse_integers(open_single_file(path, options))
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; expected a checkpoint")
    if options.base:
        raise UserError(f"{path}: base is for single files; a folder has its own configs")
    checkpoint = open_folder(path, options)
    if options.vae:
        vae, dropped = open_vae(options.vae, path / "vae")
        checkpoint = replace(checkpoint, vae=vae, dropped=dropped)
    return _refuse_integers(checkpoint)


def _refuse_integers(checkpoint: Checkpoint) -> Checkpoint:
    for component in checkpoint.components:
        refuse_integers(component)
    return checkpoint


def refuse_integers(component: Component) -> None:
    """Quantised weights would be taken for what they are not.

    Raises:
        UserError: there are some, by file and key.
    """
    for name, place in component.places.items():
        if place.dtype not in _FLOATS and not component.layout.why_dropped(name):
            raise UserError(
                f"{place.file.path}: {one_line(place.key)}: weights of dtype {place.dtype} "
                f"are not supported; expected one of {', '.join(_FLOATS)}"
            )
