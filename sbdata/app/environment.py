"""Environment variables for FiftyOne, set before it is imported.

FiftyOne reads its settings once, when it is imported, and its server inherits the environment.
Settings that the user has made by a variable or in FiftyOne's configuration file are respected.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

URI_VARIABLE = "FIFTYONE_DATABASE_URI"
PLUGINS_VARIABLE = "FIFTYONE_PLUGINS_DIR"
_DEFAULTS = {
    "FIFTYONE_DO_NOT_TRACK": "true",  # no usage tracking
    # If enabled, the sidebar would show counts and sliders of indexed fields only.
    "FIFTYONE_APP_DEFAULT_QUERY_PERFORMANCE": "false",
    "FIFTYONE_SHOW_PROGRESS_BARS": "false",
    "FIFTYONE_LOGGING_LEVEL": "WARNING",  # otherwise it logs long instructions on port forwarding
}


def prepare_environment(uri: str, plugins: Path, *, validate: bool) -> None:
    """Set FiftyOne's database and plugins, and turn off its usage tracking.

    Args:
        uri: Address of a running database.
        plugins: Folder of the plugins, see :func:`link_plugins`.
        validate: Whether FiftyOne checks the database's version. The check warns at every start
            that the server in FiftyOne's own package is old.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ[URI_VARIABLE] = uri
    os.environ[PLUGINS_VARIABLE] = str(plugins)
    if not validate:
        os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")


def configured_uri() -> str | None:
    """Return the address of the database set in FiftyOne's environment or configuration."""
    found = os.environ.get(URI_VARIABLE) or _configuration().get("database_uri")
    return str(found) if found else None


def link_plugins(folder: Path) -> Path:
    """Create a folder with links to the plugins of the user and of sbdata, and return it.

    FiftyOne looks for plugins in one folder only. Through the links, the user's plugins are used
    from their own place.

    Args:
        folder: Folder for the links only; existing links in it are replaced.
    """
    folder = folder.resolve()
    wanted = {entry.name: entry.resolve() for entry in _user_plugins() if entry.is_dir()}
    wanted["sbdata"] = Path(__file__).resolve().parent / "plugin"
    folder.mkdir(parents=True, exist_ok=True)
    for former in folder.iterdir():
        if former.is_symlink():
            former.unlink()
    for name, target in sorted(wanted.items()):
        if not name.startswith("."):
            (folder / name).symlink_to(target, target_is_directory=True)
    return folder


def _user_plugins() -> list[Path]:
    """Return the entries of the folder in which FiftyOne looks for plugins by default."""
    known = _configuration()
    datasets = os.environ.get("FIFTYONE_DEFAULT_DATASET_DIR") or known.get("default_dataset_dir")
    default = Path(datasets or Path.home() / "fiftyone") / "__plugins__"
    place = Path(os.environ.get(PLUGINS_VARIABLE) or known.get("plugins_dir") or default)
    place = place.expanduser()
    return sorted(place.iterdir()) if place.is_dir() else []


def _configuration() -> dict[str, Any]:
    """Return the content of FiftyOne's configuration file; empty if there is none."""
    default = Path.home() / ".fiftyone" / "config.json"
    path = Path(os.environ.get("FIFTYONE_CONFIG_PATH") or default)
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
