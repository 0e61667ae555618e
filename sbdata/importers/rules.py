"""Rules that convert class scores to class numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from sbdata.errors import InputError

Background = Literal["constant", "power", "saliency", "map"]
Normalise = Literal["none", "max", "min-max"]


@dataclass(frozen=True)
class Rule:
    """Rule that converts class scores to class numbers: the largest score, or background, wins.

    Attributes:
        background: Background score: ``constant`` is ``level`` everywhere; ``power`` is (1 - the
            largest class score) to the power of ``level``; ``saliency`` is 1 - the saliency map,
            which is first thresholded to 0 or 1 at ``level`` if that is above 0; ``map`` is the
            file's own background.
        level: Parameter of ``background``.
        normalise: Normalisation of each map, done first: by its ``max``, or ``min-max`` to [0, 1].
        floor: Class scores below this value become 0.
        conflict: Pixels with more than ``most`` scores above this value become 255; 1 - the
            saliency map counts as a score, other backgrounds do not.
        most: Number of such scores that a pixel may have.
        doubt: Background pixels with a class score above this value become 255.
        salient: Background pixels with a saliency of at least this value become 255.
        confidence: Pixels whose winner has less than this share of all scores become 255.
        sparse: Minimum share of a photo that has a class after the other rules; below it, the whole
            photo becomes 255. A photo without classes stays background.
        refine: Method that refines the scores, divided by their sum, along the photo's edges:
            ``none``, ``pamr``, ``par`` or ``crf``.
    """

    background: Background
    level: float = 0.0
    normalise: Normalise = "none"
    floor: float = 0.0
    conflict: float | None = None
    most: int = 1
    doubt: float | None = None
    salient: float | None = None
    confidence: float | None = None
    sparse: float | None = None
    refine: str = "none"

    def __post_init__(self) -> None:
        if self.background not in get_args(Background) or self.normalise not in get_args(Normalise):
            msg = f"no such rule: background {self.background!r}, normalise {self.normalise!r}"
            raise InputError(msg)
        if not 0 <= self.level < math.inf or (self.background == "power" and self.level == 0):
            msg = f"the background's level must be a number above 0, not {self.level}"
            raise InputError(msg)
        for name in ("floor", "conflict", "doubt", "salient", "confidence", "sparse"):
            given = getattr(self, name)
            if given is not None and not math.isfinite(given):
                msg = f"{name} must be a finite number, not {given}"
                raise InputError(msg)

    @property
    def needs_saliency(self) -> bool:
        """Whether the rule uses saliency maps."""
        return self.background == "saliency" or self.salient is not None

    def __str__(self) -> str:
        """Return a description of the rule."""
        what = {
            "constant": f"background {self.level:g}",
            "power": f"background (1 - largest class score)^{self.level:g}",
            "saliency": "background 1 - saliency"
            + (f" (0 or 1 at {self.level:.3g})" if self.level else ""),
            "map": "background from the file",
        }[self.background]
        parts = [what]
        if self.normalise != "none":
            parts.append(f"maps normalised by {self.normalise}")
        if self.floor:
            parts.append(f"scores below {self.floor:g} are 0")
        if self.refine != "none":
            parts.append(f"refined by {self.refine}")
        ignored = {
            f"more than {self.most} scores above {self.conflict}": self.conflict,
            f"background with a class above {self.doubt}": self.doubt,
            f"background with a saliency from {self.salient or 0:.3g}": self.salient,
            f"less than {self.confidence} of the scores": self.confidence,
        }
        given = [text for text, value in ignored.items() if value is not None]
        if given:
            parts.append(f"255 where {', or '.join(given)}")
        if self.sparse is not None:
            parts.append(f"all 255 where classes have less than {self.sparse} of a photo")
        return "; ".join(parts)


@dataclass(frozen=True)
class Changes:
    """Changes that a user makes to a source's rule; None keeps the source's value.

    Attributes:
        background: Background score: ``0.25``, ``power:1``, ``saliency``, ``saliency:0.2`` or
            ``map``.
        normalise: Normalisation of each map, see :class:`Rule`.
        floor: Class scores below this value become 0.
        conflict: Pixels with too many scores above this value become 255, see :class:`Rule`.
        doubt: Background pixels with a class score above this value become 255.
        salient: Background pixels with a saliency of at least this value become 255.
        confidence: Pixels whose winner has less than this share of all scores become 255.
        sparse: Minimum share of a photo that has a class; below it, the whole photo becomes 255.
        refine: Method that refines the scores, see :class:`Rule`.
    """

    background: str | None = None
    normalise: str | None = None
    floor: float | None = None
    conflict: float | None = None
    doubt: float | None = None
    salient: float | None = None
    confidence: float | None = None
    sparse: float | None = None
    refine: str | None = None

    @property
    def given(self) -> bool:
        """Whether there are any changes."""
        return any(getattr(self, f.name) is not None for f in fields(self))

    def applied(self, rule: Rule | None) -> Rule | None:
        """Return a rule with these changes; None if no background is given.

        Raises:
            InputError: If a change is not valid for any rule.
        """
        if self.background is not None:
            kind, level = _background(self.background)
            base = rule or Rule(kind, level)
            rule = replace(base, background=kind, level=level)
        if rule is None:
            return None
        others = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "background"}
        return replace(rule, **{name: value for name, value in others.items() if value is not None})


def _background(text: str) -> tuple[Background, float]:
    """Parse the value of ``--background``.

    >>> _background("0.25"), _background("power:2"), _background("saliency")
    (('constant', 0.25), ('power', 2.0), ('saliency', 0.0))
    """
    kind, _, level = text.partition(":")
    try:
        if kind == "power":
            return "power", float(level or 1)
        if kind == "saliency":
            return "saliency", float(level or 0)
        if kind == "map" and not level:
            return "map", 0.0
        return "constant", float(text)
    except ValueError as error:
        msg = f"--background takes a number, power:N, saliency, saliency:N or map, not {text!r}"
        raise InputError(msg) from error
