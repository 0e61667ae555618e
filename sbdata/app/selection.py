"""The selection of objects in the panel "Object sizes", and the filter that shows only those.

The filter is a MongoDB expression of a fixed form, so that it is recognised in any view, such as a
saved one, and after the page was reloaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sbdata.app.panel_data import TEXTS, Objects
from sbdata.app.samples import INSTANCES

_STAGE = "fiftyone.core.stages.FilterLabels"
_OUTCOME = "$$this.outcome_"  # followed by the name of a run


@dataclass(frozen=True)
class Selection:
    """A selection of objects; a criterion that is None is not applied.

    Attributes:
        label: Class of the objects.
        size: Size of the objects.
        source: Source of their annotation.
        area: Smallest area, and one above the largest, in pixels.
        outcome: Name of a run, and the outcome of the objects in it.
    """

    label: str | None = None
    size: str | None = None
    source: str | None = None
    area: tuple[int, int] | None = None
    outcome: tuple[str, str] | None = None

    def __bool__(self) -> bool:
        return self != Selection()

    def filter(self) -> dict[str, Any]:
        """Return the MongoDB expression that is true for the selected objects.

        >>> Selection(size="small").filter()
        {'$and': [{'$eq': ['$$this.size', 'small']}]}
        """
        parts = [
            {"$eq": [f"$$this.{name}", value]}
            for name in TEXTS
            if (value := getattr(self, name)) is not None
        ]
        if self.area is not None:
            low, high = self.area
            parts += [{"$gte": ["$$this.area", low]}, {"$lt": ["$$this.area", high]}]
        if self.outcome is not None:
            run, kind = self.outcome
            parts.append({"$eq": [f"{_OUTCOME}{run}", kind]})
        return {"$and": parts}

    def mask(self, objects: Objects) -> npt.NDArray[np.bool_]:
        """Return a boolean array of the objects that are selected."""
        chosen = np.ones(len(objects), dtype=bool)
        for name in TEXTS:
            value = getattr(self, name)
            if value is not None:
                chosen &= objects.texts[name] == value
        if self.area is not None:
            low, high = self.area
            chosen &= (objects.area >= low) & (objects.area < high)
        if self.outcome is not None:
            run, kind = self.outcome
            scores = objects.runs.get(run)
            chosen &= False if scores is None else scores.outcome == kind
        return chosen

    def described(self) -> str:
        """Return a description of the selection.

        >>> Selection(label="disc", area=(512, 725), outcome=("cam", "wrong_class")).described()
        'disc, 512 to 724 pixels, wrong class in cam'
        """
        parts = [value for name in TEXTS if (value := getattr(self, name)) is not None]
        if self.area is not None:
            parts.append(f"{self.area[0]:,} to {self.area[1] - 1:,} pixels")
        if self.outcome is not None:
            run, kind = self.outcome
            parts.append(f"{kind.replace('_', ' ')} in {run}")
        return ", ".join(parts) or "all objects"


def selection_of(expression: Any) -> Selection | None:
    """Return the selection that has this expression as its filter, or None if there is none."""
    try:
        parts: dict[str, Any] = {}
        for part in expression["$and"]:
            ((operator, (path, value)),) = part.items()
            parts[f"{operator} {path}"] = value
        low, high = parts.get("$gte $$this.area"), parts.get("$lt $$this.area")
        texts = {name: parts.get(f"$eq $$this.{name}") for name in TEXTS}
        outcomes = [
            (key.removeprefix(f"$eq {_OUTCOME}"), value)
            for key, value in parts.items()
            if key.startswith(f"$eq {_OUTCOME}")
        ]
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    outcome = outcomes[0] if len(outcomes) == 1 else None
    area = None if low is None or high is None else (int(low), int(high))
    found = Selection(**texts, area=area, outcome=outcome)
    return found if found and found.filter() == dict(expression) else None


def split_view(
    stages: Sequence[Mapping[str, Any]] | None,
) -> tuple[list[Mapping[str, Any]], Selection]:
    """Split a view into the panel's selection and the other stages.

    Args:
        stages: Stages of the view, as FiftyOne serialises them.

    Returns:
        The other stages in their order, and the selection (the last one if there are several).
    """
    rest, selection = [], Selection()
    for stage in stages or ():
        options = dict(stage.get("kwargs", ()))
        found = None
        if stage.get("_cls") == _STAGE and options.get("field") == INSTANCES:
            found = selection_of(options.get("filter"))
        if found is None:
            rest.append(stage)
        else:
            selection = found
    return rest, selection
