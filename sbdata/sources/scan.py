"""Scan: draw and measure every image of a source's split, and write two Parquet tables.

An image's masks are drawn once, larger ones first so that smaller ones are on top, and everything
is measured from what remains visible. Chunks of images are scanned in parallel and written in their
own order, so the tables do not depend on the number of workers, and memory holds only a few chunks
at a time.
"""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sbdata import __version__
from sbdata.file_names import composed
from sbdata.manifest import (
    BOXES_FIELD,
    IMAGES_FILE,
    INSTANCES_FILE,
    INSTANCES_SCHEMA,
    SIZED,
    images_schema,
    sizes_of,
)
from sbdata.masks import (
    MAX_INSTANCES,
    VOID,
    Visible,
    draw_by_size,
    draw_masks,
    encode_mask,
)
from sbdata.parallel import in_order, process_pool
from sbdata.parquet_files import open_parquet, read_parquet
from sbdata.quoting import without_surrogates
from sbdata.sizes import SizeBins
from sbdata.sources import AnnotatedImage, AnnotatedObject, Chunk, Rejection, Source
from sbdata.sources.files import files_of, stat_digest
from sbdata.storage import remove_leftovers, write_bytes, writing
from sbdata.taxonomy import ClassMap

REJECTIONS_FILE = "rejections.parquet"
_MARKER = "finished.json"
_ROW_GROUP = 8192  # rows that are collected before they are written
_REJECTIONS_SCHEMA = pa.schema([pa.field(f.name, pa.string(), False) for f in fields(Rejection)])


def scan_schema(bins: SizeBins) -> pa.Schema:
    """Return the schema of a scan's images: that of a manifest, plus further columns.

    ``boxes`` and ``labels_only`` are for sets without masks.
    ``crowd_share`` is the share of the image's pixels that crowd regions of mapped classes make
    void. ``not_exhaustive`` lists the mapped classes that may have more objects than are annotated.
    """
    return pa.schema(
        [
            *images_schema(bins),
            BOXES_FIELD,
            pa.field("labels_only", pa.bool_(), nullable=False),
            pa.field("crowd_share", pa.float64(), nullable=False),
            pa.field("not_exhaustive", pa.list_(pa.int16()), nullable=False),
        ]
    )


@dataclass(frozen=True)
class Scan:
    """Finished scan of one split: three tables in a folder.

    Attributes:
        folder: Folder of the tables.
        bins: Size bins to use instead of those of the scan; they have the same names.
    """

    folder: Path
    bins: SizeBins | None = None

    def images(self) -> pa.Table:
        """Return the images table, one row per image, see :func:`scan_schema`."""
        images = read_parquet(self.folder / IMAGES_FILE)
        if self.bins is None:
            return images
        pairs = self.instances(columns=["image_id", "size"])
        found = Counter(zip(*(column.to_pylist() for column in pairs.columns), strict=True))
        ids = images["image_id"].to_pylist()
        for size in self.bins.names:
            place = images.schema.get_field_index(f"n_{size}")
            counts = pa.array([found[image_id, size] for image_id in ids], pa.int32())
            images = images.set_column(place, images.schema.field(place), counts)
        return images

    def instances(
        self, image_ids: Sequence[str] | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return the visible instances, see ``sbdata.manifest.INSTANCES_SCHEMA``.

        Row groups are read one by one, so that memory holds only the requested rows.

        Args:
            image_ids: Ids of the images to return; all by default.
            columns: Columns to return; all by default.
        """
        names = list(columns) if columns is not None else INSTANCES_SCHEMA.names
        if self.bins is not None and "size" in names:
            read = replace(self, bins=None).instances(image_ids, list({*names, *SIZED}))
            place = read.schema.get_field_index("size")
            sizes = sizes_of(read, self.bins)
            return read.set_column(place, INSTANCES_SCHEMA.field("size"), sizes).select(names)
        schema = pa.schema([INSTANCES_SCHEMA.field(name) for name in names])
        with open_parquet(self.folder / INSTANCES_FILE) as file:
            if image_ids is None:
                return file.read(columns=names).select(names)
            wanted = pa.array(sorted(set(image_ids)), pa.string())
            tables = [schema.empty_table()]
            for group in range(file.num_row_groups):
                mine = pc.is_in(file.read_row_group(group, columns=["image_id"])[0], wanted)
                if pc.any(mine).as_py():
                    tables.append(
                        file.read_row_group(group, columns=names).select(names).filter(mine)
                    )
        return pa.concat_tables(tables)

    def rejections(self) -> list[Rejection]:
        """Return the rejections, in scanning order."""
        table = read_parquet(self.folder / REJECTIONS_FILE)
        return [Rejection(**row) for row in table.to_pylist()]


@dataclass(frozen=True)
class _Task:
    """Settings that all chunks of a scan share."""

    source: Source
    mapping: ClassMap
    bins: SizeBins
    split: str
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Part:
    """Tables of one chunk."""

    images: pa.RecordBatch
    instances: pa.RecordBatch
    rejections: list[Rejection]
    done: int


def scan_source(
    source: Source,
    mapping: ClassMap,
    bins: SizeBins,
    split: str,
    folder: Path,
    *,
    without: Collection[str] = (),
    workers: int = 1,
    chunk_images: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Draw and measure every image of a source's split.

    Categories that are not in the map are background. Crowds of mapped classes and the source's own
    void become void, below every instance. Instances that end up wholly hidden get no row and a
    rejection ``hidden``; an image with more than 254 instances is rejected as
    ``too_many_instances``.

    Args:
        source: Source to scan.
        mapping: Map from the source's categories to classes.
        bins: Size bins.
        split: Value of the images' ``split`` column.
        folder: Folder to write the tables to. A finished scan of the same inputs in it is reused;
            an unfinished one is redone, and so is one of a source that does not name its annotation
            files, because they may have changed.
        without: Ids of images to pass over, with composed letters; another source has them.
        workers: Number of processes; 1 scans in this process. The tables do not depend on it.
        chunk_images: Number of images that a process takes at a time.
        progress: Callback, called with (images done, total images).

    Raises:
        InputError: If the source cannot be read, or a worker process dies.
    """
    task = _Task(source, mapping, bins, split, tuple(sorted(without)))
    scan, marker, identity = Scan(folder), folder / _MARKER, _identity(task)
    chunks = source.chunks(chunk_images)
    total = sum(chunk.stop - chunk.start for chunk in chunks)
    if identity is not None and _is_finished(marker, identity):
        if progress is not None:
            progress(total, total)
        return scan
    marker.unlink(missing_ok=True)
    remove_leftovers(folder)
    done = 0
    with ExitStack() as stack:
        add_images, add_instances, add_rejections = (
            stack.enter_context(_writing_rows(folder / name, schema))
            for name, schema in (
                (IMAGES_FILE, scan_schema(bins)),
                (INSTANCES_FILE, INSTANCES_SCHEMA),
                (REJECTIONS_FILE, _REJECTIONS_SCHEMA),
            )
        )
        for part in _parts(task, chunks, workers):
            add_images(part.images)
            add_instances(part.instances)
            add_rejections(_rejection_batch(part.rejections))
            done += part.done
            if progress is not None:
                progress(done, total)
    write_bytes(marker, orjson.dumps({"identity": identity}))
    return scan


class _HashingStream:
    """Stream that computes the SHA-256 of what is written to it and keeps nothing else."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:  # bytes, or a buffer of them
        self.digest.update(data)
        return memoryview(data).nbytes


def _identity(task: _Task) -> str | None:
    """Return a text that identifies a scan's inputs; None if the annotation files are unknown.

    Sources are plain frozen data, so their pickle and their annotation files identify them. If
    equal inputs pickle differently, the only cost is another scan.
    """
    files = files_of(task.source)
    if files is None:
        return None
    stream = _HashingStream()
    mapping = (task.mapping.taxonomy, sorted(task.mapping.names.items()))
    content = (
        __version__,
        task.source,
        stat_digest(files),
        mapping,
        task.bins,
        task.split,
        task.without,
    )
    pickle.Pickler(stream, protocol=5).dump(content)
    return stream.digest.hexdigest()


def _is_finished(marker: Path, identity: str) -> bool:
    try:
        return bool(orjson.loads(marker.read_bytes())["identity"] == identity)
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def _writing_rows(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Yield a function that appends rows to a Parquet file, which appears only on success."""
    waiting: list[pa.RecordBatch] = []
    with (
        writing(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):

        def add(batch: pa.RecordBatch) -> None:
            waiting.append(batch)
            if sum(b.num_rows for b in waiting) >= _ROW_GROUP:
                writer.write_table(pa.Table.from_batches(waiting, schema))
                waiting.clear()

        yield add
        writer.write_table(pa.Table.from_batches(waiting, schema))


def _rejection_batch(rejections: Sequence[Rejection]) -> pa.RecordBatch:
    names = _REJECTIONS_SCHEMA.names
    return pa.RecordBatch.from_pylist(
        [
            {name: without_surrogates(text) for name, text in zip(names, astuple(r), strict=True)}
            for r in rejections
        ],
        schema=_REJECTIONS_SCHEMA,
    )


# --- workers --------------------------------------------------------------------------------------


def _parts(task: _Task, chunks: Sequence[Chunk], workers: int) -> Iterator[_Part]:
    """Scan the chunks and yield their tables in order; only a few are processed at a time."""
    if workers <= 1 or len(chunks) <= 1:
        for chunk in chunks:
            yield _scan_chunk(task, chunk)
        return
    # The first chunk is scanned here, so that compiled code is cached before the worker processes
    # start; otherwise each of them would compile it.
    yield _scan_chunk(task, chunks[0])
    workers = min(workers, len(chunks) - 1)
    died = (
        f"a process that scanned {task.source.name} {task.source.split} died, possibly out of "
        "memory; try again with fewer workers"
    )
    with process_pool(workers, died, start=_start_worker, arguments=(task,)) as submit:
        yield from in_order(submit, _scan_in_worker, chunks[1:], 2 * workers)


_worker_task: _Task | None = None


def _start_worker(task: _Task) -> None:
    global _worker_task
    _worker_task = task


def _scan_in_worker(chunk: Chunk) -> _Part:
    assert _worker_task is not None  # noqa: S101 - set before the first chunk
    return _scan_chunk(_worker_task, chunk)


# --- one chunk, one image -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Drawn:
    """One image after drawing: its instances, what remains visible of them, and its void."""

    image: AnnotatedImage
    instances: list[AnnotatedObject]
    classes: npt.NDArray[np.int64]
    visible: Visible
    seen: npt.NDArray[np.int64]  # positions of the instances that are not wholly hidden
    void: bytes | None
    crowd_pixels: int


def _scan_chunk(task: _Task, chunk: Chunk) -> _Part:
    images, found = task.source.read(chunk)
    passed_over = frozenset(task.without)
    images = [image for image in images if composed(image.image_id) not in passed_over]
    rejections = [r for r in found if composed(r.image_id) not in passed_over]
    drawn: list[_Drawn] = []
    for image in images:
        mapped = [(o, task.mapping.class_of(o.category)) for o in image.objects]
        instances = [(o, c) for o, c in mapped if c is not None and not o.crowd]
        crowds = [o for o, c in mapped if c is not None and o.crowd]
        if len(instances) > MAX_INSTANCES:
            detail = f"{len(instances)}, a mask image can number {MAX_INSTANCES}"
            rejections.append(_rejection(task, image, "too_many_instances", detail))
            continue
        drawn.append(_draw(image, instances, crowds))
        for k in np.flatnonzero(drawn[-1].visible.area == 0).tolist():
            detail = "wholly hidden by smaller instances, or without pixels"
            annotation_id = instances[k][0].annotation_id
            rejections.append(_rejection(task, image, "hidden", detail, annotation_id))
    return _Part(
        _image_batch(task, drawn),
        _instance_batch(task, drawn),
        rejections,
        chunk.stop - chunk.start,
    )


def _rejection(
    task: _Task, image: AnnotatedImage, reason: str, detail: str, annotation_id: str = ""
) -> Rejection:
    name = task.source.name
    return Rejection(name, image.file_name, reason, detail, image.image_id, annotation_id)


def _draw(
    image: AnnotatedImage,
    instances: Sequence[tuple[AnnotatedObject, int]],
    crowds: Sequence[AnnotatedObject],
) -> _Drawn:
    """Draw an image, void first, then the instances in order of decreasing area, and measure it."""
    height, width = image.height, image.width
    crowd_codes = [crowd.rle for crowd in crowds]
    label_map = draw_masks(crowd_codes, height, width, labels=[VOID] * len(crowds))
    visible = draw_by_size([annotated.rle for annotated, _ in instances], label_map)
    crowd_pixels = int(np.count_nonzero(label_map == VOID)) if crowds else 0
    if image.void is not None:
        void = draw_masks([image.void], height, width, labels=[VOID])
        label_map[(label_map == 0) & (void == VOID)] = VOID
    is_void = label_map == VOID if crowds or image.void is not None else None
    return _Drawn(
        image,
        [annotated for annotated, _ in instances],
        np.array([class_id for _, class_id in instances], np.int64),
        visible,
        np.flatnonzero(visible.area),
        encode_mask(is_void) if is_void is not None and is_void.any() else None,
        crowd_pixels,
    )


def _image_batch(task: _Task, drawn: Sequence[_Drawn]) -> pa.RecordBatch:
    images = [one.image for one in drawn]
    unsure = [{task.mapping.class_of(c) for c in i.not_exhaustive} - {None} for i in images]
    sizes = np.array(
        [
            np.bincount(
                task.bins.index(
                    one.visible.area[one.seen],
                    one.classes[one.seen],
                    one.image.width * one.image.height,
                ),
                minlength=len(task.bins.names),
            )
            for one in drawn
        ],
        np.int64,
    ).reshape(len(drawn), len(task.bins.names))
    weak = [_weak_labels(task, image) for image in images]
    columns: dict[str, Any] = {
        "split": [task.split] * len(drawn),
        "source": [task.source.name] * len(drawn),
        "phash": [None] * len(drawn),
        "labels": [
            sorted({*one.classes[one.seen].tolist(), *classes})
            for one, (classes, _) in zip(drawn, weak, strict=True)
        ],
        "boxes": [boxes for _, boxes in weak],
        "labels_only": [image.labels is not None for image in images],
        "void_rle": [one.void for one in drawn],
        "crowd_share": [one.crowd_pixels / (one.image.width * one.image.height) for one in drawn],
        "not_exhaustive": [sorted(c for c in classes if c is not None) for classes in unsure],
        **{f"n_{name}": sizes[:, i] for i, name in enumerate(task.bins.names)},
    }
    schema = scan_schema(task.bins)
    for name in schema.names:
        if name not in columns:
            columns[name] = [getattr(image, name) for image in images]
    return _batch(columns, schema)


def _batch(columns: Mapping[str, Any], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _weak_labels(
    task: _Task, image: AnnotatedImage
) -> tuple[list[int], list[dict[str, int]] | None]:
    """Return class numbers and boxes of an image with labels only; nothing for others."""
    mapped = map(task.mapping.class_of, image.labels or ())
    boxes = None
    if image.boxes is not None:
        numbered = ((task.mapping.class_of(box.category), box) for box in image.boxes)
        boxes = [
            {"class_id": c, "x": b.x, "y": b.y, "width": b.width, "height": b.height}
            for c, b in numbered
            if c is not None
        ]
    return [c for c in mapped if c is not None], boxes


def _instance_batch(task: _Task, drawn: Sequence[_Drawn]) -> pa.RecordBatch:
    """Return the visible instances, numbered from 1 within each image."""
    seen = [one.seen.tolist() for one in drawn]
    counts = [len(places) for places in seen]
    objects = [one.instances[k] for one, places in zip(drawn, seen, strict=True) for k in places]

    def measured(column: Callable[[Visible], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        parts = [column(one.visible)[one.seen] for one in drawn]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    area = measured(lambda v: v.area)
    x, y, width, height = measured(lambda v: v.bbox).reshape(-1, 4).T
    pixels = np.repeat([one.image.width * one.image.height for one in drawn], counts)
    class_id = [c for one in drawn for c in one.classes[one.seen].tolist()]
    columns = {
        "image_id": np.repeat(np.array([one.image.image_id for one in drawn], object), counts),
        "instance_id": [k for n in counts for k in range(1, n + 1)],
        "source": [task.source.name] * len(area),
        "source_annotation_id": [o.annotation_id for o in objects],
        "class_id": class_id,
        "class_name": [task.mapping.taxonomy.name_of(c) for c in class_id],
        "area": area,
        "area_fraction": area / pixels,
        "bbox_x": x,
        "bbox_y": y,
        "bbox_w": width,
        "bbox_h": height,
        "size": [task.bins.names[i] for i in task.bins.index(area, class_id, pixels).tolist()],
        "components": measured(lambda v: v.components),
        "touches_border": measured(lambda v: v.touches_border).astype(np.bool_),
        "is_difficult": [o.difficult for o in objects],
        "rle": [
            one.visible.rle[k] for one, places in zip(drawn, seen, strict=True) for k in places
        ],
    }
    return _batch(columns, INSTANCES_SCHEMA)
