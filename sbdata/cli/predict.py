"""``sbdata predict``: write a trained segmenter's masks, for ``sbdata score``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sbdata.cli.examples import examples
from sbdata.cli.output import say
from sbdata.cli.shell_completion import complete_set
from sbdata.errors import InputError
from sbdata.limits import MAX_SCALE

_FOLDER = click.Path(path_type=Path)


@click.command(
    epilog=examples(
        "sbdata predict runs/train/seed-0/ce --set data/shapes-b --out predictions/ce",
        "sbdata predict model.pt --images photos --out masks --scales 0.5,1,1.5 --flip",
    )
)
@click.argument("model", metavar="MODEL", type=_FOLDER)
@click.option(
    "--set",
    "set_folder",
    type=_FOLDER,
    shell_complete=complete_set,
    help="Built set with the photos to predict.",
)
@click.option("--images", type=_FOLDER, help="Folder of photos to predict, instead of a set.")
@click.option(
    "--out", type=_FOLDER, required=True, help="Folder to write the masks <image_id>.png to."
)
@click.option(
    "--scales", help="Scales of the image to average, such as 0.5,1,1.5 [the training preset's]."
)
@click.option(
    "--flip/--no-flip",
    default=None,
    help="Average with the prediction of the mirrored image [the training preset's].",
)
@click.option(
    "--refine", help="Refinement of the masks: none, pamr, par or crf [the training preset's]."
)
@click.option(
    "--device", default="auto", show_default=True, help="Device: auto, cpu, cuda or cuda:N."
)
@click.option("--threads", type=click.IntRange(min=1), help="Number of PyTorch threads on the CPU.")
@click.option("--overwrite", is_flag=True, help="Replace masks that already exist in OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def predict(
    model: Path,
    set_folder: Path | None,
    images: Path | None,
    out: Path,
    scales: str | None,
    flip: bool | None,
    refine: str | None,
    device: str,
    threads: int | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a class mask for every photo, as the palette PNGs that 'sbdata score' reads.

    MODEL is a folder that 'sbdata train' wrote, or its model.pt. An interrupted prediction resumes.
    """
    if (set_folder is None) == (images is None):
        msg = "give the photos to predict: --set SET or --images DIR"
        raise InputError(msg)
    if threads:
        import torch

        torch.set_num_threads(threads)
    from sbdata.cli.progress import showing_progress
    from sbdata.file_hashes import FileHashes
    from sbdata.layout import IMAGES_FOLDER
    from sbdata.machine import check_output
    from sbdata.sets import check_files, open_set
    from sbdata.train.checkpoint import about_model, load_model
    from sbdata.train.devices import init_distributed
    from sbdata.train.photos import photos_in
    from sbdata.train.predict import predict_folder
    from sbdata.train.preset import inference_of
    from sbdata.train.refine import describe_refiner, make_refiner

    check_output(out)
    place, hashes = init_distributed(device), FileHashes()
    if images is not None:
        segmenter, taxonomy = load_model(model)
        photos = sorted(photos_in(images).items())
    elif set_folder is not None:
        opened = open_set(set_folder)
        segmenter, taxonomy = load_model(model, opened.taxonomy)
        check_files(opened, [IMAGES_FOLDER], hashes)
        photos = [(image_id, opened.image_path(image_id)) for image_id in opened]
    preset = inference_of(about_model(model))
    refiner = make_refiner(refine or preset.refine, crf=preset.crf)
    with showing_progress(quiet=as_json) as progress:
        written = predict_folder(
            segmenter.to(place.device),
            photos,
            out,
            scales=_scales(scales) if scales else preset.scales,
            flip=preset.flip if flip is None else flip,
            refine=refiner,
            refined_by=describe_refiner(refine or preset.refine, preset.crf),
            classes=taxonomy.classes,
            device=place.device,
            overwrite=overwrite,
            hashes=hashes,
            progress=lambda done, total: progress("predict", done, total),
        )
    if as_json:
        say(json.dumps({"out": str(out), "images": len(photos), "written": written}))
    else:
        say(f"{out}: {len(photos):,} masks, {written:,} of them written now")


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale <= MAX_SCALE for scale in scales):
        msg = (
            f"--scales takes positive numbers, {MAX_SCALE:g} at most, such as 0.5,1,1.5, not "
            f"{text!r}"
        )
        raise InputError(msg)
    return scales
