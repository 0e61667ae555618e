"""Dataset card: README.md of a set, in the format of the Hugging Face Hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import yaml

from sbdata.curate.statistics import LabelStatistics, SizeStatistics, area_edges, statistics_from
from sbdata.drawing import Figure, size_distribution
from sbdata.labelmap import LABELMAP_FILE, labelmap_problem
from sbdata.manifest import Manifest
from sbdata.sizes import TERCILES_BY_CLASS, SizeBins
from sbdata.sources.rejections import describe_count

FIGURE = "size_distribution.svg"


def dataset_card(
    manifest: Manifest,
    chosen: SizeStatistics | LabelStatistics,
    *,
    layout: str | None = None,
    front: Mapping[str, Any] | None = None,
) -> str:
    """Return the dataset card of a set as Markdown text.

    Args:
        manifest: Manifest of the set; its header holds the size statistics of the source.
        chosen: Statistics of the set.
        layout: Description of the files; that of a built set by default.
        front: Further keys of the card's YAML header.
    """
    meta = manifest.meta
    recipe = meta["recipe"]
    title = f"# {manifest.name}" + (" (synthetic)" if meta["synthetic"] else "")
    parts = [
        _front_matter(manifest, chosen, front or {}),
        title,
        recipe["description"],
        *(
            _labels_parts(manifest, chosen)
            if isinstance(chosen, LabelStatistics)
            else _sizes_parts(manifest, chosen)
        ),
        "## How it was chosen",
        _curation(meta),
        "## Splits that it does not overlap with",
        _leakage(meta["leakage"]),
        "## Licences and provenance",
        _provenance(manifest),
        "## Layout",
        layout or _layout(manifest),
        "## Limits",
        limits_of(manifest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sizes_parts(manifest: Manifest, chosen: SizeStatistics) -> list[str]:
    source = statistics_from(manifest.meta["source"], manifest)
    return [
        f"{chosen.images:,} images, {chosen.instances:,} instances, {len(chosen.counts)} classes. "
        + _definition(manifest),
        f"![Areas of the instances beside the source's; counts by class and size]({FIGURE})",
        "## Instances by class and size",
        _sizes_line(manifest),
        _counts_table(chosen, manifest.bins),
        "## Balance",
        _balance_table(manifest, chosen, source),
        _selection(manifest.meta["selection"]),
    ]


def _labels_parts(manifest: Manifest, chosen: LabelStatistics) -> list[str]:
    boxes = chosen.boxes
    header = ["class", "images", *([] if boxes is None else ["boxes"])]
    rows = [
        (name, f"{n:,}", *([] if boxes is None else [f"{boxes[name]:,}"]))
        for name, n in chosen.labelled.items()
    ]
    return [
        f"{chosen.images:,} images with labels only, {len(chosen.labelled)} classes. "
        + _definition(manifest),
        "## Images by class",
        "There are no masks, so nothing is known about the sizes of objects.",
        _table(header, rows),
    ]


def _definition(manifest: Manifest) -> str:
    version = manifest.meta["recipe"]["version"]
    return f"Definition `{version}`; logical hash `{manifest.logical_hash}`."


def card_figure(manifest: Manifest, chosen: SizeStatistics, source: SizeStatistics) -> Figure:
    """Draw the set's areas beside its source's, and its counts by class and size."""
    areas = {"its source": source.area_histogram, manifest.name: chosen.area_histogram}
    edges = area_edges().tolist()
    return size_distribution(manifest.name, chosen.counts, areas, edges, manifest.bins)


_LAYOUT = """\
As a PASCAL VOC devkit: `JPEGImages/`, `SegmentationClass/` (class numbers, 255 void),
`SegmentationObject/` (instance numbers, 255 void) and `ImageSets/Segmentation/`. Beside them
`images.parquet` and `instances.parquet` (the manifest: one row per image, one row per visible
instance), `dataset.json` (Croissant), `rejected.csv` (what was left out and why) and
`checksums.txt` (for `sha256sum -c checksums.txt`). Overlapping instances are drawn larger first,
smaller on top; areas are the pixels that remain visible."""


def _layout(manifest: Manifest) -> str:
    problem = labelmap_problem(manifest.taxonomy)
    labelmap = (
        f"There is no `{LABELMAP_FILE}`, which cannot hold a {problem}."
        if problem
        else f"`{LABELMAP_FILE}` has the classes' names and colours for Datumaro and CVAT."
    )
    return f"{_LABELS_LAYOUT if manifest.labels_only else _LAYOUT} {labelmap}"


_LABELS_LAYOUT = """\
As a PASCAL VOC devkit without masks: `JPEGImages/` and `ImageSets/Segmentation/`. Beside them
`images.parquet` (the manifest: one row per image, with its labels and perhaps boxes; the table
`instances.parquet` is empty), `dataset.json` (Croissant), `rejected.csv` (what was left out and
why) and `checksums.txt` (for `sha256sum -c checksums.txt`)."""


_STEPS = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
)
"""Categories of the Hub for the number of images, each with its upper end."""


def _front_matter(
    manifest: Manifest, chosen: SizeStatistics | LabelStatistics, further: Mapping[str, Any]
) -> str:
    step = next((words for most, words in _STEPS if chosen.images < most), "1M<n<10M")
    fields = {
        "pretty_name": manifest.name,
        "license": "cc0-1.0" if manifest.meta["synthetic"] else "other",
        "task_categories": [
            "image-classification" if manifest.labels_only else "image-segmentation"
        ],
        "annotations_creators": ["machine-generated" if manifest.meta["synthetic"] else "found"],
        "source_datasets": sorted(set(manifest.images["source"].to_pylist())),
        "size_categories": [step],
        "tags": ["small objects", "weakly-supervised segmentation", "evaluation"],
        **further,
    }
    return "---\n" + yaml.safe_dump(fields, sort_keys=False) + "---"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    """Return a cell's text; names of classes and licences may hold what separates cells."""
    return str(value).replace("|", "\\|")


def _sizes_line(manifest: Manifest) -> str:
    bins = manifest.bins
    unit = "Sizes are visible pixels at the image's own resolution"
    if bins.by_class:
        return f"{unit}, divided at edges of each class. {_asked(manifest)}".rstrip()
    if bins.relative:
        unit += ", relative to height times width of the image"
    limits = ["0%" if bins.relative else "0", *_as_text(bins.edges_of(1)), ""]
    said = [
        f"{name}: {low} to below {high}" if high else f"{name}: {low} and more"
        for name, (low, high) in zip(bins.names, pairwise(limits), strict=True)
    ]
    return f"{unit}. {'; '.join(said)}. {_asked(manifest)}".rstrip()


def _as_text(edges: Sequence[int | str]) -> list[str]:
    return [edge if isinstance(edge, str) else f"{edge:,}" for edge in edges]


def _asked(manifest: Manifest) -> str:
    """Return a sentence on edges that the areas determined."""
    asked = manifest.meta.get("asked_bins")
    if asked is None:
        return ""
    within = "within each class " if asked["bins"] == TERCILES_BY_CLASS else ""
    found = f"The edges are the terciles {within}of the {asked['instances']:,} candidates' areas"
    lacking = ", ".join(asked["over_all"])
    return found + (f"; those over all classes for {lacking}." if lacking else ".")


def _counts_table(chosen: SizeStatistics, bins: SizeBins) -> str:
    """Return the counts by class and size, with the edges of each class if they differ."""
    sizes, edges = bins.names, ["edges (pixels)"] if bins.by_class else []
    rows = []
    for k, (name, row) in enumerate(chosen.counts.items(), start=1):
        own = [" and ".join(_as_text(bins.edges_of(k)))] if bins.by_class else []
        rows.append((name, *own, *(f"{row[s]:,}" for s in sizes)))
    return _table(["class", *edges, *sizes], rows)


def balance_cells(statistics: SizeStatistics) -> list[str]:
    """Return the balance figures as text: instances, ratio, empty cells, entropy, small share."""
    balance = statistics.balance
    ratio, entropy = balance.max_over_min, balance.normalised_entropy
    smallest = next(iter(balance.shares.values()), None)
    return [
        f"{statistics.instances:,}",
        "-" if ratio is None else f"{ratio:.2f}",
        f"{balance.empty_cells}",
        "-" if entropy is None else f"{entropy:.4f}",
        "-" if smallest is None else f"{smallest:.1%}",
    ]


def _balance_table(manifest: Manifest, chosen: SizeStatistics, source: SizeStatistics) -> str:
    rows = [[manifest.name, *balance_cells(chosen)], ["its source", *balance_cells(source)]]
    absent = []
    for other in manifest.meta["compared"]:
        if other["statistics"]:
            compared = statistics_from(other["statistics"], manifest)
            rows.append([other["set"], *balance_cells(compared)])
        else:
            absent.append(f"`{other['set']}` was not available for comparison.")
    header = ["", "instances", "largest / smallest cell", "empty cells", "entropy (1 = even)"]
    return "\n\n".join([_table([*header, "smallest size"], rows), *absent])


def _selection(selection: Mapping[str, Any] | None) -> str:
    if selection is None:
        return "The whole split, no selection."
    short = [cell for cell in selection["cells"] if cell["shortfall"]]
    over = [cell for cell in selection["cells"] if cell["excess"]]
    text = (
        f"Chosen by a mixed-integer programme: {selection['images']} images"
        + (
            f", gap to the lower bound {selection['gap']:.2%}"
            if selection["gap"] is not None
            else ""
        )
        + ". It takes as few images as it can, which favours images with many instances."
    )
    for cells, word in ((short, "Below"), (over, "Above")):
        if cells:
            key = "shortfall" if word == "Below" else "excess"
            named = ", ".join(f"{cell['cell']} by {cell[key]}" for cell in cells)
            text += f" {word} the band: {named}."
    return text if short or over else text + " Every cell lies in its band."


def _curation(meta: Mapping[str, Any]) -> str:
    lines = [
        f"{meta['candidates']['scanned']:,} images scanned, {meta['candidates']['kept']:,} of them "
        "candidates after filtering. Left out, by reason (each with its file in `rejected.csv`):",
        "",
    ]
    rejected = meta["rejected"]
    lines += [f"- {describe_count(*counted)}" for counted in sorted(rejected.items())]
    if not rejected:
        lines.append("- nothing")
    recipe = yaml.safe_dump(meta["recipe"], sort_keys=False)
    lines += ["", "The resolved recipe:", "", "```yaml", recipe.rstrip(), "```"]
    return "\n".join(lines)


def _leakage(checks: Sequence[Mapping[str, Any]]) -> str:
    if not checks:
        return "The recipe names no training split to exclude overlap with: nothing was checked."
    return "\n".join(f"- `{check['training_set']}`: {check['result']}" for check in checks)


def _provenance(manifest: Manifest) -> str:
    counts = Counter(
        zip(
            manifest.images["source"].to_pylist(),
            (text or "not stated" for text in manifest.images["license"].to_pylist()),
            strict=True,
        )
    )
    rows = [(source, text, f"{count:,}") for (source, text), count in sorted(counts.items())]
    return (
        "Every image's URL, licence and SHA-256 are in `images.parquet`, every mask's source and "
        "annotation id in `instances.parquet`.\n\n" + _table(["source", "licence", "images"], rows)
    )


def limits_of(manifest: Manifest) -> str:
    """Return what a reader of scores on a set, or a trainer on it, must know."""
    if manifest.labels_only:
        return "There is no pixel truth: the set is for training, and nothing can be scored on it."
    if manifest.meta["synthetic"]:
        return "The images are generated. Scores on them say nothing about photographs."
    return (
        "Objects that the sources' annotators missed are missing here too. A balanced set does "
        "not have the frequencies of real scenes: report results on it together with results on "
        "an ordinary set, not instead of them."
    )
