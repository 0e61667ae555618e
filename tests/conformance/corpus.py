"""Reading the corpora of this folder, and what the slow reference expects of ``cases.json``.

``python -m tests.conformance.corpus`` writes the expected figures of every case anew: those that
its ``expected`` names, whatever their values are.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np

from tests.reference import ia_iou as reference

FOLDER = Path(__file__).parent
KINDS = ("found", "wrong_class", "missed", "mostly_missed", "bled", "partial")


def read_map(value):
    """Return a map of the corpora as an array; the README says how it is written."""
    if isinstance(value, dict):
        drawn = np.zeros((value["height"], value["width"]), np.int64)
        for x, y, width, height, number in value["boxes"]:
            drawn[y : y + height, x : x + width] = number
        return drawn
    rows = [[255 if pixel == "v" else int(pixel) for pixel in row] for row in value]
    return np.array(rows, np.int64)


def size_of(area, bins):
    return bins["names"][sum(area >= edge for edge in bins["edges"])]


def expected_of(case):
    """Return all figures of a case by the slow reference; fractions are strings."""
    bins, n_classes = case["bins"], case["n_classes"]
    instances, regions, backgrounds, confusion = [], [], [], 0
    orphans = {c: np.zeros(4, int) for c in range(1, n_classes + 1)}
    for image in case["images"]:
        found = reference.score(
            *(
                read_map(image[name]).tolist()
                for name in ("prediction", "class_map", "instance_map")
            ),
            {row["instance_id"]: row["class_id"] for row in image["instances"]},
            n_classes,
            fp_attribution=case["options"]["fp_attribution"],
            rounding=case["options"]["rounding"],
        )
        confusion = confusion + np.array(found["confusion"])
        backgrounds += [found["background"]] if found["background"] is not None else []
        for row in sorted(found["instances"].values(), key=lambda row: row["instance_id"]):
            size = size_of(row["area"], bins)
            instances.append({"image_id": image["image_id"], **row, "size": size})
        for row in found["regions"]:
            del row["first"]
            size = size_of(row["area"], bins)
            regions.append({"image_id": image["image_id"], **row, "size": size})
        for c, counts in found["orphans"].items():
            orphans[c] += counts

    def rows_of(size):
        return [(r["class_id"], r["ia_iou"]) for r in instances if size in (None, r["size"])]

    def figure(rows, with_background):
        means = reference.class_and_instance_mean(rows, with_background)
        return {
            "class_mean": as_text(means[0]),
            "instance_mean": as_text(means[1]),
            "n_instances": len(rows),
            "n_classes": len({c for c, _ in rows}) + bool(with_background),
        }

    def precision(size):
        some = [r for r in regions if size in (None, r["size"])]
        values = [Fraction(int(2 * r["matched"] >= r["area"])) for r in some]
        return {"value": as_text(reference.mean(values)), "n": len(some)}

    def orphans_of(counts):
        count, pixels, orphan_false, false = counts.tolist()
        share = Fraction(orphan_false, false) if false else None
        return {"regions": count, "pixels": pixels, "share": as_text(share)}

    confusion = confusion.tolist()
    iou = reference.class_iou(confusion)
    miou, n_miou_classes = reference.mean_iou(confusion)
    total = sum(map(sum, confusion))
    right = sum(row[c] for c, row in enumerate(confusion))
    classes = range(1, n_classes + 1)
    outcomes = Counter((row["size"], row["outcome"]) for row in instances)
    by_size = {f"_{name}": name for name in bins["names"]}
    return {
        "instances": [{key: as_text(value) for key, value in row.items()} for row in instances],
        "regions": regions,
        "ia": {
            "ia": figure(rows_of(None), backgrounds),
            "ia_objects": figure(rows_of(None), []),
            **{f"ia{suffix}": figure(rows_of(name), []) for suffix, name in by_size.items()},
        },
        "background_ia": {"value": as_text(reference.mean(backgrounds)), "n": len(backgrounds)},
        "class_ia": {
            str(c): {"value": as_text(reference.mean(mine)), "n": len(mine)}
            for c in classes
            for mine in [[value for k, value in rows_of(None) if k == c]]
        },
        "miou": as_text(miou),
        "n_miou_classes": n_miou_classes,
        "absent": [c for c in range(n_classes + 1) if c not in iou],
        "class_iou": {str(c): as_text(iou.get(c)) for c in classes},
        "background_iou": as_text(iou.get(0)),
        "pixel_accuracy": as_text(Fraction(right, total) if total else None),
        "orphans": {
            "total": orphans_of(sum(orphans.values())),
            **{str(c): orphans_of(counts) for c, counts in orphans.items()},
        },
        "region_precision": {
            f"region_precision{suffix}": precision(name)
            for suffix, name in {"": None, **by_size}.items()
        },
        "outcomes": {
            size: {kind: outcomes[size, kind] for kind in KINDS} for size in bins["names"]
        },
        "curve": curve_of(instances),
    }


def curve_of(instances):
    """Return the mean IA by half octaves of area; the edges are ceil(2^(k/2)), by integers."""
    if not instances:
        return []
    edges = sorted({math.isqrt(2**k - 1) + 1 for k in range(1, 40)} | {1})
    areas = [row["area"] for row in instances]
    points = []
    for low, high in itertools.pairwise(edges):
        if high > min(areas) and low <= max(areas):
            some = [row["ia_iou"] for row in instances if low <= row["area"] < high]
            value = as_text(reference.mean(some))
            points.append({"low": low, "high": high, "value": value, "n": len(some)})
    return points


def as_text(value):
    return str(value) if isinstance(value, Fraction) else value


def written(case):
    """Return a case as JSON text, a row or a map on a line."""

    def line(value):
        return json.dumps(value, ensure_ascii=False)

    def block(name, value, indent):
        """Write lists of objects and objects of objects over several lines, all else on one."""
        many = isinstance(value, list) and value and isinstance(value[0], dict)
        deep = isinstance(value, dict) and any(isinstance(v, dict) for v in value.values())
        pad = " " * indent
        if many:
            inner = (",\n" + pad + "  ").join(map(line, value))
            return f"{pad}{line(name)}: [\n{pad}  {inner}\n{pad}]"
        if deep:
            inner = (",\n" + pad + "  ").join(f"{line(k)}: {line(v)}" for k, v in value.items())
            return f"{pad}{line(name)}: {{\n{pad}  {inner}\n{pad}}}"
        return f"{pad}{line(name)}: {line(value)}"

    head = [block(k, case[k], 6) for k in ("name", "why", "n_classes", "options", "bins")]
    images = [
        "        {\n"
        + ",\n".join(f"          {line(k)}: {line(v)}" for k, v in i.items())
        + "\n        }"
        for i in case["images"]
    ]
    expected = [block(k, v, 8) for k, v in case["expected"].items()]
    return (
        "    {\n" + ",\n".join(head)
        + ',\n      "images": [\n' + ",\n".join(images) + "\n      ]"
        + ',\n      "expected": {\n' + ",\n".join(expected) + "\n      }\n    }"
    )  # fmt: skip


def write(cases, metric):
    text = ",\n".join(map(written, cases))
    (FOLDER / "cases.json").write_text(
        f'{{\n  "metric": "{metric}",\n  "cases": [\n{text}\n  ]\n}}\n', encoding="utf-8"
    )


def main() -> None:
    corpus = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))
    for case in corpus["cases"]:
        found = expected_of(case)
        case["expected"] = {name: found[name] for name in case["expected"]}
    write(corpus["cases"], corpus["metric"])


if __name__ == "__main__":
    main()
