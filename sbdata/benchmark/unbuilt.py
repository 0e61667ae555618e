"""Stand-ins for evaluation sets that are not built yet, with which a bench is planned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sbdata.taxonomy import Taxonomy

LATER = "known once it is there"
"""Value in place of a hash that is not known yet."""


@dataclass(frozen=True)
class UnbuiltSet:
    """Facts about a set that are known before it is built.

    Attributes:
        name: Name of the set.
        root: Folder in which it is expected.
        taxonomy: Classes of the set.
        images: Number of images; None if it is not known.
        megapixels: Mean size of an image, in million pixels.
        generated: True if its images are generated.
        labels_only: True if it will have no masks.
    """

    name: str
    root: Path
    taxonomy: Taxonomy
    images: int | None
    megapixels: float
    generated: bool = False
    labels_only: bool = False

    @property
    def logical_hash(self) -> str:
        """Return a text that differs from every hash and every other set's text."""
        return f"{self.name}: {LATER}"

    def __len__(self) -> int:
        """Return the number of images, 0 if it is not known."""
        return self.images or 0


@dataclass(frozen=True)
class WeakLabelsOfUnbuilt:
    """Description in a plan of the weak labels of a set that is not built yet."""

    digest: str
    saliency_origin: str | None = None
