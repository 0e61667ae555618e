"""Remote files: addresses, and the size and hashes that are known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sbdata.fetch.parts import Digests


@dataclass(frozen=True)
class Remote:
    """A remote file and its addresses.

    Attributes:
        name: File name to store it under.
        urls: Addresses, the most trusted first.
        size: Size in bytes, or None if unknown.
        sha256: SHA-256 in hex, or None.
        md5: MD5 in hex, or None; for files with no better published hash.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    @property
    def hash_known(self) -> bool:
        """Whether a hash is known, so that downloaded bytes can be verified."""
        return self.sha256 is not None or self.md5 is not None

    def difference(self, size: int, digests: Digests) -> str | None:
        """Describe how a file differs from the known size and hashes; None if it matches.

        >>> Remote("a.zip", (), size=7).difference(5, Digests(md5=False))
        'has 5 bytes, but 7 are expected'
        """
        if self.size not in (None, size):
            return f"has {size:,} bytes, but {self.size:,} are expected"
        if self.sha256 is not None and self.sha256.lower() != digests.sha256:
            return f"has the sha256 {digests.sha256}, but {self.sha256} is expected"
        if self.md5 is not None and self.md5.lower() != digests.md5:
            return f"has the md5 {digests.md5}, but {self.md5} is expected"
        return None


def mirrored(url: str, mirrors: Mapping[str, str]) -> str:
    """Return a url with its longest prefix listed in ``mirrors`` replaced.

    >>> mirrored("http://a/b/c", {"http://": "http://d/", "http://a/": "http://e/"})
    'http://e/b/c'
    """
    prefix = max(filter(url.startswith, mirrors), key=len, default=None)
    return url if prefix is None else mirrors[prefix] + url[len(prefix) :]
