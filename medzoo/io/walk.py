"""Recursive file listing, and identification of the file that a path refers to."""

import os
from pathlib import Path

from medzoo.errors import ImageError

SYSTEM_FILES = {  # folders and files created by operating systems and network storage, in lower case
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


def is_hidden(name: str) -> bool:
    """Return whether a file or folder name is hidden or that of a system file."""
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def files_below(folder: str | os.PathLike) -> list[Path]:
    """List all files below a folder recursively; hidden files are skipped.

    Links to folders are followed, except to a folder that contains the link. Broken links are listed, so that they are
    reported like unreadable files.

    Args:
        folder: folder to search.

    Returns:
        Sorted list of paths.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ImageError: If a folder cannot be listed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder.")
    found = []

    def visit(current, above):
        try:
            with os.scandir(current) as entries:
                inside = sorted((entry for entry in entries if not is_hidden(entry.name)), key=lambda e: e.name)
        except OSError as error:
            raise ImageError(
                f"{current}: the folder cannot be listed ({error.strerror}). Change its permissions or move it away."
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


def file_id(path: str | Path) -> tuple | str:
    """Return an identifier that is equal for all paths of one file or folder.

    Args:
        path: path; links, `.` and `..` are resolved.
    """
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)
