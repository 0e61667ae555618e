"""A set as a map-style PyTorch dataset; ``EvaluationSet.as_torch`` returns it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from sbdata.layout import CLASSES_FOLDER, IMAGES_FOLDER, OBJECTS_FOLDER
from sbdata.sets import EvaluationSet, check_files
from sbdata.train.photos import read_photo

Transform = Callable[[dict[str, Any]], Any]


class SetDataset(Dataset[Any]):
    """Images of a set with their masks and labels, in the order of the ids.

    Attributes:
        image_ids: Ids of the images; item ``i`` is the image ``image_ids[i]``.
        classes: Names of the classes 1..C.

    Args:
        opened: Set to read.
        transform: Function of an item, see :meth:`sbdata.sets.EvaluationSet.as_torch`.

    Raises:
        InputError: If a photo or mask is not the file that the set was built with.
    """

    def __init__(self, opened: EvaluationSet, transform: Transform | None = None) -> None:
        masks = () if opened.labels_only else (CLASSES_FOLDER, OBJECTS_FOLDER)
        check_files(opened, (IMAGES_FOLDER, *masks))
        self.image_ids = opened.image_ids
        self.classes = opened.taxonomy.classes
        self.transform = transform
        self._set = _without_codes(opened)
        instances = opened.manifest.instances
        self._instance_ids = torch.tensor(instances["instance_id"].to_numpy(), dtype=torch.int64)
        self._class_ids = torch.tensor(instances["class_id"].to_numpy(), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> Any:
        """Return an item.

        Raises:
            InputError: If a file cannot be read; the message names it.
        """
        image_id = self.image_ids[index]
        labels = torch.zeros(len(self.classes))
        labels[[class_id - 1 for class_id in self._set.labels_of(image_id)]] = 1
        item: dict[str, Any] = {
            "image": tv_tensors.Image(read_photo(self._set.image_path(image_id))),
            "image_id": image_id,
            "labels": labels,
        }
        if not self._set.labels_only:
            rows = self._set.rows_of(image_id)
            item |= {
                "class_map": tv_tensors.Mask(torch.from_numpy(self._set.class_map(image_id))),
                "instance_map": tv_tensors.Mask(torch.from_numpy(self._set.instance_map(image_id))),
                "instance_ids": self._instance_ids[rows].clone(),
                "class_ids": self._class_ids[rows].clone(),
            }
        return item if self.transform is None else self.transform(item)


def _without_codes(opened: EvaluationSet) -> EvaluationSet:
    """Return the set without the masks' codes, most of what a worker process would be sent."""
    manifest = opened.manifest
    images = manifest.images.drop_columns(["void_rle"])
    instances = manifest.instances.drop_columns(["rle"])
    return replace(opened, manifest=replace(manifest, images=images, instances=instances))
