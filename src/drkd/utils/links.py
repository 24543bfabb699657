"""Names that lead to another file or folder beside them: symbolic links, or text files where there are none."""

import shutil
import sys
from pathlib import Path


def point(link: Path, name: str) -> None:
    """Have `link` lead to `name` beside it, at once.

    On Windows a symbolic link needs a privilege, and one to a folder cannot be replaced; FAT has none. There `link`
    is a text file that holds the name.

    Raises:
        OSError: if neither can be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (Path(folder) / "step-4").mkdir()
        ...     point(Path(folder) / "last", "step-4")
        ...     pointed_by(Path(folder) / "last").name
        'step-4'
    """
    pointer = link.with_name(f".{link.name}.tmp")
    pointer.unlink(missing_ok=True)
    try:
        if sys.platform == "win32":
            raise NotImplementedError
        pointer.symlink_to(name)
    except (OSError, NotImplementedError):
        pointer.write_text(f"{name}\n", encoding="utf-8", newline="\n")
    if link.is_dir() and not link.is_symlink():  # a copy that followed links
        shutil.rmtree(link)
    pointer.replace(link)


def pointed_by(link: Path) -> Path:
    """The path, resolved, that `point` had `link` lead to."""
    if link.is_file():
        link = link.with_name(link.read_text(encoding="utf-8").strip())
    return link.resolve()
