"""Compiled code: the C kernels of scoring, and a cache folder for numba.

``kernels.c`` is compiled at its first use by the C compiler of the machine (half a second) and kept
beside the package, or in the user's cache folder. Without a compiler, numba computes the same. So
the package has no compiled part, and is installed in the same way everywhere.

numba writes next to the package or into the user's cache folder. If neither is writable, as in a
container with an arbitrary user id, importing numba code fails.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

SOURCE_SHA256 = "9410c0c3fc050faeffbecf01429f553137bec6e91d3819bc7fca9132eb1a3413"
"""Hash of ``kernels.c``, stated here so that results depend on it (see ``sbdata.fingerprints``)."""

VARIABLE = "NUMBA_CACHE_DIR"
"""Environment variable that names the folder of compiled code."""
_CHOICE = "SBDATA_KERNELS"  # the value "numba" disables the C kernels
# No fused multiply-add: a product is rounded before it is added, as everywhere else.
_FLAGS = ("-std=c99", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-ffp-contract=off")
_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 60


# --- kernels --------------------------------------------------------------------------------------


@cache
def kernels() -> Any:
    """Return the library of C kernels, compiling it if needed; None if that is not possible."""
    if os.environ.get(_CHOICE) == "numba" or not hasattr(os, "uname"):
        return None
    import ctypes
    import hashlib

    source = Path(__file__).with_name("kernels.c")
    try:
        text = source.read_bytes()
    except OSError:
        return None
    key = hashlib.sha256(text + " ".join(_FLAGS).encode()).hexdigest()[:16]
    name = f"kernels-{key}-{sys.platform}-{os.uname().machine}.so"
    for folder in dict.fromkeys((source.parent / "__pycache__", _folder_of_kernels())):
        with suppress(OSError):
            file = folder / name
            if file.exists() or _compiled(source, file):
                return _declared(ctypes.CDLL(str(file)))
    return None


def address(array: Any) -> int:
    """Return the address of an array's first element, for a kernel.

    Raises:
        ValueError: If the array is not C-contiguous.
    """
    about = array.__array_interface__
    if about["strides"] is not None:
        msg = "the array must be C-contiguous"
        raise ValueError(msg)
    found: int = about["data"][0]
    return found


def _declared(library: Any) -> Any:
    """Return the library with the types of its functions' arguments; p is a pointer, i an int64."""
    from ctypes import c_int64, c_void_p

    for name, arguments in {
        "count_image": "pppiiipipiiippppppppp",
        "label_parts": "piippi",
        "classes_of_instances": "ppiip",
        "paint": "pipppi",
        "by_rows": "piip",
        "weighted_sums": "pppipip",
        "release": "p",
    }.items():
        function = getattr(library, name)
        function.argtypes = [c_void_p if kind == "p" else c_int64 for kind in arguments]
        function.restype = c_int64
    return library


def _compiled(source: Path, file: Path) -> bool:
    """Compile the kernels into a file, written atomically; return False if that fails."""
    import shlex
    import subprocess
    import tempfile
    from shutil import which

    asked = shlex.split(os.environ.get("CC", ""))
    compiler = asked or [found for found in map(which, _COMPILERS) if found][:1]
    if not compiler or not os.access(file.parent, os.W_OK | os.X_OK):
        return False
    number, temporary = tempfile.mkstemp(prefix=".kernels-", suffix=".part", dir=file.parent)
    os.close(number)
    try:
        command = [*compiler, *_FLAGS, "-o", temporary, str(source)]
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)
        os.chmod(temporary, 0o755)  # noqa: PTH101, S103 - as the package's other files
        os.replace(temporary, file)  # noqa: PTH105
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
    return True


def kept_code() -> Path | None:
    """Return the folder of compiled code that can be written, beside the package or elsewhere."""
    beside = Path(__file__).with_name("__pycache__")
    folders = (beside, _folder_of_kernels())
    return next((f for f in folders if os.access(f, os.W_OK | os.X_OK)), None)


def _folder_of_kernels() -> Path:
    """Return the folder for the kernels, the user's if the package's cannot be written."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    folder = user_cache() / "sbdata"
    return folder if _can_make(folder) else _private_folder()


# --- numba ----------------------------------------------------------------------------------------


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
    """Return the files of compiled code that numba has written so far, for sbdata and others.

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
