"""``sbdata app``: look at a set in the FiftyOne app."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sbdata.errors import InputError


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("data/shapes-b"))
@click.option("--port", type=int, default=5151, show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True)
def app(path: Path, port: int, address: str) -> None:
    """Open the set in PATH [data/shapes-b] in the FiftyOne app until Ctrl-C."""
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    try:
        import fiftyone as fo
    except ImportError as error:
        msg = "the app needs FiftyOne: install it by `make app` or `pip install 'sbdata[app]'`"
        raise InputError(msg) from error
    from fiftyone.core.config import FiftyOneConfigError
    from fiftyone.core.service import ServiceListenTimeout

    from sbdata.app.samples import load_set

    try:
        dataset = load_set(path)
    except (FiftyOneConfigError, ServiceListenTimeout) as error:
        msg = (
            "FiftyOne found no database: install MongoDB's mongod, or name a running one by "
            f"FIFTYONE_DATABASE_URI=mongodb://127.0.0.1:27017 ({error})"
        )
        raise InputError(msg) from error
    session = fo.launch_app(dataset, port=port, address=address, remote=True)
    click.echo(
        f"{len(dataset)} images of {dataset.name} at http://{address}:{port}; Ctrl-C ends it"
    )
    session.wait(-1)
