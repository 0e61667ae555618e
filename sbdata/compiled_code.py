"""Cache folder for numba's compiled code if numba's own choices are not writable.

numba writes next to the package or into the user's cache folder. If neither is writable, as in a
container with an arbitrary user id, importing numba code fails.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
"""Environment variable that names the folder of compiled code."""


def keep_compiled_code() -> None:
    """Set numba's cache to a private temporary folder if there is no other writable folder.

    Call this before numba is imported.
    """
    if os.environ.get(VARIABLE):
        return
    package = Path(__file__).resolve().parent
    beside = package / "__pycache__"
    if not os.access(beside if beside.is_dir() else package, os.W_OK | os.X_OK) and not _can_make(
        user_cache() / "numba"
    ):
        os.environ[VARIABLE] = str(_private_folder())


def compiled_files() -> list[Path]:
    """Return the files of compiled code that numba has written so far, of sbdata and of others.

    numba takes the folder of its variable, or that beside the package, or the user's cache.
    """
    named = os.environ.get(VARIABLE)
    package = Path(__file__).resolve().parent
    beside = [] if named else sorted(package.glob("**/__pycache__/*.nb[ci]"))
    return beside or sorted(Path(named or user_cache() / "numba").glob("*/*.nb[ci]"))


def user_cache() -> Path:
    """Return the folder of the user's caches; numba's is its subfolder ``numba``."""
    if sys.platform == "darwin":
        place = "~/Library/Caches"
    elif sys.platform == "win32":
        place = os.environ.get("LOCALAPPDATA") or "~"
    else:
        place = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(place))  # noqa: PTH111 - without a home it is left as it is


def _can_make(folder: Path) -> bool:
    """Return True if a folder can be created and written, in the way numba would create it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _private_folder() -> Path:
    """Return a folder that nobody else can write, because compiled code is executed as read."""
    import tempfile

    if hasattr(os, "getuid"):
        folder = Path(tempfile.gettempdir()) / f"sbdata-compiled-{os.getuid()}"
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            private = found.st_uid == os.getuid() and not found.st_mode & 0o077
            if stat.S_ISDIR(found.st_mode) and private:
                return folder
    return Path(tempfile.mkdtemp(prefix="sbdata-compiled-"))
