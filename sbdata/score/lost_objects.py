"""Choice of the small objects that best show at which stage a method loses objects.

No paper defines this choice: :func:`choose_objects` states our rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sbdata.score.pseudo_masks import lost_instances

THRESHOLD = "under 50 %"
"""Threshold by which :func:`choose_objects` calls an object lost."""


@dataclass(frozen=True)
class StagedObject:
    """One true object, and how much of it each stage covers.

    Attributes:
        image_id: Id of its image.
        instance_id: Its number in the image.
        class_id: Its class.
        class_name: Name of its class.
        area: Its area in pixels.
        shares: Share of its pixels that carry its class, by stage.
        whither: Shares of its pixels that are 255, background and another class, by stage.
    """

    image_id: str
    instance_id: int
    class_id: int
    class_name: str
    area: int
    shares: tuple[float, ...]
    whither: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class ObjectGroup:
    """Objects that are lost at the same stage, regained, or never lost.

    Attributes:
        lost_at: Stage from which on they are lost; empty if the last stage has them.
        regained: Whether an earlier stage had lost them.
        n_objects: Number of all objects in the group.
        chosen: Some of them, the clearest example first.
    """

    lost_at: str
    regained: bool
    n_objects: int
    chosen: tuple[StagedObject, ...]


def choose_objects(
    fates: Sequence[tuple[str, pa.Table]], size: str, most: int
) -> tuple[ObjectGroup, ...]:
    """Choose objects of one size that show where a method loses objects; this is our own rule.

    An object is lost at a stage if under half of its pixels carry its class. Objects are grouped:
    for each stage, those that are lost from it on to the last one; those that a stage lost and the
    last one has; and those that no stage lost. The groups get equally many places, in this order
    and in turn, as long as they have objects. In a group, the objects that lose the most pixels in
    one step come first: the step into the stage at which they are lost, or else their largest one;
    before the first stage, an object is complete. (By shares of pixels, specks of a pixel or two
    would come first.) Ties are ordered by image id and number. A second object of an image is
    chosen only if no object of another image is left.

    Args:
        fates: Name of each stage and its table from ``instance_outcomes``, in order, of one set.
        size: Size of the objects.
        most: Number of objects to choose.

    Returns:
        All groups, in the order above, with the objects that were chosen.
    """
    stages = [name for name, _ in fates]
    table = fates[0][1]
    shares = np.stack([found["share_own_class"].to_numpy() for _, found in fates], axis=1)
    end, drop = _ends_and_drops(shares, table["area"].to_numpy().astype(np.int64))
    of_size = np.array(table["size"].to_pylist(), str) == size
    order = np.argsort(-drop, kind="stable")  # the rows are sorted by image and number
    queues = [order[of_size[order] & (end[order] == k)].tolist() for k in range(len(stages) + 2)]
    chosen = _deal(queues, table["image_id"].to_pylist(), most)
    return tuple(
        ObjectGroup(
            stages[k] if k < len(stages) else "",
            k == len(stages),
            len(queue),
            tuple(_object(fates, row) for row in queue if row in chosen),
        )
        for k, queue in enumerate(queues)
    )


def _ends_and_drops(
    shares: npt.NDArray[np.float64], areas: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the group of each object and the pixels that it loses in the step that counts for it.

    Args:
        shares: Shares ``(n, S)`` of the objects' pixels that carry their class, by stage.
        areas: Their areas ``(n,)``.

    Returns:
        Two int64 ``(n,)``: the stage from which on an object is lost, S if it is regained, S + 1 if
        it is never lost; and the pixels.
    """
    n, n_stages = shares.shape
    lost = lost_instances(shares, THRESHOLD)
    since = np.zeros(n, np.int64)
    for k in range(1, n_stages):
        since[~lost[:, k - 1]] = k
    at_last = lost[:, -1]
    end = np.where(at_last, since, np.where(lost.any(axis=1), n_stages, n_stages + 1))
    pixels = np.rint(shares * areas[:, None]).astype(np.int64)
    drops = -np.diff(pixels, axis=1, prepend=areas[:, None])
    return end, np.where(at_last, drops[np.arange(n), since], drops.max(axis=1))


def _deal(queues: Sequence[Sequence[int]], images: Sequence[str], most: int) -> set[int]:
    """Return the rows that are chosen: each from the queue that has had the fewest places so far.

    A row of a new image goes before one of an image that has a chosen row.
    """
    waiting, places = [list(queue) for queue in queues], [0] * len(queues)
    chosen: set[int] = set()
    used: set[str] = set()
    while len(chosen) < most and any(waiting):
        turns = sorted((k for k, rows in enumerate(waiting) if rows), key=places.__getitem__)
        new = ((k, row) for k in turns for row in waiting[k] if images[row] not in used)
        k, row = next(new, (turns[0], waiting[turns[0]][0]))
        waiting[k].remove(row)
        places[k] += 1
        chosen.add(row)
        used.add(images[row])
    return chosen


def _object(fates: Sequence[tuple[str, pa.Table]], row: int) -> StagedObject:
    rows = [table.slice(row, 1).to_pylist()[0] for _, table in fates]
    first = rows[0]
    return StagedObject(
        first["image_id"],
        first["instance_id"],
        first["class_id"],
        first["class_name"],
        first["area"],
        tuple(found["share_own_class"] for found in rows),
        tuple(
            (found["share_ignored"], found["share_background"], found["share_other"])
            for found in rows
        ),
    )
