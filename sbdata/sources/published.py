"""Registry of published datasets: their URLs, sizes and checksums.

The registry is the YAML file ``registry.yaml`` in the folder of this module. A user's file with the
same keys can name other datasets or URLs.
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
"""Name of the folder for archives, next to the folders of the sources."""

_SHA256, _MD5 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{32}")
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


@dataclass(frozen=True)
class PublishedFile:
    """One archive as its publisher names it.

    Attributes:
        name: Name of the file.
        urls: URLs, the most trusted first.
        size: Size in bytes; None if it is not published.
        sha256: SHA-256; None if it is not known.
        md5: MD5, used if no SHA-256 is known; None if it is not known.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class PublishedSource:
    """One dataset, or a part of it that is useful alone.

    Attributes:
        name: Name by which the dataset is requested.
        purpose: Use of the dataset.
        license: Terms of use, as stated by the publisher.
        citation: Citation that the publisher asks for.
        homepage: URL of the dataset's homepage.
        files: Archives to download.
        folder: Folder that the archives are unpacked in, by default the name; parts of one dataset
            share one.
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
        """Return the name of the folder that the archives are unpacked in."""
        return self.folder or self.name


@dataclass(frozen=True)
class Registry:
    """Published datasets of a registry file.

    Attributes:
        sources: Datasets, in the order of the file.
        train_aug_images: Number of ids in the list ``trainaug`` derived from the published lists;
            None if it is not known.
    """

    sources: tuple[PublishedSource, ...]
    train_aug_images: int | None = None

    def source(self, name: str) -> PublishedSource:
        """Return the source with the given name.

        Raises:
            InputError: If there is no such source.
        """
        for source in self.sources:
            if source.name == name:
                return source
        known = ", ".join(source.name for source in self.sources)
        msg = f"no published source called {name!r}; choose from {known}"
        raise InputError(msg)


def load_registry(path: Path | None = None) -> Registry:
    """Read the registry of the package, or one in a user's file.

    Raises:
        InputError: If a key is unknown, or a value has the wrong type or is invalid.

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
