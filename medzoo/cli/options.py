"""Options, arguments and checks that several commands share."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import keras
    import numpy as np


class ImageFiles(click.ParamType):
    """Path of a file or folder, or one frame of a file: `scan.dcm#3`."""

    name = "path"

    def convert(self, value, param, ctx) -> Path:
        from medzoo.io.image import split_frame

        path, _ = split_frame(value)
        if not path.exists():
            self.fail(f"{path}: no such file or folder.", param, ctx)
        return Path(value)


class Sides(click.ParamType):
    """Image side in pixels, or the voxels of a volume along each axis: `256`, `32x48x32`."""

    name = "size"

    def convert(self, value, param, ctx) -> int | tuple[int, ...]:
        sides = str(value).split("x")
        if len(sides) not in (1, 3) or not all(side.isdigit() and int(side) for side in sides):
            self.fail(f"Expected the side in pixels, or voxels per axis as 32x48x32, got {value}.", param, ctx)
        return int(sides[0]) if len(sides) == 1 else tuple(map(int, sides))


FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
PATH = click.Path(path_type=Path)
EXISTING = click.Path(path_type=Path, exists=True)

preset_argument = click.argument("preset", metavar="PRESET")
seed_option = click.option("--seed", default=0, show_default=True, help="Random seed.")
feature_type_option = click.option(
    "--feature-type",
    default="both",
    show_default=True,
    type=click.Choice(["latent", "encoder", "both"]),
    help="Features: the latents, the pooled activations of the encoder, or both.",
)
from_scratch_option = click.option(
    "--from-scratch", is_flag=True, help="Train a randomly initialized network instead of the pretrained encoder."
)


def size_option(default: str = "size of the preset, or 256") -> Callable:
    """Return the option `--size` with a text for its default."""
    text = "Image side in pixels, for presets that accept any size; for volumes voxels per axis, e.g. 32x48x32."
    return click.option("--size", type=Sides(), help=f"{text}  [default: {default}]")


def out_option(text: str, metavar: str = "OUTPUT") -> Callable:
    """Return the required option `--out` with a help text."""
    return click.option("-o", "--out", required=True, type=PATH, metavar=metavar, help=text)


def overwrite_option(function: Callable) -> Callable:
    """Add the option `--overwrite` to a command."""
    return click.option("--overwrite", is_flag=True, help="Replace existing output files.")(function)


def check_not_existing(targets: Iterable[Path], overwrite: bool) -> None:
    """Raise `click.ClickException` if a target exists and `overwrite` is false."""
    for target in targets:
        if target.exists() and not overwrite:
            raise click.ClickException(f"{target}: exists; pass --overwrite to replace it.")


def reject_unused_options(names: set[str], reason: str) -> None:
    """Refuse options that have no effect in this call.

    Args:
        names: Names of the parameters that have an effect.
        reason: Explanation that is appended to the error message.

    Raises:
        click.UsageError: If another option was given.
    """
    context, default = click.get_current_context(), click.core.ParameterSource.DEFAULT
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name not in names and context.get_parameter_source(option.name) != default
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)}: {reason}")


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Return the image files among paths and below folders; files with several frames as `file#0`, `file#1`, ..."""
    from medzoo.io.image import split_frame
    from medzoo.io.listing import frames_of, list_files

    files = []
    for path in paths:
        inside = [path / name for name in list_files(path)] if path.is_dir() else [path]
        for file in inside:
            frames = frames_of(file) if split_frame(file)[1] is None else [None]
            if len(frames) > 1:
                click.echo(f"{file}: {len(frames)} frames, each read as one image")
            files += [file if frame is None else Path(f"{file}#{frame}") for frame in frames]
    return files


def volumes_of(paths: Iterable[Path], every: bool = False) -> tuple[list[Path], list[Path]]:
    """Separate volumes from other paths.

    Args:
        paths: Files and folders.
        every: bool. If `False`, only NIfTI files are volumes. If `True`, all paths are, and folders are replaced by the
            volumes that `medzoo.io.volume_reader.list_volumes` finds below them.

    Returns:
        Tuple `(volumes, others)` of two lists of paths.
    """
    from medzoo.io.nifti import is_nifti
    from medzoo.io.volume_reader import list_volumes

    volumes, others = [], []
    for path in paths:
        if path.is_dir() and every:
            volumes += list_volumes(path)
        else:
            (volumes if every or is_nifti(path) else others).append(path)
    return volumes, others


def files_for(model: "keras.Model", paths: Iterable[Path]) -> list[Path]:
    """Return the files that a model accepts among files and folders: single images (frames), or volumes."""
    return files_of(paths) if model.spatial_dims == 2 else volumes_of(paths, every=True)[0]


def group_option(function: Callable) -> Callable:
    """Add the option `--group` of commands that take folders to a command."""
    text = (
        "Patient identifier: regular expression applied to paths relative to their folder.  "
        "[default: PatientID of DICOM files]"
    )
    return click.option("--group", metavar="REGEX", help=text)(function)


def groups_of(files: Sequence[Path], folder: Path, group: str | None) -> "np.ndarray | None":
    """Return one patient identifier per file below a folder, or `None` without `--group` (tasks read PatientID)."""
    from medzoo.data.patients import groups_from_paths

    return None if group is None else groups_from_paths(group, folder, files)


def dataset_options(size_default: str = "size of the preset, or 256") -> Callable:
    """Return the options of `medzoo.datasets.open_dataset`: for NPZ files, folders, DICOM trees and CSV files."""
    options = [
        size_option(size_default),
        click.option(
            "--group",
            help="Patient identifier: regular expression applied to paths, or CSV column name. Splits are "
            "patient-level.  [default: PatientID of DICOM files]",
        ),
        click.option(
            "--columns",
            help="CSV column names, e.g. path=Image,label=Finding,split=Fold,group=Patient.  [default: common names]",
        ),
        click.option("--cache", type=PATH, help="Folder that stores decoded images for later runs.  [default: none]"),
        click.option("--skip-invalid", is_flag=True, help="Skip invalid files and list them in the report."),
    ]

    def add_options(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return add_options


def dataset_arguments(
    group: str | None = None,
    columns: str | None = None,
    cache: Path | None = None,
    skip_invalid: bool = False,
) -> dict:
    """Convert the values of `dataset_options` to arguments of `medzoo.datasets.open_dataset`."""
    pairs = [pair.partition("=") for pair in columns.split(",")] if columns else []
    if any(not mark for _, mark, _ in pairs):
        raise click.ClickException(f"--columns: Expected kind=NAME pairs separated by commas, got {columns!r}.")
    return {
        "group": group,
        "columns": {kind.strip(): name.strip() for kind, _, name in pairs} or None,
        "cache": cache,
        "on_error": "skip" if skip_invalid else "raise",
    }


def command_line() -> str:
    """Return the command as typed, for reports: given options, and file names without their folders."""
    context = click.get_current_context()
    parts = ["medzoo", context.info_name]
    for parameter in context.command.params:
        value = context.params.get(parameter.name)
        if parameter.name in ("out", "overwrite") or value is None or value is False or value == ():
            continue
        values = value if isinstance(value, tuple) else (value,)
        shown = [Path(v).name if isinstance(v, Path) or os.path.isabs(str(v)) else str(v) for v in values]
        given = context.get_parameter_source(parameter.name) != click.core.ParameterSource.DEFAULT
        if isinstance(parameter, click.Argument):
            parts += shown
        elif given or parameter.name in ("seed", "epochs"):
            flag = parameter.opts[-1]
            parts += [flag] if value is True else [word for v in shown for word in (flag, v)]
    return " ".join(parts)


def parse_integers(text: str) -> list[int]:
    """Return the integers of a comma-separated list such as `15,15`."""
    try:
        return [int(n) for n in text.split(",")]
    except ValueError as error:
        raise click.ClickException(f"Expected integers separated by commas, got {text!r}.") from error


def show_json(content: dict) -> None:
    """Print a dict as indented JSON."""
    click.echo(json.dumps(content, indent=2))
