"""What the commands share: files in, folders out, and the options about labelled images."""

import json
import os
from pathlib import Path

import click


class ImageFiles(click.ParamType):
    """A file, a folder, or a frame of a file: `scan.dcm#3`."""

    name = "path"

    def convert(self, value, param, ctx):
        from medzoo.io.image import split_frame

        path, _ = split_frame(value)
        if not path.exists():
            self.fail(f"{path}: no such file or folder.", param, ctx)
        return Path(value)


class Sides(click.ParamType):
    """A number of pixels, or of a volume's voxels along each axis: `256`, `32x48x32`."""

    name = "size"

    def convert(self, value, param, ctx):
        sides = str(value).split("x")
        if len(sides) not in (1, 3) or not all(side.isdigit() and int(side) for side in sides):
            self.fail(f"{value}; expected pixels a side, or a volume's voxels as 32x48x32.", param, ctx)
        return int(sides[0]) if len(sides) == 1 else tuple(map(int, sides))


FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
PATH = click.Path(path_type=Path)
EXISTING = click.Path(path_type=Path, exists=True)


def out_option(text):
    return click.option("-o", "--out", required=True, type=PATH, help=text)


def overwrite_option(function):
    return click.option("--overwrite", is_flag=True, help="Replace what is there already.")(function)


def check_not_existing(targets, overwrite):
    """Refuses to write over a file unless asked to."""
    for target in targets:
        if target.exists() and not overwrite:
            raise click.ClickException(f"{target}: exists; pass --overwrite to replace it.")


def reject_unused_options(names, reason):
    """Refuses options given beside these, which would do nothing.

    Args:
        names: of the parameters that do something.
        reason: why, for the error.
    """
    context, default = click.get_current_context(), click.core.ParameterSource.DEFAULT
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name not in names and context.get_parameter_source(option.name) != default
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)}: {reason}")


def files_of(paths):
    """Image files among paths and below folders; of a file with several frames `file#0`, `file#1` and so on."""
    from medzoo.io.image import split_frame
    from medzoo.io.listing import frames_of, list_files

    found = []
    for path in paths:
        inside = [path / name for name in list_files(path)] if path.is_dir() else [path]
        for file in inside:
            frames = frames_of(file) if split_frame(file)[1] is None else [None]
            if len(frames) > 1:
                click.echo(f"{file}: {len(frames)} frames, each an image")
            found += [file if frame is None else Path(f"{file}#{frame}") for frame in frames]
    return found


def volumes_of(paths, every=False):
    """`(volumes, others)` among paths: NIfTI files, and with `every` whatever `list_volumes` finds below folders."""
    from medzoo.io.nifti import is_nifti
    from medzoo.io.volume_reader import list_volumes

    volumes, others = [], []
    for path in paths:
        if path.is_dir() and every:
            volumes += list_volumes(path)
        else:
            (volumes if every or is_nifti(path) else others).append(path)
    return volumes, others


def files_for(model, paths):
    """Paths of what a preset reads among files and folders: images, each frame by itself, or volumes."""
    return files_of(paths) if model.spatial_dims == 2 else volumes_of(paths, every=True)[0]


def group_option(function):
    text = "Whose image: regular expression on paths below their folder.  [default: PatientID of DICOM files]"
    return click.option("--group", help=text)(function)


def groups_of(files, folder, group):
    """What `--group` finds in the paths of files below a folder; `None` without it: tasks know DICOM's PatientID."""
    from medzoo.data.patients import groups_from_paths

    return None if group is None else groups_from_paths(group, folder, files)


def labelled_options(function):
    """Options of a command that takes labelled images: an archive, a folder, a DICOM tree or a table."""
    options = [
        click.option(
            "--size",
            type=Sides(),
            help="Side in pixels of images from files, for presets that take any size; of volumes three, 32x48x32.",
        ),
        click.option(
            "--group", help="Whose image: regular expression on paths, or a CSV's column. No patient is parted."
        ),
        click.option("--columns", help="A CSV's own names: path=Image,label=Finding,split=Fold,group=Patient."),
        click.option("--cache", type=PATH, help="Folder to keep decoded images in for the next time."),
        click.option("--skip-broken", is_flag=True, help="Leave out files that cannot be used; the report lists them."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def reading(group=None, columns=None, cache=None, skip_broken=False, **_):
    """The options of `open_dataset` among those of a command."""
    pairs = [pair.partition("=") for pair in columns.split(",")] if columns else []
    if any(not mark for _, mark, _ in pairs):
        raise click.ClickException(f"--columns {columns}: expected kind=NAME, separated by commas.")
    return {
        "group": group,
        "columns": {kind.strip(): name.strip() for kind, _, name in pairs} or None,
        "cache": cache,
        "on_error": "skip" if skip_broken else "raise",
    }


def command_line():
    """The command as it was typed, for reports: paths by their last name only, options that were given."""
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


def numbers(text):
    """`15,15` to a list of int."""
    try:
        return [int(n) for n in text.split(",")]
    except ValueError as error:
        raise click.ClickException(f"{text!r}: expected whole numbers separated by commas.") from error


def show_json(content):
    click.echo(json.dumps(content, indent=2))
