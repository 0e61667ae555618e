"""Upload an export to the Hugging Face Hub, without the photos if their terms do not allow it.

The Hub is reached by ``huggingface_hub`` (extra ``hf``), with the token that its own login keeps.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sbdata.checksums import CHECKSUMS_FILE
from sbdata.errors import InputError
from sbdata.export.folder import MARKER_FILE
from sbdata.export.huggingface import write_manifest_alone
from sbdata.quoting import quoted, shortened
from sbdata.sets import EvaluationSet

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_FREE = re.compile(
    r"CC0([ -]1\.0)?( Universal)?"
    r"|CC[ -]BY(-NC)?(-SA|-ND)?([ -]\d\.\d)?"
    r"|https?://creativecommons\.org/(licenses|publicdomain)/\S*"
    # The last three are COCO's.
    r"|(Creative Commons )?Attribution(-NonCommercial)?(-ShareAlike|-NoDerivs)? Licen[cs]e"
    r"|No known copyright restrictions|United States Government Work",
    re.IGNORECASE,
)
"""Terms in a manifest that allow copies of a photo to be published. Others forbid it."""


@dataclass(frozen=True)
class Pushed:
    """Result of an upload.

    Attributes:
        repository: Name of the dataset's repository, ``ORG/NAME``.
        url: URL that the Hub returned.
        note: Sentence that says why the photos were left out; empty if they were uploaded.
    """

    repository: str
    url: str
    note: str


def check_repository(name: str, option: str = "--push") -> None:
    """Check the name of a repository before any work is done for it.

    Args:
        name: Name, ``ORG/NAME``.
        option: Option that gave it, for the message.

    Raises:
        InputError: If it is not ``ORG/NAME``.
    """
    if not _REPOSITORY.fullmatch(name) or ".." in name or "--" in name:
        msg = f"{option} {quoted(name)}: not ORG/NAME, an account and a dataset of the Hub"
        raise InputError(msg)


def open_hub() -> Any:
    """Return a client of the Hub.

    Raises:
        InputError: If ``huggingface_hub`` is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        msg = "--push needs huggingface_hub; install it by pip install 'sbdata[hf]'"
        raise InputError(msg) from error
    return HfApi()


def withheld_photos(opened: EvaluationSet) -> str:
    """Return a sentence on the photos whose terms do not allow an upload; empty if all do."""
    terms = Counter(
        text or "no terms stated"
        for text in opened.manifest.images["license"].to_pylist()
        if not _FREE.fullmatch(text or "")
    )
    if not terms:
        return ""
    named = "; ".join(f"{shortened(text)}: {count:,}" for text, count in sorted(terms.items()))
    return (
        f"the manifest alone is uploaded, because the terms of {sum(terms.values()):,} of "
        f"{len(opened):,} photos do not allow copies ({named}); `sbdata dataset build` builds the "
        "set from it"
    )


def push_export(
    opened: EvaluationSet, folder: Path, repository: str, hub: Any, *, benchmark: bool = False
) -> Pushed:
    """Upload an export, or the set's manifest and card alone.

    A repository that does not exist is created as a private one. Of an existing one, ``README.md``
    and the files of earlier exports in ``data/`` and ``manifest/`` are replaced.

    Args:
        opened: Set that was exported.
        folder: Its export to ``hf``.
        repository: Name of the dataset's repository, ``ORG/NAME``.
        hub: Client with the methods of ``huggingface_hub.HfApi``.
        benchmark: True if a manifest without photos gets an ``eval.yaml``, too.

    Raises:
        InputError: If the Hub refuses or cannot be reached.
    """
    check_repository(repository)
    note = withheld_photos(opened)
    with tempfile.TemporaryDirectory(prefix="sbdata-") as temporary:
        if note:
            folder = Path(temporary)
            write_manifest_alone(opened, folder, benchmark=benchmark)
        try:
            made = hub.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
            hub.upload_folder(
                repo_id=repository,
                repo_type="dataset",
                folder_path=folder,
                commit_message=f"{opened.name}, logical hash {opened.logical_hash[:12]}",
                ignore_patterns=[MARKER_FILE, CHECKSUMS_FILE],
                delete_patterns=["data/*-of-*.parquet", "manifest/*"],
            )
        except Exception as error:  # the type depends on the HTTP library
            said = shortened(" ".join(str(error).split()), 300)
            msg = (
                f"--push {repository}: the Hub did not take it ({said}); log in by `hf auth login` "
                "with a token that may write there, and run the command again"
            )
            raise InputError(msg) from error
    return Pushed(repository, str(made), note)
