"""A file that lies elsewhere, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sbdata.fetch.parts import Digests


@dataclass(frozen=True)
class Remote:
    """One file and where it lies.

    Attributes:
        name: that the file gets.
        urls: where it lies, in order of trust.
        size: in bytes, or None where it is not known.
        sha256: in hex, or None.
        md5: in hex, or None; for files of which nothing better was published.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    @property
    def hash_known(self) -> bool:
        """Whether bytes can be proven to be the file's."""
        return self.sha256 is not None or self.md5 is not None

    def difference(self, size: int, digests: Digests) -> str | None:
        """Say how a file differs from what is known of this one; None if it does not.

        >>> Remote("a.zip", (), size=7).difference(5, Digests(md5=False))
        'has 5 bytes, 7 are expected'
        """
        if self.size not in (None, size):
            return f"has {size:,} bytes, {self.size:,} are expected"
        if self.sha256 is not None and self.sha256.lower() != digests.sha256:
            return f"has the sha256 {digests.sha256}, {self.sha256} is expected"
        if self.md5 is not None and self.md5.lower() != digests.md5:
            return f"has the md5 {digests.md5}, {self.md5} is expected"
        return None


def mirrored(url: str, mirrors: Mapping[str, str]) -> str:
    """Return the address to ask for a url: with its longest listed prefix replaced.

    >>> mirrored("http://a/b/c", {"http://": "http://d/", "http://a/": "http://e/"})
    'http://e/b/c'
    """
    prefix = max(filter(url.startswith, mirrors), key=len, default=None)
    return url if prefix is None else mirrors[prefix] + url[len(prefix) :]
