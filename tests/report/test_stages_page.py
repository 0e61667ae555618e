"""The page of small objects by stage: pictures against the masks, words, what is refused."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from sbdata.errors import InputError
from sbdata.manifest import INSTANCES_SCHEMA, labels_schema, make_manifest
from sbdata.masks import write_index_png
from sbdata.report.stages_page import check_page, write_stages_page
from sbdata.score.pseudo_masks import LABELS, MASKS, score_pseudo
from sbdata.sets import EvaluationSet
from sbdata.sizes import SizeBins
from tests.reference.svg_paths import windings
from tests.report.browse_sets import (
    BINS,
    CLASSES,
    HEIGHT,
    HOSTILE,
    Drawn,
    box,
    photo_of,
    write_drawn,
)
from tests.report.parsed_page import Page
from tests.report.shown import shown

STAGE = "<b>seeds</b> & more"
SIDE = 96  # of a crop: the boxes are far smaller than a third of it


def images():
    """Three small objects in two images, and larger ones beside them; the last column is void."""
    return {
        "a": [Drawn(1, box(2, 3, 4, 5)), Drawn(1, box(20, 3, 25, 25)), Drawn(2, box(60, 90, 4, 4))],
        "b & 'b'": [Drawn(2, box(40, 50, 5, 4)), Drawn(1, box(60, 90, 20, 19))],
    }


def stage(opened, folder, change):
    """Write the class maps of the truth after a change of them."""
    for image_id in opened:
        classes = opened.class_map(image_id)
        classes[classes == 255] = 0
        change(image_id, classes)
        write_index_png(folder / f"{image_id}.png", classes)
    return folder


def seeds(image_id, classes):
    classes[2:4, 3:8] = 255 if image_id == "a" else 0  # half of the first object


def masks(image_id, classes):
    if image_id == "a":
        classes[2:6, 3:7] = 2  # 16 of its 20 pixels
        classes[60:64, 90:94] = 0
    else:
        classes[40, 50:54] = 255


def later(image_id, classes):
    masks(image_id, classes)
    if image_id == "a":
        classes[60:64, 90:94] = 2


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return write_drawn(tmp_path_factory.mktemp("stages") / "set", images())


@pytest.fixture(scope="module")
def folders(opened, tmp_path_factory):
    home = tmp_path_factory.mktemp("folders")
    changes = {STAGE: seeds, MASKS: masks, "segmenter": later}
    return {name: stage(opened, home / str(k), c) for k, (name, c) in enumerate(changes.items())}


@pytest.fixture(scope="module")
def found(opened, folders):
    before = [(STAGE, folders[STAGE])]
    after = [("segmenter", folders["segmenter"])]
    labels = {"a": (1,), "b & 'b'": (1, 2)}  # a lacks the class of its third object
    return score_pseudo(folders[MASKS], opened, before, after, labels=labels, resamples=0)


@pytest.fixture(scope="module")
def written(found, opened, folders, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "deeper" / "stages.html"
    check_page(path, opened)
    assert write_stages_page(found, opened, folders, path) == 3
    return path


@pytest.fixture(scope="module")
def page(written):
    return Page(written.read_text("utf-8"))


def panels(html):
    """Return each picture as its text, its elements, and its caption."""
    pictures = re.findall(
        r'<figure><svg viewBox="(.*?)" class="panel".*?><title>(.*?)</title>(.*?)</svg>'
        r"<figcaption>(.*?)</figcaption>",
        html,
        re.DOTALL,
    )
    assert len(pictures) == html.count('class="panel"')
    return pictures


# --- pictures -------------------------------------------------------------------------------------


def test_pictures_show_the_masks(opened, folders, written):
    pictures = panels(written.read_text("utf-8"))
    assert len(pictures) == 3 * 5
    crops = [("a", 1, slice(0, SIDE)), ("a", 2, slice(24, 120)), ("b & 'b'", 2, slice(4, 100))]
    met = []
    for k in range(0, len(pictures), 5):
        photo, labels, *stages = pictures[k : k + 5]
        data = re.search(r'href="data:image/jpeg;base64,([^"]+)"', photo[2]).group(1)
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)
        alike = [c for c in crops if np.abs(pixels - photo_of(c[0])[:, c[2]]).mean() < 3]
        ((image_id, class_id, columns),) = alike
        met.append((image_id, class_id))
        assert photo[0] == f"0 0 {SIDE} {HEIGHT}"
        assert "<path" not in re.sub(r"<g .*?</g>", "", labels[2]), "labels have no mask"
        for (_, _, marks, _), folder in zip(stages, folders.values(), strict=True):
            drawn = np.zeros((HEIGHT, SIDE), int)
            plain = re.sub(r"<g .*?</g>", "", marks)  # without the outline
            for path, paint in re.findall(r'<path d="(.*?)" (?:class|fill)="(.*?)">', plain):
                name = re.sub(r"url\(#(.*?)-\d+\)", r"\1", paint)
                inside = windings(path, HEIGHT, SIDE)
                assert set(np.unique(inside)) <= {0, 1}
                assert not (drawn[inside > 0]).any()
                drawn[inside > 0] = ("own", "other", "ignored").index(name) + 1
            values = np.asarray(Image.open(folder / f"{image_id}.png"))[:, columns]
            expected = np.select([values == class_id, values == 255, values > 0], [1, 3, 2], 0)
            np.testing.assert_array_equal(drawn, expected)
    assert sorted(met) == [("a", 1), ("a", 2), ("b & 'b'", 2)]


def test_shares_are_counted_by_hand(written):
    captions = [re.sub(r"<.*?>", "", c).strip() for *_, c in panels(written.read_text("utf-8"))]
    name = "&lt;b&gt;seeds&lt;/b&gt; &amp; more"
    assert [captions[k : k + 5] for k in range(0, 15, 5)] == [
        ["photo", "labels: have its class", f"{name}: 50.0 %", "masks: 20.0 % lost",
         "segmenter: 20.0 % lost"],
        ["photo", "labels: lack its class lost", f"{name}: 100.0 %", "masks: 0.0 % lost",
         "segmenter: 100.0 %"],
        ["photo", "labels: have its class", f"{name}: 100.0 %", "masks: 80.0 %",
         "segmenter: 80.0 %"],
    ]  # fmt: skip


def test_a_crop_is_three_times_the_box(tmp_path):
    size = (400, 420)
    long = box(150, 160, 1, 60, size)
    set_ = write_drawn(
        tmp_path / "set", {"a": [Drawn(1, long)]}, size=size, bins=SizeBins((70, 400))
    )
    folder = stage(set_, tmp_path / "masks", lambda *_: None)
    scored = score_pseudo(folder, set_, resamples=0)
    write_stages_page(scored, set_, {MASKS: folder}, tmp_path / "p.html")
    boxes = {view for view, *_ in panels((tmp_path / "p.html").read_text("utf-8"))}
    assert boxes == {"0 0 180 180"}


# --- words ----------------------------------------------------------------------------------------


def test_tables_have_the_losses_and_fates(page, found):
    (losses,) = [t for t in page.tables if t["caption"].startswith("Lost instances")]
    rows = [[cell[0] for cell in row] for row in losses["rows"][1:]]
    assert [row[:2] for row in rows] == [
        [name, size] for name in (LABELS, STAGE, MASKS, "segmenter") for size in BINS.names
    ]
    by_key = {(r["stage"], r["size"], r["threshold"]): r for r in found.losses.to_pylist()}
    for row in rows:
        half = by_key[row[0], row[1], "under 50 %"]
        lost = [
            by_key[row[0], row[1], threshold]["lost"]
            for threshold in ("no pixel", "under 25 %", "under 50 %")
        ]
        assert row[2] == str(half["n"])
        assert row[3:6] == list(map(str, lost))
        names = ("newly_lost", "regained", "to_ignored", "to_background", "to_other")
        assert row[6:] == [str(half[name]) for name in names]
    fates = page.table("The small objects")
    assert {name: cells[0] for name, cells in fates.items() if name != "fate"} == {
        "lost at labels": ["0"], f"lost at {STAGE}": ["0"], "lost at masks": ["1"],
        "lost at segmenter": ["0"], "lost and regained": ["1"], "never lost": ["1"],
    }  # fmt: skip
    assert page.all("figure") != []


def test_header_names_set_masks_and_metric(page, opened, folders):
    assert f"Where small objects are lost: {folders[MASKS].name} on pets" in page.text
    for words in ("ia_iou.v2", opened.logical_hash[:12], "2 images, 5 instances", "under 30"):
        assert words in page.text
    assert "3 of 3 small objects" in page.text


def test_page_stands_alone_and_names_are_text(page, written):
    html = written.read_text("utf-8")
    assert HOSTILE in page.text
    assert STAGE in page.text
    assert "<script" not in html
    assert "onerror=" not in re.sub(r"&lt;.*?&gt;", "", html)
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy[0]["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert len(page.ids) == len(set(page.ids))
    used = set(re.findall(r'(?:href="#|url\(#)([\w-]+)', html))
    assert used <= set(page.ids)


def test_same_score_gives_the_same_bytes(found, opened, folders, written, tmp_path):
    write_stages_page(found, opened, folders, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == written.read_bytes()
    assert write_stages_page(found, opened, folders, tmp_path / "one.html", 1) == 1


# --- what is refused ------------------------------------------------------------------------------


def refused(opened: EvaluationSet, page: Path) -> str:
    with pytest.raises(InputError) as caught:
        check_page(page, opened)
    return str(caught.value)


def test_places_that_cannot_be_a_page(opened, written, tmp_path):
    check_page(written, opened)  # an earlier page is replaced
    assert "one HTML file" in refused(opened, tmp_path / "pages")
    (tmp_path / "folder.html").mkdir()
    assert "a folder; give --page the name of a file" in refused(opened, tmp_path / "folder.html")
    other = tmp_path / "other.html"
    other.write_text("<p>mine")
    assert "it would be lost; give another file" in refused(opened, other)
    assert other.read_text() == "<p>mine"
    assert "other.html" in refused(opened, other / "deeper.html")


def test_sets_that_give_no_page(tmp_path):
    large = write_drawn(tmp_path / "large", {"a": [Drawn(1, box(20, 3, 25, 25))]})
    assert "no small objects (under 30 pixels)" in refused(large, tmp_path / "p.html")
    gone = write_drawn(tmp_path / "gone", images())
    (gone.root / "JPEGImages" / "a.jpg").unlink()
    assert "a.jpg: no such file, and --page shows the photos" in refused(gone, tmp_path / "p.html")
    row = {
        "image_id": "a", "split": "train", "source": "s", "source_image_id": "a",
        "file_name": "a.jpg", "width": 9, "height": 9, "sha256_of": "file", "labels": [1],
    }  # fmt: skip
    rows = pa.Table.from_pylist([row], labels_schema())
    manifest = make_manifest(
        "weak", rows, INSTANCES_SCHEMA.empty_table(), CLASSES, BINS, {}, labels_only=True
    )
    said = refused(EvaluationSet(tmp_path, manifest), tmp_path / "p.html")
    assert "labels only, but a page of small objects needs masks" in said


# --- in a browser ---------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
def test_browser_shows_it_without_error_or_request(browser, written, width, scheme):
    asked = shown(browser, written, width, scheme)
    assert [url for url in asked if url.startswith("file:")] == [written.as_uri()]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert browser.get_log("browser") == []
    root = "document.documentElement."
    assert browser.execute_script(f"return {root}scrollWidth - {root}clientWidth") <= 0
    sides = browser.execute_script(
        "return [...document.querySelectorAll('.panel')].map(p => p.getBoundingClientRect().width)"
    )
    assert len(sides) == 15
    assert min(sides) > 140
