"""Comparability: the protocol that most entries of a board share, and marks of those that differ.

A mark is a letter beside a row; its :class:`Footnote` describes the difference. Rows with different
marks are never averaged.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sbdata.benchmark.entries import PseudoMasks, SetRecord
from sbdata.benchmark.ordering import CONTROLS

_UNSTATED = "not stated"


@dataclass(frozen=True)
class Footnote:
    """Footnote that describes what differs for the rows with its mark."""

    mark: str
    text: str


@dataclass(frozen=True)
class Reference:
    """Values that most entries of a board share, by name.

    Attributes:
        protocol: Protocol of the entries.
        masks: Values that affect pseudo-masks, used for them instead of a protocol.
        labels: Source of the image labels of all methods except controls, which need not have the
            same labels. Empty if there are only controls.
        saliency: Source of the saliency maps of all methods that use some; else empty.
        settings: Settings of each method.
    """

    protocol: Mapping[str, str]
    masks: Mapping[str, str]
    labels: Mapping[str, str]
    saliency: Mapping[str, str]
    settings: Mapping[str, Mapping[str, str]]


def reference_of(entries: Sequence[SetRecord]) -> Reference:
    """Return what most entries share; of equally frequent values, the first in sorted order."""
    protocol = _commonest(entry.protocol for entry in entries)
    masks = [_counted(entry.pseudo) for entry in entries if entry.pseudo is not None]
    labels = [_labels(entry) for entry in entries if entry.kind != CONTROLS]
    saliency = [_saliency(entry) for entry in entries if entry.saliency]
    return Reference(
        protocol=protocol,
        masks={**_training_set(protocol), **(_commonest(masks) if masks else {})},
        labels=_commonest(labels) if labels else {},
        saliency=_commonest(saliency) if saliency else {},
        settings={
            method: _commonest(_settings(e) for e in entries if e.method == method)
            for method in {entry.method for entry in entries}
        },
    )


def differences_of_result(entry: SetRecord, reference: Reference) -> str:
    """Return a description of how an entry differs from its board's reference; empty if equal."""
    return _said((entry.protocol, reference.protocol), *_origin(entry, reference))


def differences_of_masks(entry: SetRecord, reference: Reference) -> str:
    """Return a description of how an entry's pseudo-masks differ from the reference, or empty.

    The training of the segmenter and the scored set are ignored: they cannot change pseudo-masks.
    """
    if entry.pseudo is None:
        return ""
    own = {**_training_set(entry.protocol), **_counted(entry.pseudo)}
    return _said((own, reference.masks), *_origin(entry, reference))


def origin_of_masks(entry: SetRecord, pseudo: PseudoMasks) -> dict[str, str]:
    """Return all that affects the values of pseudo-masks, except method and seed."""
    about = {**_training_set(entry.protocol), **_counted(pseudo)}
    return {**about, **_labels(entry), **_saliency(entry), **_settings(entry)}


def footnotes_of(texts: Iterable[str]) -> tuple[Footnote, ...]:
    """Return one footnote for each different non-empty text, in order of appearance.

    >>> footnotes_of(["", "flip true instead of false", ""])
    (Footnote(mark='a', text='flip true instead of false'),)
    """
    found = [text for text in dict.fromkeys(texts) if text]
    return tuple(Footnote(_letter(place), text) for place, text in enumerate(found))


def _commonest(values: Iterable[Mapping[str, str]]) -> dict[str, str]:
    counted = Counter(tuple(sorted(value.items())) for value in values)
    most = max(counted.values())
    return dict(min(items for items, n in counted.items() if n == most))


def _training_set(protocol: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in protocol.items() if name.startswith("training set: ")}


def _counted(pseudo: PseudoMasks) -> dict[str, str]:
    """Return how the values of pseudo-masks were computed."""
    return {"metric": pseudo.metric, "instances lost": pseudo.lost_threshold}


def _labels(entry: SetRecord) -> dict[str, str]:
    return {"image labels": entry.labels}


def _saliency(entry: SetRecord) -> dict[str, str]:
    return {"saliency maps": entry.saliency}


def _settings(entry: SetRecord) -> dict[str, str]:
    return {f"its {name}": text for name, text in entry.settings.items()}


_Both = tuple[Mapping[str, str], Mapping[str, str]]
"""Values of an entry, and of the reference."""


def _origin(entry: SetRecord, reference: Reference) -> list[_Both]:
    """Return the sources of pseudo-masks, and so of segmenters trained on them."""
    labels = [] if entry.kind == CONTROLS else [(_labels(entry), reference.labels)]
    saliency = [(_saliency(entry), reference.saliency)] if entry.saliency else []
    return [*labels, *saliency, (_settings(entry), reference.settings[entry.method])]


def _said(*held: _Both) -> str:
    return "; ".join(text for own, shared in held for text in _differing(own, shared))


def _differing(own: Mapping[str, str], reference: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*own, *reference}):
        mine, theirs = own.get(name, _UNSTATED), reference.get(name, _UNSTATED)
        if mine != theirs:
            yield f"{name} {_shortened(mine)} instead of {_shortened(theirs)}"


def _shortened(value: str) -> str:
    """Return a value with hashes shortened to a distinguishing prefix."""
    return value[:12] if re.fullmatch(r"(sha256:)?[0-9a-f]{32,}", value) else value


def _letter(place: int) -> str:
    """Return the mark with an index: a to z, then aa.

    >>> _letter(0), _letter(25), _letter(26)
    ('a', 'z', 'aa')
    """
    letters = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters
