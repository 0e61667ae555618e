"""The formats that :mod:`tests.fuzz` mutates: a good file of each, and how sbdata reads it."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from sbdata.errors import InputError


@dataclass(frozen=True)
class Format:
    """One format: a good file, and how it is read.

    Attributes:
        good: the bytes of a good file.
        read: reads a file in an otherwise good place.
        values: whether the file is JSON, whose values are changed, too.
    """

    good: bytes
    read: Callable[[bytes], Any]
    values: bool = False


def formats(folder: Path) -> dict[str, Format]:
    """Return the formats by name; what they need beside the file is written into a folder."""
    makers = (
        _yaml_formats,
        _coco_format,
        _manifest_format,
        _voc_formats,
        _sbd_format,
        _photo_formats,
        _label_formats,
        _built_formats,
        _training_formats,
        _score_formats,
        _prediction_formats,
        _archive_formats,
        _other_formats,
    )
    return {name: format_ for maker in makers for name, format_ in maker(folder).items()}


def _path(folder: Path, name: str) -> Callable[[bytes], Path]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(data: bytes) -> Path:
        path.write_bytes(data)
        return path

    return write


RECIPE = b"""name: pond
version: pond.v1
taxonomy: [fox, hen]
sources:
  - {name: pond, format: coco, splits: [all], annotations: labels.json, images: photos}
select: {quota: 4, band: 0.1}
filters: {with_instances: true, max_crowd_share: 0.5}
bins: {edges: [100, 900], names: [s, m, l]}
description: "Two kinds: of animals"
seed: 3
"""
REGISTRY = b"""sources:
  - name: pond
    purpose: tests
    license: CC0
    citation: nobody
    homepage: https://example.org
    files: [{name: pond.tar, urls: ["https://example.org/pond.tar"], size: 10, md5: null}]
train_aug_images: 12
"""
PRESET = b"""name: tiny
model: {backbone: resnet18, rates: [6, 12], scales: [0.5]}
augmentation: {crop: 64, scales: [0.5, 1.0]}
optimisation: {steps: 4, batch_size: 2, lr: 1e-3}
inference: {scales: [1.0], flip: true}
"""


def _yaml_formats(folder: Path) -> dict[str, Format]:
    from sbdata.recipe import load_recipe
    from sbdata.sources.published import load_registry
    from sbdata.train.preset import load_preset

    file = _path(folder, "settings.yaml")

    def override(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        load_recipe("shapes-b", [f"select={text}"])

    return {
        "recipe": Format(RECIPE, lambda data: load_recipe(str(file(data)))),
        "registry": Format(REGISTRY, lambda data: load_registry(file(data))),
        "preset": Format(PRESET, lambda data: load_preset(str(file(data)))),
        "override": Format(b"{quota: 5, band: 0.05, nodes: 3}", override),
    }


def _coco_format(folder: Path) -> dict[str, Format]:
    from sbdata.recipe import SourceSpec
    from sbdata.sizes import SizeBins
    from sbdata.sources.coco import open_coco
    from sbdata.sources.lvis import open_lvis
    from sbdata.sources.scan import scan_source
    from sbdata.taxonomy import Taxonomy, class_map

    box = [2.0, 3.0, 12.0, 3.0, 12.0, 13.0, 2.0, 13.0]
    content = {
        "images": [
            {"id": i, "file_name": f"photos/p{i}.jpg", "width": 40, "height": 30, "license": 1,
             "coco_url": f"https://example.org/p{i}.jpg"}
            for i in (1, 2, 3)
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [box]},
            {"id": 2, "image_id": 2, "category_id": 2, "iscrowd": 1,
             "segmentation": {"size": [30, 40], "counts": [600, 60, 540]}},
            {"id": 3, "image_id": 3, "category_id": 2, "segmentation": [box, box]},
        ],
        "categories": [{"id": 1, "name": "fox"}, {"id": 2, "name": "hen"}],
        "licenses": [{"id": 1, "name": "CC0"}],
    }  # fmt: skip
    file = _path(folder, "coco/labels.json")
    spec = SourceSpec("pond", ("all",), "coco", annotations="labels.json", images=".")
    mapping = class_map(Taxonomy("farm", ("fox", "hen")), None)

    def read(data: bytes) -> None:
        path = file(data)
        source = open_coco(spec, "all", path.parent)
        source.members()
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            scan = scan_source(source, mapping, SizeBins(), "val", Path(scratch))
            scan.rejections()

    finer = _path(folder, "lvis/lvis_v1_val.json")
    of_lvis = json.loads(json.dumps(content))
    for record in of_lvis["images"]:
        record["not_exhaustive_category_ids"] = [2]
        record["neg_category_ids"] = []

    def read_lvis(data: bytes) -> None:
        path = finer(data)
        source = open_lvis(SourceSpec("lvis", ("val",), "lvis"), "val", path.parent)
        source.members()
        for chunk in source.chunks(100):
            source.read(chunk)

    return {
        "coco": Format(json.dumps(content).encode(), read, values=True),
        "lvis": Format(json.dumps(of_lvis).encode(), read_lvis, values=True),
    }


def _manifest_format(folder: Path) -> dict[str, Format]:
    from sbdata.curate.build import build_set
    from sbdata.curate.header import check_header
    from sbdata.curate.inputs import Inputs
    from sbdata.manifest import read_manifest
    from sbdata.recipe import load_recipe

    options = ["sources.0.options={seed: 3, pool: 4, train: 2}", "name=kk"]
    built = build_set(load_recipe("shapes-train", options), folder / "set", Inputs())
    tables = {name: pq.read_table(built.root / name) for name in _TABLES}
    header = tables["images.parquet"].schema.metadata[b"sbdata"]
    changed = folder / "changed"
    changed.mkdir()

    def read_header(data: bytes) -> None:
        for name, table in tables.items():
            pq.write_table(table.replace_schema_metadata({b"sbdata": data}), changed / name)
        check_header(read_manifest(changed, check_hash=False), changed)

    def reader_of(table: str) -> Callable[[bytes], None]:
        def read_table(data: bytes) -> None:
            for name in _TABLES:
                (changed / name).write_bytes((built.root / name).read_bytes())
            (changed / table).write_bytes(data)
            read_manifest(changed)

        return read_table

    images, instances = ((built.root / name).read_bytes() for name in _TABLES)
    return {
        "manifest": Format(header, read_header, values=True),
        "parquet-images": Format(images, reader_of("images.parquet")),
        "parquet-instances": Format(instances, reader_of("instances.parquet")),
    }


_TABLES = ("images.parquet", "instances.parquet")

VOC_XML = b"""<annotation><size><width>20</width><height>10</height></size>
<object><name>cat</name><difficult>1</difficult>
<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>
"""


def _png(values: Any) -> bytes:
    return _saved(Image.fromarray(np.asarray(values, np.uint8)))


def _saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _voc_formats(folder: Path) -> dict[str, Format]:
    from sbdata.mask_files import read_mask
    from sbdata.recipe import SourceSpec
    from sbdata.sources.voc import open_voc
    from sbdata.taxonomy import VOC20

    mask = np.zeros((10, 20), np.uint8)
    mask[2:8, 2:9] = 1
    root = folder / "voc"
    listed = _path(root, "ImageSets/Segmentation/val.txt")
    boxes = _path(root, "Annotations/a1.xml")
    listed(b"a1\n")
    for kind, value in (("SegmentationClass", 8), ("SegmentationObject", 1)):
        _path(root, f"{kind}/a1.png")(_png(mask * value))
    spec = SourceSpec("voc", ("val",))

    def read() -> None:
        source = open_voc(spec, "val", root)
        source.members()
        for chunk in source.chunks(100):
            source.read(chunk)

    def read_list(data: bytes) -> None:
        listed(data)
        try:
            read()
        finally:
            listed(b"a1\n")

    def read_boxes(data: bytes) -> None:
        boxes(data)
        try:
            read()
        finally:
            boxes(VOC_XML)

    single = _path(folder, "mask.png")

    def read_png(data: bytes) -> None:
        read_mask(single(data), classes=VOC20)

    def read_colours(data: bytes) -> None:
        read_mask(single(_with_good_sums(data)), classes=VOC20, decode_colours=True)

    def read_instances(data: bytes) -> None:
        read_mask(single(_with_good_sums(data)), instances=True, sixteen_bits=True)

    palette = Image.fromarray(mask)
    palette.putpalette(np.random.default_rng(0).permutation(768).astype(np.uint8).tobytes())
    return {
        "png-palette": Format(_saved(palette), read_colours),
        "png-colours": Format(_png(np.stack([mask * 128] * 3, axis=2)), read_colours),
        "png-16": Format(_saved(Image.fromarray(mask.astype(np.uint16) * 1001)), read_instances),
        "voc-list": Format(b"a1\nb 1\r\n\nc\n", read_list),
        "voc-xml": Format(VOC_XML, read_boxes),
        "png": Format(_png(mask), read_png),
        "png-whole": Format(_png(mask), lambda data: read_png(_with_good_sums(data))),
    }


def _with_good_sums(data: bytes) -> bytes:
    """Return a PNG whose chunks have right checksums, so that their content is looked at."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + size]
        out += data[at : at + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        at += 12 + size
    return bytes(out)


def _sbd_format(folder: Path) -> dict[str, Format]:
    from sbdata.recipe import SourceSpec
    from sbdata.sources.sbd import open_sbd
    from tests.sources.miniatures import mat

    root = folder / "sbd"
    mask = np.eye(20, dtype=np.uint8)
    _path(root, "val.txt")(b"a1\n")
    _path(root, "cls/a1.mat")(mat("GTcls", Segmentation=mask))
    objects = _path(root, "inst/a1.mat")
    packed = mat("GTinst", Segmentation=mask, Categories=np.array([[1]], np.uint8))
    unpacked = packed[:128] + zlib.decompress(packed[136:])

    def read(data: bytes) -> None:
        objects(data)
        source = open_sbd(SourceSpec("sbd", ("val",)), "val", root)
        source.read(source.chunks(1)[0])

    return {"sbd-mat": Format(unpacked, read), "sbd-mat-packed": Format(packed, read)}


def _photo_formats(folder: Path) -> dict[str, Format]:
    from sbdata.fetch.photos import PhotoError, decode_photo
    from sbdata.images import orientation_of
    from sbdata.train.photos import open_photo, read_photo

    noise = np.random.default_rng(0).integers(0, 256, (10, 20, 3), np.uint8)
    tags = Image.Exif()
    tags[0x0112] = 6
    jpeg = _saved(Image.fromarray(noise), "JPEG", exif=tags)
    file = _path(folder, "photo.jpg")

    def read_jpeg(data: bytes) -> None:
        with suppress(PhotoError):  # its caller rejects the image
            decode_photo(data, (20, 10))
        read_any(data)

    def read_any(data: bytes) -> None:
        path = file(data)
        with open_photo(path) as photo:
            orientation_of(photo)
        read_photo(path)

    return {"jpeg": Format(jpeg, read_jpeg), "photo-png": Format(_png(noise), read_any)}


def _label_formats(folder: Path) -> dict[str, Format]:
    from sbdata.importers.target import target_of_list
    from sbdata.taxonomy import VOC20
    from sbdata.weak_labels.boxes import read_boxes
    from sbdata.weak_labels.labels import read_labels

    vectors, table = _path(folder, "labels.npy"), _path(folder, "labels.csv")
    lines, plain = _path(folder, "labels.txt"), _path(folder, "labels.json")
    xml, boxes = _path(folder, "labels/a1.xml"), _path(folder, "boxes.json")
    listed = _path(folder, "ids.txt")
    array = io.BytesIO()
    np.save(array, {"a1": np.eye(20, dtype=np.float32)[3]}, allow_pickle=True)
    ids = ["a1"]
    content = {
        "images": [{"id": 1, "file_name": "a1.jpg", "width": 20, "height": 10}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 5.0, 4]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    return {
        "labels-npy": Format(array.getvalue(), lambda data: read_labels(vectors(data), VOC20, ids)),
        "labels-csv": Format(
            b"image_id,classes\na1,cat dog\nb1,8\nc1,\n",
            lambda data: read_labels(table(data), VOC20, ids),
        ),
        "labels-txt": Format(
            b"a1 cat dog\nb1 8\nc1\n", lambda data: read_labels(lines(data), VOC20, ids)
        ),
        "labels-json": Format(
            b'{"a1": ["cat", 12], "b1": []}',
            lambda data: read_labels(plain(data), VOC20, ids),
            values=True,
        ),
        "labels-coco": Format(
            json.dumps(content).encode(),
            lambda data: read_labels(plain(data), VOC20, ids),
            values=True,
        ),
        "labels-xml": Format(VOC_XML, lambda data: read_labels(xml(data).parent, VOC20, ids)),
        "boxes-xml": Format(VOC_XML, lambda data: read_boxes(xml(data).parent, VOC20, ids)),
        "boxes-json": Format(
            json.dumps(content).encode(),
            lambda data: read_boxes(boxes(data), VOC20, ids),
            values=True,
        ),
        "id-list": Format(
            b"2007_000032\n/JPEGImages/a1.jpg /Masks/a1.png\n",
            lambda data: target_of_list(listed(data), VOC20),
        ),
    }


def _built_formats(folder: Path) -> dict[str, Format]:
    from sbdata.checksums import CHECKSUMS_FILE, read_checksums
    from sbdata.completion import MARKER, read_marker, write_marker
    from sbdata.curate.changes import changed_sources, record_sources, recorded_notes
    from sbdata.curate.materialise import read_rejected, write_rejected
    from sbdata.file_hashes import FileHashes
    from sbdata.layout import SOURCES_MARKER
    from sbdata.recipe import load_recipe
    from sbdata.sources import Rejection

    sums = _path(folder, f"kept/{CHECKSUMS_FILE}")
    sources = _path(folder, f"kept/{SOURCES_MARKER}")
    rejected = _path(folder, "kept/rejected.csv")
    kept = folder / "kept"
    pond = folder / "pond"
    pond.mkdir()
    (pond / "labels.json").write_text("{}")
    (folder / "pond.yaml").write_bytes(RECIPE)
    recipe = load_recipe(str(folder / "pond.yaml"))
    found = {"pond-all": {"stat": "0", "content": "1"}}
    record_sources(kept, "00", found, ["a note"])
    write_rejected(folder / "rejected.csv", [Rejection("pond", "a.jpg", "hidden", "=1+1", "a")])
    write_marker(kept, [SOURCES_MARKER], {"steps": 3})
    marker = _path(folder, f"kept/{MARKER}")
    hashes = _path(folder, "kept/hashes.json")
    known = FileHashes(hashes(b"{}"))
    known.sha256(kept / SOURCES_MARKER)
    known.save()

    def read_sources(data: bytes) -> None:
        sources(data)
        changed_sources(kept, "00", recipe, {"pond": pond})
        recorded_notes(kept, "00")

    return {
        "checksums": Format(
            b"".join(b"%064x  JPEGImages/%d.jpg\n" % (k, k) for k in range(3)),
            lambda data: read_checksums(sums(data).parent),
        ),
        "sources-marker": Format((kept / SOURCES_MARKER).read_bytes(), read_sources, values=True),
        "rejected": Format(
            (folder / "rejected.csv").read_bytes(), lambda data: read_rejected(rejected(data))
        ),
        "marker": Format(
            (kept / MARKER).read_bytes(), lambda data: read_marker(marker(data).parent), values=True
        ),
        "file-hashes": Format(
            (kept / "hashes.json").read_bytes(),
            lambda data: FileHashes(hashes(data)).sha256(kept / SOURCES_MARKER),
            values=True,
        ),
    }


def _training_formats(folder: Path) -> dict[str, Format]:
    import torch

    from sbdata.taxonomy import Taxonomy
    from sbdata.train.checkpoint import (
        CHECKPOINT_FORMAT,
        MODEL_FORMAT,
        load_state,
        load_tensors,
        save_model,
        save_tensors,
    )
    from sbdata.train.model_header import check_model_file
    from sbdata.train.preset import ModelSettings
    from sbdata.train.record import RUN_FORMAT, read_run
    from sbdata.train.segmenter import build_segmenter

    run, state, model = (_path(folder, f"run/{n}") for n in ("run.json", "state.pt", "model.pt"))
    about = {
        "format": RUN_FORMAT, "strategy": "ce", "seed": 0, "identity": {"masks": "0"},
        "preset": {"name": "tiny"}, "total_steps": 4, "switch_step": None, "seconds": 1.5,
        "last_loss": 0.25, "initialisation": "random", "pretrained": False, "synthetic": True,
        "training_images": 2, "source": {"set": "a"}, "taxonomy": {"name": "farm"},
        "environment": {"threads": 1}, "ewc_stability": None,
    }  # fmt: skip
    save_tensors(
        state(b""),
        {
            "format": CHECKPOINT_FORMAT, "identity": {"masks": "0"}, "step": 2,
            "model": {"a": torch.zeros(3)}, "optimizer": {}, "scaler": {}, "fisher": {},
            "rng": [torch.zeros(4, dtype=torch.uint8)], "cuda_rng": [], "rows": [[1.0, 2.0]],
            "seconds": 1.0,
        },
    )  # fmt: skip
    settings = ModelSettings(backbone="resnet18", weights="none")
    segmenter = build_segmenter(
        "resnet18",
        n_classes=2,
        weights="none",
        output_stride=settings.output_stride,
        rates=settings.rates,
        scales=settings.scales,
    )
    with torch.no_grad():
        few = {name: value for name, value in segmenter.state_dict().items() if value.ndim == 0}
    segmenter.state_dict = lambda: few  # type: ignore[method-assign]
    save_model(model(b""), segmenter, settings, Taxonomy("farm", ("fox", "hen")), about)

    def read_model(data: bytes) -> None:
        path = model(data)
        values = load_tensors(path, MODEL_FORMAT)
        with suppress(InputError):  # few of its weights are there
            check_model_file(values, path)

    return {
        "run-json": Format(
            json.dumps(about).encode(), lambda data: read_run(run(data)), values=True
        ),
        "checkpoint": Format(
            (folder / "run/state.pt").read_bytes(), lambda d: load_state(state(d))
        ),
        "model": Format((folder / "run/model.pt").read_bytes(), read_model),
    }


def _score_formats(folder: Path) -> dict[str, Format]:
    from sbdata.app.run_folder import read_run
    from sbdata.benchmark.steps.scores import VALUES, read_score, score_set
    from sbdata.importers.folder import Request, import_masks
    from sbdata.importers.record import read_record
    from sbdata.importers.target import target_of_list
    from sbdata.layout import IMPORT_RECORD
    from sbdata.mask_files import write_index_png
    from sbdata.score.run import ScoreOptions, score_folder
    from sbdata.score.tables_file import read_tables, write_tables
    from sbdata.score.truth import truth_from_masks
    from sbdata.score.write import check_place, write_result
    from sbdata.sets import open_set
    from sbdata.taxonomy import VOC20

    masks = folder / "score/masks"
    values = np.zeros((10, 20), np.uint8)
    values[2:8, 2:9] = 8
    write_index_png(masks / "a1.png", values)
    truth = truth_from_masks(masks, None)
    scored = score_folder(masks, truth, ScoreOptions(resamples=0), name="a")
    out = folder / "score/out"
    write_result(scored, out)
    write_tables(folder / "score/tables.npz", scored.tables)
    summary, tables = _path(folder, "score/out/a/summary.json"), _path(folder, "score/tables.npz")
    objects = _path(folder, "score/out/a/instances.parquet")
    good_summary = (out / "a/summary.json").read_bytes()
    good_objects = (out / "a/instances.parquet").read_bytes()
    opened = open_set(folder / "set")
    score_set(folder / "set/SegmentationClass", opened, folder / "score/set", lambda *_: None)
    figures = _path(folder, f"score/set/{VALUES}")
    (folder / "score/ids.txt").write_text("a1\n")
    target = target_of_list(folder / "score/ids.txt", VOC20)
    import_masks(Request(masks, target, "m"), folder / "score/import")
    record = _path(folder, f"score/import/{IMPORT_RECORD}")

    def read_summary(data: bytes) -> None:
        try:
            path = summary(data)
            read_run(path.parent)
        finally:
            with suppress(InputError):
                check_place(out, "a", masks)
            summary(good_summary)

    def read_objects(data: bytes) -> None:
        try:
            read_run(objects(data).parent)
        finally:
            objects(good_objects)

    return {
        "summary": Format(good_summary, read_summary, values=True),
        "score-objects": Format(good_objects, read_objects),
        "score-tables": Format(
            (folder / "score/tables.npz").read_bytes(), lambda data: read_tables(tables(data))
        ),
        "score-values": Format(
            (folder / "score/set" / VALUES).read_bytes(),
            lambda data: read_score(figures(data).parent),
            values=True,
        ),
        "import-record": Format(
            (folder / "score/import" / IMPORT_RECORD).read_bytes(),
            lambda data: read_record(record(data).parent),
            values=True,
        ),
    }


def _prediction_formats(folder: Path) -> dict[str, Format]:
    from sbdata.masks import encode_mask
    from sbdata.score.inputs import PredictionFormat, read_prediction
    from sbdata.score.json_predictions import list_json
    from sbdata.score.palettes import find_palette
    from sbdata.score.truth import truth_from_coco
    from sbdata.sources.ade20k import read_instance_colours
    from sbdata.sources.cityscapes import read_instance_ids
    from sbdata.taxonomy import Taxonomy

    farm, size = Taxonomy("farm", ("fox", "hen")), (20, 10)
    values = np.zeros((10, 20), np.uint8)
    values[2:8, 2:9] = 1
    array = io.BytesIO()
    np.save(array, values)
    streams = {}
    for name, pixels in (
        ("cityscapes", np.where(values, 26001, 7).astype(np.uint16)),
        ("ade20k", np.stack([values, values, values], -1)),
    ):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="PNG")
        streams[name] = stream.getvalue()
    categories = [{"id": 3, "name": "fox", "isthing": 1}, {"id": 5, "name": "sky", "isthing": 0}]
    panoptic = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}],
        "annotations": [
            {"image_id": 1, "file_name": "a.png",
             "segments_info": [{"id": 65793, "category_id": 3, "iscrowd": 0}]}
        ],
        "categories": categories,
    }  # fmt: skip
    counts = encode_mask(values).decode()
    results = [
        {"image_id": 1, "category_id": 3, "score": 0.5,
         "segmentation": {"size": [10, 20], "counts": counts}},
        {"image_id": "a", "category_id": 5, "score": 1,
         "segmentation": {"size": [10, 20], "counts": [100, 100]}},
    ]  # fmt: skip
    told = _path(folder, "json/ids.json")(json.dumps(panoptic).encode())
    json_file, npy = _path(folder, "json/found.json"), _path(folder, "json/a.npy")
    palette, png = _path(folder, "json/palette.txt"), _path(folder, "json/mask.png")
    _path(folder, "json/a.png")(streams["ade20k"])

    def read_json(data: bytes) -> None:
        listing = list_json(json_file(data), ["a"], farm, ids_file=told, allow_missing=True)
        listing.read("a", size, PredictionFormat(farm))

    def read_truth(data: bytes) -> None:
        truth = truth_from_coco(json_file(data))
        for image_id in truth.image_ids:
            truth.load(image_id)

    return {
        "coco-results": Format(json.dumps(results).encode(), read_json, values=True),
        "panoptic": Format(json.dumps(panoptic).encode(), read_truth, values=True),
        "panoptic-predictions": Format(json.dumps(panoptic).encode(), read_json, values=True),
        "npy-map": Format(
            array.getvalue(),
            lambda data: read_prediction(npy(data), size, PredictionFormat(farm)),
        ),
        "palette": Format(
            b"# of a farm\nbackground: 0 0 0\nfox: 1 2 3\nhen:255,255,255:beak:pick\n",
            lambda data: find_palette(str(palette(data)), farm),
        ),
        "cityscapes": Format(streams["cityscapes"], lambda data: read_instance_ids(png(data))),
        "ade20k": Format(streams["ade20k"], lambda data: read_instance_colours(png(data))),
    }


def _archive_formats(folder: Path) -> dict[str, Format]:
    from sbdata.fetch.archives import unpack_archive
    from sbdata.fetch.trees import FileTable, read_table, table_bytes

    contents = {"a/b.txt": b"some text", "a/c.txt": b"other text"}
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    with tarfile.open(fileobj=tarred, mode="w:gz") as tar:
        for name, data in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    table = _path(folder, "trees/table")

    def unpacking(name: str) -> Callable[[bytes], None]:
        file = _path(folder, name)

        def read(data: bytes) -> None:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                unpack_archive(file(data), Path(scratch) / "out")

        return read

    written = unpack_archive(_path(folder, "good.zip")(zipped.getvalue()), folder / "unpacked")
    files = tuple(written.values() if isinstance(written, dict) else written)
    return {
        "zip": Format(zipped.getvalue(), unpacking("a.zip")),
        "tar": Format(tarred.getvalue(), unpacking("a.tar.gz")),
        "file-table": Format(
            table_bytes(FileTable("a.zip", "0" * 64, files)), lambda data: read_table(table(data))
        ),
    }


def _other_formats(folder: Path) -> dict[str, Format]:
    from sbdata.benchmark.entries import read_records
    from sbdata.benchmark.records import write_result
    from sbdata.importers.dictionaries import LayoutError, read_dictionary
    from sbdata.taxonomy import named_taxonomy
    from tests.benchmark.result_examples import outcomes, result

    written = write_result(folder / "results", result("cam", "ce", outcomes=outcomes()))[0]
    good = written.read_bytes()
    array = io.BytesIO()
    np.save(array, {1: np.ones((4, 5), np.float32)}, allow_pickle=True)
    npy = _path(folder, "cam.npy")
    names = _path(folder, "classes.txt")

    def read_npy(data: bytes) -> None:
        try:
            read_dictionary(npy(data))
        except LayoutError as error:  # its caller names the file
            raise InputError(str(error)) from error

    def read_result(data: bytes) -> None:
        written.write_bytes(data)
        read_records([written])

    return {
        "result": Format(good, read_result, values=True),
        "npy": Format(array.getvalue(), read_npy),
        "class-list": Format(b"fox\nhen\n", lambda data: named_taxonomy(str(names(data)))),
    }
