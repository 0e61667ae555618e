"""Mutated bytes of the formats that sbdata reads: an InputError or success, nothing else.

    python -m tests.fuzz --inputs 1000 --seed 0

writes good files of each format, changes their bytes and their values at random, and hands them to
the reader. What ends otherwise is printed with the seed that makes it again, and kept in --keep.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from sbdata.errors import InputError

TOKENS = [
    b"NaN", b"Infinity", b"-1", b"1e400", b"1.0", b"0", b"18446744073709551616", b"9" * 5000,
    b"null", b"true", b'"0"', b'""', b"[]", b"{}", b"[" * 3000, b'{"a":' * 300, b'"\\ud800"',
    b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"\x1b[31m", b"\\", b"../", b"&a [*a]", b"<<", b": ",
    b"!!binary x", b"2020-13-45", b"0x", b"\xc3", b"\xed\xa0\x80", b"-", b"\n", b"\r\n", b"\t",
    b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"<object>", b"&lt;", b"]]>",
]  # fmt: skip
"""What is put into a file, beside random bytes."""

VALUES = [
    None, True, False, 0, -1, 1.5, 2**31, 2**63, 10**400, float("nan"), float("inf"), "", "0", "x",
    "\ud800", "../x", "a\x1b[31m", "é", [], [[]], [1], ["x"], {}, {"a": 1}, {"counts": "0"}, 1e308,
]  # fmt: skip
"""What a value of a JSON file is replaced by."""


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


def mutated(good: bytes, chance: random.Random) -> bytes:
    """Return the bytes of a good file after one to six changes."""
    data = bytearray(good)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(7)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1 and data:
            data[at % len(data)] = chance.randrange(256)
        elif kind == 2:
            del data[at : at + chance.randint(1, 20)]
        elif kind == 3:
            data[at:at] = chance.choice(TOKENS)
        elif kind == 4:
            token = chance.choice(TOKENS)
            data[at : at + len(token)] = token
        elif kind == 5:
            data[at:at] = data[at : at + chance.randint(1, 60)]
        else:
            del data[at:]
    return bytes(data)


def revalued(good: bytes, chance: random.Random) -> bytes:
    """Return a JSON file of which one to three values are others, or gone."""
    tree = json.loads(good)
    for _ in range(chance.randint(1, 3)):
        places = [*_places(tree)]
        holder, key = chance.choice(places)
        if chance.randrange(5) == 0:
            del holder[key]
        else:
            holder[key] = chance.choice(VALUES)
        if not isinstance(tree, dict | list) or not tree:
            break
    return json.dumps(tree).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list) and value[key]:
            yield from _places(value[key])


# --- the formats ----------------------------------------------------------------------------------


def formats(folder: Path) -> dict[str, Format]:
    """Return the formats by name; what they need beside the file is written into a folder."""
    makers = (_yaml_formats, _coco_format, _manifest_format, _voc_formats, _other_formats)
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

    return {"coco": Format(json.dumps(content).encode(), read, values=True)}


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

    def read_table(data: bytes) -> None:
        for name in _TABLES:
            (changed / name).write_bytes((built.root / name).read_bytes())
        (changed / "images.parquet").write_bytes(data)
        read_manifest(changed)

    return {
        "manifest": Format(header, read_header, values=True),
        "parquet": Format((built.root / "images.parquet").read_bytes(), read_table),
    }


_TABLES = ("images.parquet", "instances.parquet")

VOC_XML = b"""<annotation><size><width>20</width><height>10</height></size>
<object><name>cat</name><difficult>1</difficult>
<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>
"""


def _png(values: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.asarray(values, np.uint8)).save(stream, "PNG")
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

    return {
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


def _other_formats(folder: Path) -> dict[str, Format]:
    from sbdata.benchmark.entries import read_records
    from sbdata.benchmark.records import write_result
    from sbdata.importers.dictionaries import LayoutError, read_dictionary
    from sbdata.taxonomy import named_taxonomy
    from tests.benchmark.result_examples import result

    written = write_result(folder / "results", result("cam", "ce"))
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


# --- running --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """An input that ended as it must not."""

    format: str
    seed: str
    data: bytes
    error: BaseException


def fuzz(
    folder: Path, inputs: int, seed: int, only: str = "", told: Callable[[str], None] | None = None
) -> list[Found]:
    """Hand mutated files to the readers; return those that ended as they must not.

    Args:
        folder: for files.
        inputs: of each format.
        seed: of the mutations.
        only: the format to try; all by default.
        told: called with a line after each format.
    """
    found: list[Found] = []
    for name, format_ in formats(folder).items():
        if only and name != only:
            continue
        format_.read(format_.good)  # it must be good, or nothing is tried
        refused, began, slowest = 0, time.monotonic(), 0.0
        for number in range(inputs):
            label = f"{seed}:{name}:{number}"
            chance = random.Random(label)
            by_value = format_.values and chance.randrange(2)
            data = (revalued if by_value else mutated)(format_.good, chance)
            begin = time.monotonic()
            try:
                format_.read(data)
            except InputError as error:
                refused += 1
                if len(str(error)) > 4000 or not str(error):
                    found.append(Found(name, label, data, error))
            except Exception as error:
                found.append(Found(name, label, data, error))
            slowest = max(slowest, time.monotonic() - begin)
        if told is not None:
            wrong = sum(one.format == name for one in found)
            told(
                f"{name}: {inputs} inputs, {refused} refused, {inputs - refused - wrong} read, "
                f"{wrong} wrong, {time.monotonic() - began:.1f} s, slowest {slowest:.2f} s"
            )
    return found


def _told(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1000, help="of each format [1000]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="one format")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that ended wrong")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        found = fuzz(Path(folder), args.inputs, args.seed, args.only, _told)
    for one in found[:20]:
        last = traceback.extract_tb(one.error.__traceback__)[-1]
        text = str(one.error)[:200]
        print(f"{one.seed}: {type(one.error).__name__}: {text} ({last.filename}:{last.lineno})")
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        for one in found:
            (args.keep / one.seed.replace(":", "-")).write_bytes(one.data)
    print(f"{len(found)} inputs ended as they must not")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
