"""The registry: where published datasets lie, how large they are, and how their bytes are known.

It is a YAML file, ``registry.yaml`` beside this module; a file of one's own with the same keys
names other datasets or other addresses.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sbdata.errors import InputError
from sbdata.quoting import has_controls, quoted, shortened
from sbdata.settings import from_plain, read_settings
from sbdata.storage import is_safe_stem

ARCHIVES_FOLDER = "archives"
"""Beside the folders of the sources: their archives."""

_SHA256, _MD5 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{32}")
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


@dataclass(frozen=True)
class PublishedFile:
    """One archive as its publisher names it.

    Attributes:
        name: of the file.
        urls: in order of trust.
        size: in bytes, or None where nobody published it.
        sha256: likewise.
        md5: likewise, where no SHA-256 is known.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class PublishedSource:
    """One dataset, or a part of it that is of use alone.

    Attributes:
        name: by which it is asked for.
        purpose: what it is for.
        license: what its publisher allows.
        citation: what its publisher asks to be cited.
        homepage: of the dataset.
        files: to fetch.
        folder: that its archives are unpacked in, the name by default; parts of one dataset share
            one.
    """

    name: str
    purpose: str
    license: str
    citation: str
    homepage: str
    files: tuple[PublishedFile, ...]
    folder: str = ""

    @property
    def place(self) -> str:
        """Return the name of the folder that its archives are unpacked in."""
        return self.folder or self.name


@dataclass(frozen=True)
class Registry:
    """Published datasets.

    Attributes:
        sources: in the order of the file.
        train_aug_images: how many ids the list ``trainaug`` has when it is derived from the
            published lists; None where that is not known.
    """

    sources: tuple[PublishedSource, ...]
    train_aug_images: int | None = None

    def source(self, name: str) -> PublishedSource:
        """Return the source of a name.

        Raises:
            InputError: if there is none.
        """
        for source in self.sources:
            if source.name == name:
                return source
        known = ", ".join(source.name for source in self.sources)
        msg = f"no published source called {name!r}; known: {known}"
        raise InputError(msg)


def load_registry(path: Path | None = None) -> Registry:
    """Read the registry that comes with the package, or one of one's own.

    Raises:
        InputError: for an unknown key, a value of the wrong type, or one that cannot be right.

    >>> [file.size for file in load_registry().source("voc").files]
    [1999639040]
    """
    name = "registry" if path is None else str(path)
    raw, where = read_settings(name, "sources", "registry")
    registry = from_plain(Registry, raw, where)
    assert isinstance(registry, Registry)  # noqa: S101 - for the type checker
    _check(registry, where)
    return registry


def _check(registry: Registry, where: str) -> None:
    for source in registry.sources:
        texts = (source.purpose, source.license, source.citation, source.homepage)
        if any(has_controls(text.replace("\n", " ")) for text in texts):
            msg = f"{where}: the texts of {quoted(source.name)} must not hold control characters"
            raise InputError(msg)
        plain = is_safe_stem(source.name) and is_safe_stem(source.place)
        if not plain or source.place == ARCHIVES_FOLDER:
            msg = (
                f"{where}: {quoted(source.name)} and its folder {quoted(source.place)} must be "
                "plain names, "
                f"not {ARCHIVES_FOLDER!r}"
            )
            raise InputError(msg)
        if not source.files:
            msg = f"{where}: {source.name} needs at least one file"
            raise InputError(msg)
        for file in source.files:
            wrong = _wrong(file)
            if wrong:
                msg = f"{where}: {source.name}, {shortened(file.name)}: {wrong}"
                raise InputError(msg)
    for kind, names in (
        ("source", [source.name for source in registry.sources]),
        ("file", [file.name for source in registry.sources for file in source.files]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            msg = f"{where}: the {kind} {twice[0]} is listed twice; give it another name"
            raise InputError(msg)


def _wrong(file: PublishedFile) -> str:
    if not is_safe_stem(file.name) or not file.name.endswith(_ARCHIVES):
        return f"the name must be a plain one that ends in {', '.join(_ARCHIVES)}"
    if not file.urls or not all(url.startswith(("https://", "http://")) for url in file.urls):
        return "urls must be a list of https or http addresses"
    if not all(url.isprintable() for url in file.urls):
        return "urls must not hold control characters"
    if file.size is not None and file.size < 1:
        return "size must be a positive number of bytes, or be left out"
    if file.sha256 is not None and not _SHA256.fullmatch(file.sha256):
        return "sha256 must have 64 lower-case hex digits, or be left out"
    if file.md5 is not None and not _MD5.fullmatch(file.md5):
        return "md5 must have 32 lower-case hex digits, or be left out"
    return ""
