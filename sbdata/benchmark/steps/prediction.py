"""Prediction: a trained segmenter's masks of a set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sbdata.file_hashes import FileHashes
from sbdata.layout import IMAGES_FOLDER
from sbdata.sets import EvaluationSet, check_files
from sbdata.train.checkpoint import load_model
from sbdata.train.devices import DistributedContext
from sbdata.train.predict import predict_folder
from sbdata.train.preset import Inference
from sbdata.train.refine import describe_refiner, make_refiner


def predict_set(
    model: Path,
    opened: EvaluationSet,
    folder: Path,
    inference: Inference,
    place: DistributedContext,
    hashes: FileHashes,
    progress: Callable[[int, int], None],
) -> None:
    """Write the masks of a set's photos; existing masks of the same model are kept.

    Args:
        model: Folder of the trained segmenter.
        opened: Set to predict.
        folder: Output folder of the masks; it holds nothing else.
        inference: Prediction settings.
        place: Device.
        hashes: Known hashes of the photos.
        progress: Callback, called with (images done, total images).
    """
    check_files(opened, [IMAGES_FOLDER], hashes)
    segmenter, taxonomy = load_model(model, opened.taxonomy)
    predict_folder(
        segmenter.to(place.device),
        [(image_id, opened.image_path(image_id)) for image_id in opened],
        folder,
        scales=inference.scales,
        flip=inference.flip,
        refine=make_refiner(inference.refine, place.device, inference.crf),
        refined_by=describe_refiner(inference.refine, inference.crf),
        classes=taxonomy.classes,
        device=place.device,
        progress=progress,
        replace_others=True,
        hashes=hashes,
    )
