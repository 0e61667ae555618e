"""Manifests: two Parquet tables that define the contents of an evaluation set.

``images.parquet`` has one row per image and ``instances.parquet`` one row per visible instance.
Both contain the same JSON header in their schema metadata (key ``sbdata``): schema version,
taxonomy, size bins, resolved recipe, counts of rejections, the selection's report and a *logical
hash*. The hash covers the rows and the header in a canonical form, not the file's bytes, because
Parquet files of equal content may differ between library versions.

The hash of version 1 covers the rows, the taxonomy and the bins, but not the rest of the header.
Manifests of version 1 can be read and keep their version and hash, so that published sets remain
the same.

Version 3 is for a set with *labels only*: photos, image-level labels and perhaps boxes, but no
masks. Its instances table is empty, its images table has boxes instead of counts by size, and its
header says ``"truth": "none"``. A set with masks has version 2.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sbdata.errors import InputError
from sbdata.limits import MAX_JPEG_SIDE, MAX_PIXELS
from sbdata.masks import MAX_INSTANCES
from sbdata.parquet_files import open_parquet
from sbdata.quoting import quoted
from sbdata.settings import as_plain, from_plain
from sbdata.sizes import SizeBins
from sbdata.storage import is_safe_stem, writing
from sbdata.taxonomy import Taxonomy

VERSION = 2
LABELS_VERSION = 3
_READ = (1, VERSION, LABELS_VERSION)
IMAGES_FILE = "images.parquet"
INSTANCES_FILE = "instances.parquet"
_HEADER_KEY = b"sbdata"
_BATCH_ROWS = 4096

_IMAGES_HEAD = (
    pa.field("image_id", pa.string(), nullable=False),
    pa.field("split", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("source_image_id", pa.string(), nullable=False),
    pa.field("file_name", pa.string(), nullable=False),
    pa.field("width", pa.int32(), nullable=False),
    pa.field("height", pa.int32(), nullable=False),
    pa.field("url", pa.string()),
    pa.field("license", pa.string()),
    pa.field("sha256", pa.string()),
    pa.field("sha256_of", pa.string(), nullable=False),
    pa.field("phash", pa.string()),
    # Parquet calls a list's member "element"; another name would not survive writing and reading.
    pa.field("labels", pa.list_(pa.field("element", pa.int16())), nullable=False),
    pa.field("void_rle", pa.binary()),
)

INSTANCES_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("instance_id", pa.int16(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("source_annotation_id", pa.string(), nullable=False),
        pa.field("class_id", pa.int16(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("area", pa.int32(), nullable=False),
        pa.field("area_fraction", pa.float64(), nullable=False),
        pa.field("bbox_x", pa.int32(), nullable=False),
        pa.field("bbox_y", pa.int32(), nullable=False),
        pa.field("bbox_w", pa.int32(), nullable=False),
        pa.field("bbox_h", pa.int32(), nullable=False),
        pa.field("size", pa.string(), nullable=False),
        pa.field("components", pa.int32(), nullable=False),
        pa.field("touches_border", pa.bool_(), nullable=False),
        pa.field("is_difficult", pa.bool_(), nullable=False),
        pa.field("rle", pa.binary(), nullable=False),
    ]
)
"""One row per visible instance; ``rle`` is the COCO compressed RLE of its visible mask."""


BOXES_FIELD = pa.field(
    "boxes",
    pa.list_(
        pa.field(
            "element",
            pa.struct([(name, pa.int32()) for name in ("class_id", "x", "y", "width", "height")]),
        )
    ),
)
"""Boxes of an image in pixels, ``x`` and ``y`` of the upper left corner; null if none are given."""


def labels_schema() -> pa.Schema:
    """Return the schema of ``images.parquet`` in a set with labels only."""
    return pa.schema([*_IMAGES_HEAD, BOXES_FIELD])


def images_schema(bins: SizeBins) -> pa.Schema:
    """Return the schema of ``images.parquet``, with one count column ``n_<size>`` per size bin.

    ``labels`` contains the sorted class numbers in the image (its weak label), ``void_rle`` the
    pixels that are never counted. ``phash`` and, for generated images, the file's bytes may differ
    between versions of the imaging libraries; the logical hash does not cover ``phash``.
    """
    counts = [pa.field(f"n_{name}", pa.int32(), nullable=False) for name in bins.names]
    return pa.schema([*_IMAGES_HEAD, *counts])


class ManifestError(InputError):
    """Manifest that is missing, damaged, edited or of another version."""


class SchemaError(ManifestError):
    """Manifest table with a header, version or columns that this version of sbdata cannot read."""


@dataclass(frozen=True)
class Manifest:
    """Tables of a set and their header.

    Attributes:
        images: Images table, one row per image, sorted by image_id.
        instances: Instances table, one row per visible instance, sorted by image_id and
            instance_id.
        meta: JSON-like header, the same in both files.
    """

    images: pa.Table
    instances: pa.Table
    meta: Mapping[str, Any]

    @cached_property  # a taxonomy checks its names, and is asked for once per image
    def taxonomy(self) -> Taxonomy:
        """Return the classes that the set uses."""
        named = self.meta["taxonomy"]
        return Taxonomy(named["name"], tuple(named["classes"]))

    @cached_property
    def bins(self) -> SizeBins:
        """Return the size bins that the set was built with."""
        found = from_plain(SizeBins, self.meta["bins"], "bins")
        assert isinstance(found, SizeBins)  # noqa: S101 - for the type checker
        return found

    @property
    def labels_only(self) -> bool:
        """Return True if the set has image-level labels and perhaps boxes, but no masks."""
        return bool(self.meta["version"] == LABELS_VERSION)

    @property
    def name(self) -> str:
        """Return the set's name."""
        return str(self.meta["name"])

    @property
    def logical_hash(self) -> str:
        """Return the hash that identifies the set."""
        return str(self.meta["logical_hash"])


def make_manifest(
    name: str,
    images: pa.Table,
    instances: pa.Table,
    taxonomy: Taxonomy,
    bins: SizeBins,
    extra: Mapping[str, Any],
    *,
    labels_only: bool = False,
) -> Manifest:
    """Sort and check the tables, compute the logical hash and return the manifest.

    Args:
        name: Name of the set.
        images: Images table with at least the columns of :func:`images_schema`, or of
            :func:`labels_schema`; others are dropped.
        instances: Instances table with at least the columns of ``INSTANCES_SCHEMA``.
        taxonomy: Classes.
        bins: Size bins.
        extra: Further parts of the header (recipe, rejections, selection, leakage, synthetic). If
            it does not have ``synthetic``, the set is synthetic if any of its images is generated.
        labels_only: True for a set without masks.

    Raises:
        ManifestError: If a column is missing or has another type, or the tables contradict each
            other.
    """
    images, instances = _sorted(
        _conform(images, labels_schema() if labels_only else images_schema(bins), "images"),
        _conform(instances, INSTANCES_SCHEMA, "instances"),
    )
    meta: dict[str, Any] = {
        "name": name,
        "version": LABELS_VERSION if labels_only else VERSION,
        "taxonomy": {"name": taxonomy.name, "classes": list(taxonomy.classes)},
        "bins": as_plain(bins),
        "synthetic": _has_generated(images),
        **({"truth": "none"} if labels_only else {}),
        **extra,
    }
    manifest = Manifest(images, instances, meta)
    _check_consistency(manifest, "the manifest")
    meta["logical_hash"] = logical_hash(manifest)
    return manifest


def logical_hash(manifest: Manifest) -> str:
    """Return the SHA-256 of the header and the rows in canonical form.

    The form is one line of JSON with sorted keys for the header, then one for each image (without
    ``phash``) and one for each instance, in sorted order. Three parts of the header are excluded:
    the hash itself, the selection's ``solver`` (a library name and version) and the reason why a
    compared set is ``missing`` (a message of one machine); no figure depends on them. Of a header
    of version 1, only the version, taxonomy and bins are covered.
    """
    digest = hashlib.sha256()
    head = _covered(manifest.meta)
    for row in _canonical_rows(head, manifest.images.drop_columns(["phash"]), manifest.instances):
        digest.update(row)
    return digest.hexdigest()


def _covered(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a header that its hash covers."""
    if meta["version"] == 1:
        return {key: meta[key] for key in ("version", "taxonomy", "bins")}
    covered = {key: value for key, value in meta.items() if key != "logical_hash"}
    if covered.get("selection"):
        covered["selection"] = {k: v for k, v in covered["selection"].items() if k != "solver"}
    if "compared" in covered:
        covered["compared"] = [
            {k: v for k, v in other.items() if k != "missing"} for other in covered["compared"]
        ]
    return covered


def _canonical_rows(head: Mapping[str, Any], *tables: pa.Table) -> Any:
    option = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    yield orjson.dumps(head, option=option)
    for table in tables:
        for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
            for row in batch.to_pylist():
                # Run-length codes are ASCII; latin-1 accepts any bytes that an edited file may
                # contain.
                text = {
                    k: v.decode("latin-1") if isinstance(v, bytes) else v for k, v in row.items()
                }
                yield orjson.dumps(text, option=option)


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write both tables into a folder, each atomically."""
    header = {_HEADER_KEY: orjson.dumps(manifest.meta, option=orjson.OPT_SORT_KEYS)}
    for table, file in ((manifest.images, IMAGES_FILE), (manifest.instances, INSTANCES_FILE)):
        with writing(folder / file) as temporary:
            pq.write_table(table.replace_schema_metadata(header), temporary, compression="zstd")


def read_manifest(folder: Path, *, check_hash: bool = True) -> Manifest:
    """Read and validate a manifest.

    Args:
        folder: Folder that contains ``images.parquet`` and ``instances.parquet``.
        check_hash: True to recompute the logical hash and compare it with the recorded one.

    Raises:
        ManifestError: If the manifest is invalid; the message names the file and the problem.
    """
    tables: list[pa.Table] = []
    headers: list[dict[str, Any]] = []
    for file in (IMAGES_FILE, INSTANCES_FILE):
        table, meta = _read_table(folder / file)
        tables.append(table)
        headers.append(meta)
    if headers[0] != headers[1]:
        msg = f"{folder}: {IMAGES_FILE} and {INSTANCES_FILE} belong to different sets; rebuild it"
        raise ManifestError(msg)
    unchecked = Manifest(tables[0], tables[1], headers[0])
    wanted = labels_schema() if unchecked.labels_only else images_schema(unchecked.bins)
    _check_schema(tables[0], wanted, folder / IMAGES_FILE)
    _check_schema(tables[1], INSTANCES_SCHEMA, folder / INSTANCES_FILE)
    manifest = Manifest(*_sorted(tables[0], tables[1]), headers[0])
    _check_consistency(manifest, str(folder))
    if check_hash and logical_hash(manifest) != manifest.logical_hash:
        msg = (
            f"{folder}: the manifest was edited, so it no longer has the recorded hash "
            f"{manifest.logical_hash[:12]}; restore it or rebuild the set"
        )
        raise ManifestError(msg)
    return manifest


def is_manifest(folder: Path) -> bool:
    """Return True if a folder contains the files of a manifest."""
    return (folder / IMAGES_FILE).is_file() and (folder / INSTANCES_FILE).is_file()


def _read_table(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    if not path.is_file():
        msg = f"{path}: no such file; give the folder of a set or manifest"
        raise ManifestError(msg)
    try:
        with open_parquet(path) as file:
            _check_rows(file.metadata.num_rows, path)
            # Read in batches, because read_table takes four times the memory.
            batches = file.iter_batches(_BATCH_ROWS, use_threads=False)
            table = pa.Table.from_batches(batches, file.schema_arrow)
        table.validate(full=True)
        _ = table.schema.names  # not UTF-8 in a damaged file
        header = (table.schema.metadata or {}).get(_HEADER_KEY)
        if header is None:
            msg = f"{path}: not written by sbdata (no header in its schema); rebuild the set"
            raise SchemaError(msg)
        meta = orjson.loads(header)
    except (pa.ArrowException, OSError, ValueError) as error:
        msg = f"{path}: not a readable Parquet file ({error}); restore it or rebuild the set"
        raise ManifestError(msg) from error
    if not isinstance(meta, dict) or meta.get("version") not in _READ:
        found = meta.get("version") if isinstance(meta, dict) else None
        known = ", ".join(map(str, _READ))
        msg = f"{path}: manifest version {found!r:.20}, this sbdata reads {known}; rebuild the set"
        raise SchemaError(msg)
    _check_header(meta, path)
    return table.replace_schema_metadata(None), _as_now(meta)


def _check_rows(rows: int, path: Path) -> None:
    """Raise an error if a table has more rows than its bytes allow, before memory is allocated.

    Every row has an id or a mask of its own, which takes more than a byte with any compression.
    """
    size = path.stat().st_size
    if rows > size:
        msg = f"{path}: {rows:,} rows in {size:,} bytes are impossible; restore it or rebuild it"
        raise ManifestError(msg)


_REQUIRED: Mapping[str, Any] = {
    "taxonomy": Taxonomy,
    "bins": SizeBins,
    "name": str,
    "logical_hash": str,
    "synthetic": bool,
}
_OPTIONAL: Mapping[str, Any] = {  # of a set that was built from a recipe
    "recipe": Mapping[str, Any],
    "candidates": Mapping[str, int],
    "rejected": Mapping[str, int],
    "selection": Mapping[str, Any] | None,
    "leakage": tuple[Mapping[str, Any], ...],
    "source": Mapping[str, Any],
    "compared": tuple[Mapping[str, Any], ...],
    "asked_bins": Mapping[str, Any],
}


def _check_header(meta: Mapping[str, Any], path: Path) -> None:
    """Check the types of a header's parts, and that those which every reader needs exist."""
    try:
        for key, kind in _REQUIRED.items():
            from_plain(kind, meta[key], key)
        _ = meta["bins"]["edges"], meta["bins"]["names"]
        for key, kind in _OPTIONAL.items():
            if key in meta:
                from_plain(kind, meta[key], key)
    except (KeyError, InputError) as error:
        msg = f"{path}: its header is invalid ({error}); restore it or rebuild the set"
        raise SchemaError(msg) from error


def _as_now(meta: dict[str, Any]) -> dict[str, Any]:
    """Return a header of version 1 with the present names of a recipe's keys."""
    if meta["version"] == 1 and "judges" in meta.get("recipe", {}):
        recipe = dict(meta["recipe"])
        recipe["exclude_overlap_with"] = recipe.pop("judges")
        return {**meta, "recipe": recipe}
    return meta


def _check_schema(table: pa.Table, schema: pa.Schema, path: Path) -> None:
    if table.schema.equals(schema):
        return
    found = {field.name: field.type for field in table.schema}
    wrong = [
        f"{field.name} is {found.get(field.name, 'missing')}, not {field.type}"
        for field in schema
        if found.get(field.name) != field.type
    ]
    wrong += [f"{name} is not a column of it" for name in found if name not in schema.names]
    detail = "; ".join(wrong) or "columns in another order or with other nullability"
    msg = f"{path}: wrong schema: {detail}; rebuild the set"
    raise SchemaError(msg)


def _conform(table: pa.Table, schema: pa.Schema, what: str) -> pa.Table:
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        msg = f"{what} table without the columns {', '.join(missing)}"
        raise SchemaError(msg)
    try:
        return table.select(schema.names).cast(schema).combine_chunks()
    except (pa.ArrowException, ValueError) as error:
        msg = f"{what} table with values that do not fit its columns ({error})"
        raise SchemaError(msg) from error


def _sorted(images: pa.Table, instances: pa.Table) -> tuple[pa.Table, pa.Table]:
    return _ordered(images, "image_id"), _ordered(instances, "image_id", "instance_id")


def _ordered(table: pa.Table, *columns: str) -> pa.Table:
    """Sort a table; a table that is already sorted, as every written one is, is not copied."""
    order = pc.sort_indices(table, sort_keys=[(column, "ascending") for column in columns])
    return table if (np.diff(order) == 1).all() else table.take(order)


def _check_consistency(manifest: Manifest, where: str) -> None:
    """Check that the two tables agree, independent of the program that wrote them."""
    images, instances = manifest.images, manifest.instances
    for table, keys in ((images, ["image_id"]), (instances, ["image_id", "instance_id"])):
        if _has_repeated_rows(table, keys):
            msg = f"{where}: {' + '.join(keys)} occurs twice; rebuild the set"
            raise ManifestError(msg)
    _check_names(images, where)
    _check_claims(manifest, where)
    if manifest.labels_only:
        _check_labels(manifest, where)
    numbers = pc.min_max(instances["instance_id"]).as_py()
    if instances.num_rows and not 1 <= numbers["min"] <= numbers["max"] <= MAX_INSTANCES:
        msg = f"{where}: an instance_id is not between 1 and {MAX_INSTANCES}; rebuild the set"
        raise ManifestError(msg)
    strangers = set(instances["image_id"].unique().to_pylist()) - set(
        images["image_id"].to_pylist()
    )
    if strangers:
        msg = f"{where}: has instances of unlisted images ({sorted(strangers)[0]}); rebuild the set"
        raise ManifestError(msg)
    classes = manifest.taxonomy.classes
    pairs = instances.select(["class_id", "class_name"])
    pairs = pairs.group_by(pairs.column_names).aggregate([]).to_pydict()  # not a value of every row
    named = zip(*pairs.values(), strict=True)
    wrong = sorted((c, n) for c, n in named if not 1 <= c <= len(classes) or classes[c - 1] != n)
    if wrong:
        number, called = wrong[0]
        msg = f"{where}: class {number} is not {quoted(called)} in its taxonomy; rebuild the set"
        raise ManifestError(msg)
    if instances.num_rows:
        try:
            named_by_area = sizes_of(instances, manifest.bins)
        except InputError as error:
            msg = f"{where}: {error}; rebuild the set"
            raise ManifestError(msg) from error
        if not pc.all(pc.equal(named_by_area, instances["size"])).as_py():
            msg = f"{where}: the size of an instance does not match its area; rebuild the set"
            raise ManifestError(msg)


def _has_repeated_rows(table: pa.Table, keys: Sequence[str]) -> bool:
    """Return True if two rows of a sorted table, thus neighbours, have the same keys."""
    last = max(len(table) - 1, 0)
    alike = [pc.equal(table[key].slice(1), table[key].slice(0, last)) for key in keys]
    return bool(pc.any(reduce(pc.and_, alike)).as_py())


def _check_names(images: pa.Table, where: str) -> None:
    """Check the names and sizes of images, because names become files and sizes become arrays."""
    for column in ("image_id", "split"):
        unsafe = [name for name in images[column].unique().to_pylist() if not is_safe_stem(name)]
        if unsafe:
            msg = f"{where}: {column} {quoted(unsafe[0])} cannot name a file; rebuild the set"
            raise ManifestError(msg)
    if not images.num_rows:
        return
    if min(pc.min(images[side]).as_py() for side in ("width", "height")) < 1:
        msg = f"{where}: an image has no pixels; rebuild the set"
        raise ManifestError(msg)
    pixels = pc.multiply(images["width"].cast(pa.int64()), images["height"].cast(pa.int64()))
    if pc.max(pixels).as_py() > MAX_PIXELS:
        msg = (
            f"{where}: an image has {pc.max(pixels).as_py():,} pixels by its width and height, "
            f"above the limit of {MAX_PIXELS:,}; rebuild the set"
        )
        raise ManifestError(msg)
    longest = max(pc.max(images[side]).as_py() for side in ("width", "height"))
    if longest > MAX_JPEG_SIDE:
        msg = (
            f"{where}: an image has a width or height of {longest:,} pixels, but a JPEG file has "
            f"at most {MAX_JPEG_SIDE:,}; rebuild the set"
        )
        raise ManifestError(msg)


def _check_labels(manifest: Manifest, where: str) -> None:
    """Check that a set with labels only has no masks, and that labels and boxes are possible."""
    images = manifest.images
    masks = manifest.instances.num_rows or images["void_rle"].null_count != images.num_rows
    if masks or manifest.meta.get("truth") != "none":
        msg = f"{where}: the set has labels only, but masks or another truth; rebuild the set"
        raise ManifestError(msg)
    for row in images.select(["image_id", "labels", "boxes", "width", "height"]).to_pylist():
        labels, boxes = row["labels"], row["boxes"] or ()
        wrong = ""
        if labels != sorted({c for c in labels if c and 1 <= c <= len(manifest.taxonomy)}):
            wrong = f"labels {quoted(labels, 40)} are not sorted numbers of its classes"
        elif not {box["class_id"] for box in boxes} <= set(labels):
            wrong = "a box has a class that is not among the labels"
        elif any(not _is_inside(box, row["width"], row["height"]) for box in boxes):
            wrong = "a box does not lie in the image"
        if wrong:
            msg = f"{where}: image {row['image_id']}: {wrong}; rebuild the set"
            raise ManifestError(msg)


def _is_inside(box: Mapping[str, int | None], width: int, height: int) -> bool:
    x, y, across, down = (box[name] for name in ("x", "y", "width", "height"))
    if x is None or y is None or across is None or down is None:
        return False
    return min(x, y) >= 0 < min(across, down) and x + across <= width and y + down <= height


def check_has_masks(manifest: Manifest, where: Path | str, what: str) -> None:
    """Check that a set has pixel truth.

    Args:
        manifest: Manifest of the set.
        where: Folder of the set, for the message.
        what: What needs masks, as the subject of a sentence with a singular verb.

    Raises:
        InputError: If the set has labels only.
    """
    if manifest.labels_only:
        msg = (
            f"{where}: the set has labels only, but {what} needs masks; give a set that was built "
            "from masks"
        )
        raise InputError(msg)


def _check_claims(manifest: Manifest, where: str) -> None:
    """Check the header's statements on the whole set against the rows and the recipe."""
    meta, recipe = manifest.meta, manifest.meta.get("recipe", {})
    if not meta["synthetic"] and (
        _has_generated(manifest.images) or recipe.get("synthetic") is True
    ):
        msg = (
            f"{where}: the manifest was edited: its header says that the set is not synthetic, but "
            "its rows or recipe say that images are generated; restore it or rebuild the set"
        )
        raise ManifestError(msg)
    if recipe.get("name", manifest.name) != manifest.name:
        msg = (
            f"{where}: the manifest was edited: its set is called {quoted(manifest.name)}, but "
            f"{quoted(recipe['name'])} in its recipe; restore it or rebuild the set"
        )
        raise ManifestError(msg)


def _has_generated(images: pa.Table) -> bool:
    return "pixels" in images["sha256_of"].unique().to_pylist()


SIZED = ("area", "class_id", "area_fraction")
"""Columns of an instances table that determine the sizes."""


def sizes_of(instances: pa.Table, bins: SizeBins) -> pa.Array:
    """Return the name of the size of each instance.

    Args:
        instances: Instances table with the columns ``SIZED``.
        bins: Size bins.

    Raises:
        InputError: If the bins have no edges of a class.
    """
    areas = instances["area"].to_numpy()
    pixels = None
    if bins.relative:
        # A share of two whole numbers below 2^27 is exact enough to give the second one exactly.
        with np.errstate(all="ignore"):  # of a damaged table, whose sizes will not match
            found = np.rint(areas / instances["area_fraction"].to_numpy())
        pixels = np.where((found > 0) & (found < 2**40), found, 0).astype(np.int64)
    places = bins.index(areas, instances["class_id"].to_numpy(), pixels)
    return pa.array(bins.names, pa.string()).take(pa.array(places))


def size_counts(
    instances: pa.Table, taxonomy: Taxonomy, bins: SizeBins
) -> dict[str, dict[str, int]]:
    """Count the instances of each class and size.

    Returns:
        Number of instances by class name, then size name, in the order of taxonomy and bins; zeros
        are included.
    """
    found = Counter(
        zip(instances["class_name"].to_pylist(), instances["size"].to_pylist(), strict=True)
    )
    return {name: {size: found[name, size] for size in bins.names} for name in taxonomy.classes}


def rows_of(table: pa.Table, image_ids: Sequence[str]) -> pa.Table:
    """Return the rows of the given images, in the table's order."""
    return table.filter(pc.is_in(table["image_id"], pa.array(image_ids, pa.string())))
