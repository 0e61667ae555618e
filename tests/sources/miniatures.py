"""Published datasets in miniature: a few images each, in archives of the real names and layouts.

``publish`` writes them below one folder by the addresses of the bundled registry, without their
scheme, so that a local server can stand in for all hosts: ``--mirror https://=http://127.0.0.1:N/``.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_array

from sbdata.masks import voc_palette
from sbdata.settings import as_plain
from sbdata.sources.published import load_registry
from sbdata.taxonomy import VOC20
from tests.fetch.server import running

SIZE = (120, 100)
TRAIN, VAL = ("2007_000032", "2007_000039", "2007_000063"), ("2007_000033", "2007_000042")
SBD_TRAIN, SBD_VAL = ("2008_000002", "2007_000039", "2007_000042"), ("2008_000003", "2008_000007")
TRAIN_AUG = (*TRAIN, "2008_000002", "2008_000003", "2008_000007")
"""VOC's train and all of SBD, less VOC's val, which SBD's train overlaps."""

LABELS = {
    "2007_000032": "aeroplane person",
    "2007_000033": "cat",
    "2007_000039": "tvmonitor",
    "2007_000042": "train",
    "2007_000063": "chair dog",
    "2008_000002": "tvmonitor",
    "2008_000003": "person train",
    "2008_000007": "boat",
}
"""Image-level labels that the XML files hold; the aeroplane is marked difficult."""

COCO = {"cat": 17, "dog": 18, "person": 1, "toaster": 80}
LVIS = {"cat": 225, "dog": 378, "person": 793, "lamp": 630}


# --- pieces --------------------------------------------------------------------------------------


def photo(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize(SIZE, Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


def palette_png(values: np.ndarray) -> bytes:
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette(voc_palette())
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def tar_bytes(contents: Mapping[str, bytes], mode: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for folder in sorted({name.rsplit("/", 1)[0] for name in contents}):
            entry = tarfile.TarInfo(f"{folder}/")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, data in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def zip_bytes(contents: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return out.getvalue()


def voc_xml(image_id: str, names: Sequence[str]) -> bytes:
    objects = "".join(
        f"<object><name>{name}</name><difficult>{int(name == 'aeroplane')}</difficult>"
        "<bndbox><xmin>11</xmin><ymin>11</ymin><xmax>40</xmax><ymax>40</ymax></bndbox>"
        + ("<part><name>head</name></part>" if name == "person" else "")
        + "</object>"
        for name in names
    )
    return f"<annotation><filename>{image_id}.jpg</filename>{objects}</annotation>".encode()


# --- datasets ------------------------------------------------------------------------------------


def voc_files() -> dict[str, bytes]:
    files = {}
    for seed, (image_id, labels) in enumerate(LABELS.items()):
        names = labels.split()
        files[f"Annotations/{image_id}.xml"] = voc_xml(image_id, names)
        files[f"JPEGImages/{image_id}.jpg"] = photo(seed)
        if image_id in (*TRAIN, *VAL):
            classes, objects = drawn(names)
            files[f"SegmentationClass/{image_id}.png"] = palette_png(classes)
            files[f"SegmentationObject/{image_id}.png"] = palette_png(objects)
    for name, ids in (("train", TRAIN), ("val", VAL), ("trainval", sorted(TRAIN + VAL))):
        lines = "".join(f"{image_id}\n" for image_id in ids)
        files[f"ImageSets/Segmentation/{name}.txt"] = lines.encode()
    files["ImageSets/Main/cat_val.txt"] = b"2007_000033  1\n2007_000042 -1\n"
    return {f"VOCdevkit/VOC2012/{name}": data for name, data in files.items()}


def drawn(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return a class map and an object map with a square of each class."""
    classes, objects = np.zeros(SIZE[::-1], np.uint8), np.zeros(SIZE[::-1], np.uint8)
    for number, name in enumerate(names, start=1):
        box = (slice(10, 40), slice(10 + 50 * (number - 1), 40 + 50 * (number - 1)))
        classes[box], objects[box] = VOC20.id_of(name), number
    return classes, objects


def mat(variable: str, **fields: Any) -> bytes:
    """Return a compressed MATLAB 5 file, with sparse boundaries, as SBD's are."""
    out = io.BytesIO()
    boundaries = np.empty((2, 1), object)
    boundaries[:, 0] = [csc_array(np.eye(5)), csc_array(np.eye(3))]
    content = {"Boundaries": boundaries, **fields}
    savemat(out, {variable: content}, do_compression=True)
    return out.getvalue()


def sbd_files() -> dict[str, bytes]:
    files = {"README": b"Semantic Boundaries Dataset\n"}
    for name, ids in (("train", SBD_TRAIN), ("val", SBD_VAL)):
        files[f"dataset/{name}.txt"] = "".join(f"{image_id}\n" for image_id in ids).encode()
        for image_id in ids:
            classes, objects = drawn(LABELS[image_id].split())
            kinds = np.array([VOC20.id_of(name) for name in LABELS[image_id].split()], np.uint8)
            files[f"dataset/cls/{image_id}.mat"] = mat("GTcls", Segmentation=classes)
            files[f"dataset/inst/{image_id}.mat"] = mat(
                "GTinst", Segmentation=objects, Categories=kinds[:, None]
            )
            files[f"dataset/img/{image_id}.jpg"] = photo([*LABELS].index(image_id))
    return {f"benchmark_RELEASE/{name}": data for name, data in files.items()}


def rectangle(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def coco_image(number: int, folder: str) -> dict[str, Any]:
    name = f"{number:012}.jpg"
    return {
        "id": number,
        "width": SIZE[0],
        "height": SIZE[1],
        "file_name": name,
        "license": 1,
        "coco_url": f"http://images.cocodataset.org/{folder}/{name}",
    }


def annotation(number: int, image: int, category: int, box: Sequence[float]) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": rectangle(*box),
        "area": box[2] * box[3],
        "bbox": list(box),
        "iscrowd": 0,
    }


IMAGES = {"train2017": (9, 25, 30, 34), "val2017": (139, 285)}
BOXES = ((5, 5, 12, 10), (30, 10, 50, 60), (90, 50, 20, 40))


def coco_json(
    images: Mapping[int, str], categories: Mapping[str, int], grown: float = 0.0
) -> bytes:
    """Return an annotation file: each image has a person, a cat or dog, and something else."""
    names = list(categories)
    annotations = [
        annotation(
            10 * number + place,
            number,
            categories[name],
            (box[0] - grown, box[1] - grown, box[2] + 2 * grown, box[3] + 2 * grown),
        )
        for number in images
        for place, (name, box) in enumerate(
            zip((names[number % 2], names[2], names[3]), BOXES, strict=True)
        )
    ]
    records = [coco_image(number, folder) for number, folder in images.items()]
    if grown:  # LVIS
        for record in records:
            del record["file_name"]
            record |= {"not_exhaustive_category_ids": [], "neg_category_ids": []}
        for record in annotations:
            del record["iscrowd"]
    content = {
        "images": records,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "licenses": [{"id": 1, "name": "Attribution License", "url": "http://example.org/by"}],
    }
    return json.dumps(content).encode()


def coco_files(year: int) -> dict[str, bytes]:
    files = {}
    for split in ("train", "val"):
        numbers = IMAGES[f"{split}2017"]
        folder = f"{split}{year}"
        files[f"instances_{folder}.json"] = coco_json(dict.fromkeys(numbers, folder), COCO)
        files[f"captions_{folder}.json"] = b'{"images": [], "annotations": []}'
    return {f"annotations/{name}": data for name, data in files.items()}


def lvis_files(split: str) -> dict[str, bytes]:
    """LVIS's splits mix COCO's folders: its val holds images of train2017."""
    if split == "train":
        images = dict.fromkeys(IMAGES["train2017"][:-1], "train2017")
    else:
        images = {34: "train2017", **dict.fromkeys(IMAGES["val2017"], "val2017")}
    return {f"lvis_v1_{split}.json": coco_json(images, LVIS, grown=1.0)}


def archives() -> dict[str, tuple[dict[str, bytes], bytes]]:
    """Return contents and bytes of every archive, by name."""
    voc, sbd = voc_files(), sbd_files()
    zips = {
        "annotations_trainval2017.zip": coco_files(2017),
        "annotations_trainval2014.zip": coco_files(2014),
        "lvis_v1_train.json.zip": lvis_files("train"),
        "lvis_v1_val.json.zip": lvis_files("val"),
        "val2017.zip": {f"val2017/{n:012}.jpg": photo(n) for n in IMAGES["val2017"]},
    }
    return {
        "VOCtrainval_11-May-2012.tar": (voc, tar_bytes(voc, "w")),
        "benchmark.tgz": (sbd, tar_bytes(sbd, "w:gz")),
        **{name: (contents, zip_bytes(contents)) for name, contents in zips.items()},
    }


# --- publishing ----------------------------------------------------------------------------------


@dataclass
class Site:
    """A stand-in for all hosts.

    Attributes:
        folder: what it serves: ``HOST/PATH`` as the addresses have it.
        registry: a registry file of the miniatures.
        contents: of each archive, by its name.
        address: of the server, with a slash at its end; set while it runs.
        asked: paths that were asked for.
    """

    folder: Path
    registry: Path
    contents: dict[str, dict[str, bytes]]
    address: str = ""
    asked: list[str] = field(default_factory=list)


def publish(folder: Path, **changes: Any) -> Site:
    """Write the archives and the photos of COCO, and a registry of the archives.

    Args:
        folder: to write into.
        changes: to keys of the registry's files; None leaves a key out.
    """
    made = archives()
    published = []
    for source in load_registry().sources:
        plain = as_plain(source)
        if not all(file["name"] in made for file in plain["files"]):
            continue
        for file in plain["files"]:
            data = made[file["name"]][1]
            path = folder / "site" / file["urls"][0].partition("://")[2]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            digests = {"sha256": hashlib.sha256(data), "md5": hashlib.md5(data)}  # noqa: S324
            file |= {name: digest.hexdigest() for name, digest in digests.items() if file[name]}
            file |= {"size": len(data), **changes}
        published.append(plain)
    for split, numbers in IMAGES.items():
        photos = folder / "site" / "images.cocodataset.org" / split
        photos.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            (photos / f"{number:012}.jpg").write_bytes(photo(number))
    registry = folder / "registry.yaml"
    registry.write_text(yaml.safe_dump({"sources": published}, sort_keys=False))
    contents = {name: dict(files) for name, (files, _) in made.items()}
    return Site(folder / "site", registry, contents)


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serve a site on this machine."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            super().do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Handler, directory=str(site.folder))
    with running(handler) as address:
        site.address = f"{address}/"
        yield site
