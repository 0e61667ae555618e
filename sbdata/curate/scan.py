"""Scan: every image of a source's split, drawn and measured, as two Parquet tables.

An image's masks are drawn once, larger first so that smaller ones lie on top, and everything is
measured from what remains visible. Chunks of images are scanned in parallel and written in their
own order, so the tables do not depend on the number of workers, and memory holds a few chunks
however large the source is.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sbdata import __version__
from sbdata.errors import InputError
from sbdata.manifest import IMAGES_FILE, INSTANCES_FILE, INSTANCES_SCHEMA, images_schema
from sbdata.masks import (
    MAX_INSTANCES,
    VOID,
    LabelMap,
    Visible,
    draw_masks,
    drawing_order,
    encode_mask,
    measure_visible,
    rle_area,
)
from sbdata.sizes import SizeBins
from sbdata.sources import AnnotatedImage, AnnotatedObject, Chunk, Rejection, Source
from sbdata.storage import remove_leftovers, write_bytes, writing
from sbdata.taxonomy import ClassMap

REJECTIONS_FILE = "rejections.parquet"
_MARKER = "finished.json"
_ROW_GROUP = 8192  # rows that are collected before they are written
_REJECTIONS_SCHEMA = pa.schema([pa.field(f.name, pa.string(), False) for f in fields(Rejection)])


def scan_schema(bins: SizeBins) -> pa.Schema:
    """Return the schema of a scan's images: a manifest's, and two columns for the filters.

    ``crowd_share`` is the share of the image's pixels that crowd regions of mapped classes make
    void, ``not_exhaustive`` lists the mapped classes of which more objects may be there.
    """
    return pa.schema(
        [
            *images_schema(bins),
            pa.field("crowd_share", pa.float64(), nullable=False),
            pa.field("not_exhaustive", pa.list_(pa.int16()), nullable=False),
        ]
    )


@dataclass(frozen=True)
class Scan:
    """The finished scan of one split: three tables in a folder."""

    folder: Path

    def images(self) -> pa.Table:
        """Return one row an image, see :func:`scan_schema`."""
        return pq.read_table(self.folder / IMAGES_FILE)

    def instances(
        self, image_ids: Sequence[str] | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Return the visible instances, see ``sbdata.manifest.INSTANCES_SCHEMA``.

        Row groups are read one by one, so that memory holds only what is asked for.

        Args:
            image_ids: the images wanted; all by default.
            columns: the columns wanted; all by default.
        """
        names = list(columns) if columns is not None else INSTANCES_SCHEMA.names
        schema = pa.schema([INSTANCES_SCHEMA.field(name) for name in names])
        with pq.ParquetFile(self.folder / INSTANCES_FILE) as file:
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
        """Return what was left out, in scanning order."""
        table = pq.read_table(self.folder / REJECTIONS_FILE)
        return [Rejection(**row) for row in table.to_pylist()]


@dataclass(frozen=True)
class _Task:
    """What every chunk of a scan has in common."""

    source: Source
    mapping: ClassMap
    bins: SizeBins
    split: str


@dataclass(frozen=True)
class _Part:
    """The tables of one chunk."""

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
        source: to scan.
        mapping: from its categories to classes.
        bins: of the sizes.
        split: the value of the images' ``split`` column.
        folder: where the tables go. If it holds the finished scan of the same things already,
            nothing is done; an unfinished one is redone.
        workers: processes; 1 scans in this one. The tables do not depend on it.
        chunk_images: how many images a process takes at a time.
        progress: called with the images done and those there are.

    Raises:
        InputError: if the source cannot be read, or a worker process dies.
    """
    task = _Task(source, mapping, bins, split)
    scan, marker, identity = Scan(folder), folder / _MARKER, _identity(task)
    chunks = source.chunks(chunk_images)
    total = sum(chunk.stop - chunk.start for chunk in chunks)
    if _is_finished(marker, identity):
        if progress is not None:
            progress(total, total)
        return scan
    marker.unlink(missing_ok=True)
    remove_leftovers(folder)
    done = 0
    with ExitStack() as stack:
        images = stack.enter_context(_Rows(folder / IMAGES_FILE, scan_schema(bins)))
        instances = stack.enter_context(_Rows(folder / INSTANCES_FILE, INSTANCES_SCHEMA))
        rejections = stack.enter_context(_Rows(folder / REJECTIONS_FILE, _REJECTIONS_SCHEMA))
        for part in _parts(task, chunks, workers):
            images.add(part.images)
            instances.add(part.instances)
            rejections.add(_rejection_batch(part.rejections))
            done += part.done
            if progress is not None:
                progress(done, total)
    write_bytes(marker, orjson.dumps({"identity": identity}))
    return scan


class _HashingStream:
    """A stream that keeps nothing of what is written to it but its SHA-256."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:  # bytes, or a buffer of them
        self.digest.update(data)
        return memoryview(data).nbytes


def _identity(task: _Task) -> str:
    """Return a text that tells a scan's inputs from all others.

    Sources are plain frozen data, so their pickle says what they are; equal inputs that pickle
    differently only cost a scan.
    """
    stream = _HashingStream()
    mapping = (task.mapping.taxonomy, sorted(task.mapping.names.items()))
    content = (__version__, task.source, mapping, task.bins, task.split)
    pickle.Pickler(stream, protocol=5).dump(content)  # type: ignore[arg-type]
    return stream.digest.hexdigest()


def _is_finished(marker: Path, identity: str) -> bool:
    try:
        return bool(orjson.loads(marker.read_bytes())["identity"] == identity)
    except (OSError, ValueError, KeyError, TypeError):
        return False


class _Rows:
    """A Parquet file that appears, whole, when the context ends without an error."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._waiting: list[pa.RecordBatch] = []
        self._writing = writing(path)

    def __enter__(self) -> _Rows:
        temporary = self._writing.__enter__()
        self._writer = pq.ParquetWriter(temporary, self._schema, compression="zstd")
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        self._writer.close()
        self._writing.__exit__(*error)

    def add(self, batch: pa.RecordBatch) -> None:
        """Append rows; they are written in groups of a useful size."""
        self._waiting.append(batch)
        if sum(b.num_rows for b in self._waiting) >= _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
            self._waiting = []


def _rejection_batch(rejections: Sequence[Rejection]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [dict(zip(_REJECTIONS_SCHEMA.names, astuple(r), strict=True)) for r in rejections],
        schema=_REJECTIONS_SCHEMA,
    )


# --- workers --------------------------------------------------------------------------------------


def _parts(task: _Task, chunks: Sequence[Chunk], workers: int) -> Iterator[_Part]:
    """Scan the chunks and yield their tables in order; only a few are ever in flight."""
    if workers <= 1 or len(chunks) <= 1:
        for chunk in chunks:
            yield _scan_chunk(task, chunk)
        return
    workers = min(workers, len(chunks))
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(task,)
    )
    waiting: deque[Future[_Part]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(_scan_in_worker, chunk))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        msg = (
            f"a process that scanned {task.source.name} {task.source.split} died, perhaps for want "
            "of memory; try again with fewer workers"
        )
        raise InputError(msg) from error
    finally:
        pool.shutdown(cancel_futures=True)


_worker_task: _Task | None = None


def _start_worker(task: _Task) -> None:
    global _worker_task
    _worker_task = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _scan_in_worker(chunk: Chunk) -> _Part:
    assert _worker_task is not None  # noqa: S101 - set before the first chunk
    return _scan_chunk(_worker_task, chunk)


# --- one chunk, one image -------------------------------------------------------------------------


def _scan_chunk(task: _Task, chunk: Chunk) -> _Part:
    images, rejections = task.source.read(chunk)
    image_rows: list[dict[str, Any]] = []
    instance_rows: list[dict[str, Any]] = []
    rejections = list(rejections)
    for image in images:
        objects = [(o, task.mapping.class_of(o.category)) for o in image.objects]
        mapped = [(o, c) for o, c in objects if c is not None]
        instances = [(o, c) for o, c in mapped if not o.crowd]
        if len(instances) > MAX_INSTANCES:
            detail = f"{len(instances)}, a mask image can number {MAX_INSTANCES}"
            rejections.append(_rejection(task, image, "too_many_instances", detail))
            continue
        row, rows, hidden = _scan_image(task, image, instances, [o for o, _ in mapped if o.crowd])
        image_rows.append(row)
        instance_rows += rows
        rejections += hidden
    return _Part(
        pa.RecordBatch.from_pylist(image_rows, schema=scan_schema(task.bins)),
        pa.RecordBatch.from_pylist(instance_rows, schema=INSTANCES_SCHEMA),
        rejections,
        chunk.stop - chunk.start,
    )


def _rejection(
    task: _Task, image: AnnotatedImage, reason: str, detail: str, annotation_id: str = ""
) -> Rejection:
    name = task.source.name
    return Rejection(name, image.file_name, reason, detail, image.image_id, annotation_id)


def _scan_image(
    task: _Task,
    image: AnnotatedImage,
    instances: Sequence[tuple[AnnotatedObject, int]],
    crowds: Sequence[AnnotatedObject],
) -> tuple[dict[str, Any], list[dict[str, Any]], list[Rejection]]:
    label_map, crowd_pixels = _draw(image, [o for o, _ in instances], crowds)
    visible = measure_visible(label_map, len(instances))
    rows: list[dict[str, Any]] = []
    hidden: list[Rejection] = []
    for k, (annotated, class_id) in enumerate(instances):
        if visible.area[k]:
            rows.append(_instance_row(task, image, annotated, class_id, visible, k, len(rows) + 1))
        else:
            detail = "wholly hidden by smaller instances, or without pixels"
            hidden.append(_rejection(task, image, "hidden", detail, annotated.annotation_id))
    is_void = label_map == VOID if crowds or image.void is not None else None
    unsure = {task.mapping.class_of(name) for name in image.not_exhaustive} - {None}
    row = {
        "image_id": image.image_id,
        "split": task.split,
        "source": task.source.name,
        "source_image_id": image.source_image_id,
        "file_name": image.file_name,
        "width": image.width,
        "height": image.height,
        "url": image.url,
        "license": image.license,
        "sha256": image.sha256,
        "sha256_of": image.sha256_of,
        "phash": None,
        "labels": sorted({row["class_id"] for row in rows}),
        "void_rle": encode_mask(is_void) if is_void is not None and is_void.any() else None,
        "crowd_share": crowd_pixels / (image.width * image.height),
        "not_exhaustive": sorted(unsure),  # type: ignore[type-var]
    }
    sizes = [row["size"] for row in rows]
    row |= {f"n_{name}": sizes.count(name) for name in task.bins.names}
    return row, rows, hidden


def _draw(
    image: AnnotatedImage, instances: Sequence[AnnotatedObject], crowds: Sequence[AnnotatedObject]
) -> tuple[LabelMap, int]:
    """Draw an image: void below, then the instances by falling area; count the crowds' pixels."""
    height, width = image.height, image.width
    codes = [o.rle for o in instances]
    order = drawing_order([rle_area(code, height, width) for code in codes]).tolist()
    ordered, labels = [codes[k] for k in order], [k + 1 for k in order]
    crowd_codes = [o.rle for o in crowds]
    below = draw_masks(crowd_codes, height, width, labels=[VOID] * len(crowds))
    label_map = draw_masks(ordered, height, width, labels=labels, onto=below)
    crowd_pixels = int(np.count_nonzero(label_map == VOID)) if crowds else 0
    if image.void is not None:
        void = draw_masks([image.void], height, width, labels=[VOID])
        label_map[(label_map == 0) & (void == VOID)] = VOID
    return label_map, crowd_pixels


def _instance_row(
    task: _Task,
    image: AnnotatedImage,
    annotated: AnnotatedObject,
    class_id: int,
    visible: Visible,
    k: int,
    instance_id: int,
) -> dict[str, Any]:
    area = int(visible.area[k])
    x, y, w, h = visible.bbox[k].tolist()
    return {
        "image_id": image.image_id,
        "instance_id": instance_id,
        "source": task.source.name,
        "source_annotation_id": annotated.annotation_id,
        "class_id": class_id,
        "class_name": task.mapping.taxonomy.name_of(class_id),
        "area": area,
        "area_fraction": area / (image.width * image.height),
        "bbox_x": x,
        "bbox_y": y,
        "bbox_w": w,
        "bbox_h": h,
        "size": task.bins.name_of(area),
        "components": int(visible.components[k]),
        "touches_border": bool(visible.touches_border[k]),
        "is_difficult": annotated.difficult,
        "rle": visible.rle[k],
    }
