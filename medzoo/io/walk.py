"""The one way to list the files below a folder, and to tell whether two paths are one file."""

import os
from pathlib import Path

from medzoo.errors import ImageError

LEFT_BY_SYSTEMS = {  # folders and files that operating systems and network storage leave behind, in lower case
    "__macosx",
    "@eadir",
    "#recycle",
    "@recycle",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
}


def is_hidden(name):
    """Whether a file or folder of this name is skipped: a leading dot, or left behind by an operating system."""
    return name.startswith(".") or name.lower() in LEFT_BY_SYSTEMS


def files_below(folder):
    """Paths of all files below a folder, sorted; hidden ones are skipped.

    Links to folders are followed, except to a folder that contains the link. Links to nothing are listed, so that they
    are reported like a file that cannot be read.

    Raises:
        FileNotFoundError: If there is no such folder.
        ImageError: If a folder cannot be listed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder.")
    found = []

    def visit(place, above):
        try:
            with os.scandir(place) as entries:
                inside = sorted((entry for entry in entries if not is_hidden(entry.name)), key=lambda e: e.name)
        except OSError as error:
            raise ImageError(
                f"{place}: the folder cannot be listed ({error.strerror}). Change its permissions or move it away."
            ) from error
        for entry in inside:
            if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                own = file_id(entry.path)
                if own not in above:
                    visit(entry.path, {*above, own})
            elif entry.is_file() or not os.path.exists(entry.path):
                found.append(Path(entry.path))

    visit(folder, {file_id(folder)})
    return sorted(found)


def file_id(path):
    """What two paths of one file or folder share, however they are written: links and `.`, `..` included."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)
