"""Class masks of a method's stages: which folders of the cache hold them, in the method's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sbdata.benchmark.cache import Cache
from sbdata.benchmark.markers import STAGE_MARKER
from sbdata.benchmark.steps.pseudo_masks import holds_masks, name_of_earlier
from sbdata.benchmark.tasks import Task


@dataclass(frozen=True)
class StageMasks:
    """Folders of the class masks that the stages of one method and seed wrote.

    Attributes:
        name: Title: method and seed.
        training: Folder of the training set.
        masks: Folder of the pseudo-masks; None if their stage is not done.
        earlier: Folders of the earlier stages that are done and write class masks, by name, in
            order. Stages that write maps or models are left out.
    """

    name: str
    training: Path
    masks: Path | None
    earlier: Mapping[str, Path]


def stage_masks(tasks: Sequence[Task], cache: Cache) -> tuple[StageMasks, ...]:
    """Return the folders of class masks of each method and seed whose pseudo-masks can be scored.

    Args:
        tasks: Tasks of a bench call.
        cache: Cache of their results.

    Raises:
        InputError: If a training set cannot be opened.
    """
    found = []
    for task in tasks:
        if task.kind != "pseudo":
            continue
        about = task.context
        ids = cache.open_set(about["training"], about["training_hash"]).image_ids
        folders = {part: cache.folder(given) for part, given in task.inputs.items()}
        done = {p: f for p, f in folders.items() if (f / STAGE_MARKER).is_file()}
        *earlier, last = folders
        found.append(
            StageMasks(
                task.name.rpartition(":")[0],
                Path(about["training"]),
                done.get(last),
                {
                    name_of_earlier(part): done[part]
                    for part in earlier
                    if part in done and holds_masks(done[part], ids)
                },
            )
        )
    return tuple(found)
