"""The page of a set's objects: its figures, its crops, what it says of scores, what is refused."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import webbrowser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from sbdata.cli import cli
from sbdata.errors import InputError
from sbdata.formatting import estimate
from sbdata.manifest import INSTANCES_SCHEMA, labels_schema, make_manifest
from sbdata.masks import write_index_png
from sbdata.metrics.outcomes import OUTCOMES
from sbdata.report import browse as writer
from sbdata.report.browse import MOST_IN_PAGE, write_browse
from sbdata.report.browse_page import PER_FILE, area_edges
from sbdata.report.crops import SIDE
from sbdata.score.saved import read_saved_score
from sbdata.sets import EvaluationSet, open_set
from sbdata.sizes import SizeBins
from tests.doc_pages import page_text
from tests.reference.svg_paths import windings
from tests.report.browse_sets import (
    BINS,
    CLASSES,
    HEIGHT,
    HOSTILE,
    WIDTH,
    Drawn,
    box,
    pets,
    photo_of,
    right,
    score_shifted,
    without,
    write_drawn,
)
from tests.report.parsed_page import Page

KEYS = ("image_id", "instance_id")


class Browsed:
    """A page as it was written: its parsed HTML, its data and its crops."""

    def __init__(self, folder: Path) -> None:
        self.html = (folder / "index.html").read_text("utf-8")
        self.page = Page(self.html)
        self.data = json.loads(self.block("data"))
        lists = []
        for k in range(-(-len(self.data["area"]) // self.data["perFile"])):
            if self.data["files"] is None:
                lists.append(json.loads(self.block(f"crops-{k}")))
            else:
                text = (folder / self.data["files"][k]).read_text()
                number, crops = re.fullmatch(r"sbdataCrops\((\d+),(.*)\);\n", text, re.S).groups()
                assert int(number) == k
                lists.append(json.loads(crops))
        self.crops = [crop for found in lists for crop in found]

    def block(self, name: str) -> str:
        (found,) = re.findall(
            rf'<script type="application/json" id="{name}">(.*?)</script>', self.html, re.S
        )
        return found

    def objects(self) -> dict[tuple[str, int], int]:
        """Return the place of each object by its image and number."""
        images = [self.data["images"][k] for k in self.data["image"]]
        pairs = zip(images, self.data["instance"], strict=True)
        return {pair: place for place, pair in enumerate(pairs)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("browse")


@pytest.fixture(scope="module")
def opened(home) -> EvaluationSet:
    return write_drawn(home / "set", pets())


@pytest.fixture(scope="module")
def scores(opened, home):
    return [
        score_shifted(opened, home, "shifted", right(3)),
        score_shifted(opened, home, "without-cats", without(1)),
    ]


@pytest.fixture(scope="module")
def two(opened, scores, home) -> Browsed:
    write_browse(opened, home / "two", scores)
    return Browsed(home / "two")


# --- figures --------------------------------------------------------------------------------------


def test_every_object_has_its_row_of_the_manifest_and_of_each_score(two, opened, scores):
    rows = opened.manifest.instances.to_pylist()
    data, places = two.data, two.objects()
    assert len(places) == len(rows) == 5
    for row in rows:
        n = places[row["image_id"], row["instance_id"]]
        assert data["area"][n] == row["area"]
        assert data["classes"][data["class"][n]] == row["class_name"]
        assert data["sizes"][data["size"][n]] == row["size"]
        assert data["sources"][data["source"][n]] == row["source"]
    for shown, score in zip(data["scores"], scores, strict=True):
        for row in pq.read_table(score.folder / "instances.parquet").to_pylist():
            n = places[row["image_id"], row["instance_id"]]
            assert shown["ia"][n] == row["ia_iou"]
            assert shown["text"][n] == estimate("ia", row["ia_iou"])
            assert OUTCOMES[shown["outcome"][n]] == row["outcome"]
            assert (shown["tp"][n], shown["fp"][n]) == (row["tp"], row["fp"])
            assert shown["other"][n] == row["other_class"]
    assert len(set(data["scores"][0]["ia"])) > 2  # or the test could not fail
    assert [o.replace("_", " ") for o in OUTCOMES] == data["outcomes"]


def test_objects_are_in_the_order_of_area_then_image_and_number(two):
    data = two.data
    order = list(zip(data["area"], data["image"], data["instance"], strict=True))
    assert order == sorted(order)
    assert data["area"][:2] == [20, 20]  # of two images


def test_the_difference_is_the_first_minus_the_second(two):
    first, second = two.data["scores"]
    texts = [t.replace("−", "-") for t in two.data["difference"]]
    for text, a, b in zip(texts, first["ia"], second["ia"], strict=True):
        assert float(text) == pytest.approx(a - b, abs=0.0005)
    assert {text[0] for text in texts} >= {"+", "-"}


def test_half_of_a_thousandth_is_rounded_as_everywhere(opened, scores, home, monkeypatch):
    score = scores[0]
    table = score.instances
    half = table.set_column(
        table.schema.get_field_index("ia_iou"), "ia_iou", pa.array([0.0625] * 5, pa.float64())
    )
    for name, value in (("tp", 1), ("fp", 16.0)):
        values = [value if name == "tp" else value - a for a in table["area"].to_pylist()]
        kind = table.schema.field(name).type
        half = half.set_column(half.schema.get_field_index(name), name, pa.array(values, kind))
    changed = type(score)(score.title, score.folder, score.summary, half, score.images)
    write_browse(opened, home / "half", [changed])
    assert Browsed(home / "half").data["scores"][0]["text"] == [estimate("ia", 0.0625)] * 5


def test_histogram_edges_are_half_octaves_around_areas_and_limits():
    edges = area_edges(np.array([700, 20000]), SizeBins())
    assert edges[0] <= 512
    assert edges[1] > 512
    assert edges[-1] > 20000 > edges[-2]
    assert area_edges(np.array([3, 5]), SizeBins((10**6,), ("low", "high")))[-1] > 2 * 10**6 - 1
    assert area_edges(np.array([5]), SizeBins((), ("all",))) == [4, 6]


def test_counts_stand_on_the_page_as_text(two):
    table = two.page.table("Number of objects")
    rows = {name: [cell[0] for cell in cells] for name, cells in table.items()}
    assert rows["class"] == ["small", "medium", "large", "all"]
    assert rows["all classes"] == ["2", "1", "2", "5"]
    assert rows["cat"] == ["1", "0", "1", "2"]
    assert rows["never seen"] == ["0", "0", "0", "0"]
    said = [button["aria-label"] for button in two.page.all("button") if "data-class" in button]
    assert "cat, small: 1" in said
    assert "all classes, all sizes: 5" in said


def test_the_page_says_what_it_was_made_from(two, opened, scores):
    about = {k: "".join(v[0]) for k, v in two.page.table("What the page was made from").items()}
    assert about["set"] == "pets"
    assert about["logical hash"] == opened.logical_hash
    assert about["size edges"] == "30, 400 pixels of visible area"
    assert about["metric"] == "ia_iou.v2"
    assert about["A: predictions"] == f"SHA-256 {scores[0].predictions_hash}"
    assert about["B: false pixels"] == "attribution overlap, rounding floor"
    assert "A is shifted, B is without-cats" in two.page.text


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_synthetic_set_says_so(tmp_path, synthetic):
    root = tmp_path / "set"
    write_browse(write_drawn(root, pets(), synthetic=synthetic), tmp_path / "out")
    page = Browsed(tmp_path / "out").page
    assert ("Objects of pets (synthetic)" in page.words) == synthetic
    assert bool(page.all("p", **{"class": "synthetic"})) == synthetic


# --- crops ----------------------------------------------------------------------------------------


def jpeg(crop):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(crop[0]))).convert("RGB"), int)


def window(first, length, least, whole):
    """Return where a crop begins and how long it is, by hand."""
    side = min(max(least, -(-5 * length // 2)), whole)
    return max(0, min((2 * first + length - side) // 2, whole - side)), side


def test_a_crop_has_the_photo_the_outlines_and_the_predicted_pixels_around_an_object(
    two, opened, scores
):
    for row in opened.manifest.instances.to_pylist():
        place = two.objects()[row["image_id"], row["instance_id"]]
        _, width, height, own, others, *predicted = crop = two.crops[place]
        longer = max(row["bbox_w"], row["bbox_h"])
        least = max(64, -(-5 * longer // 2))
        y, tall = window(row["bbox_y"], row["bbox_h"], least, HEIGHT)
        x, wide = window(row["bbox_x"], row["bbox_w"], least, WIDTH)
        assert (width, height) == (wide, tall)
        at = np.s_[y : y + tall, x : x + wide]
        assert np.abs(jpeg(crop) - photo_of(row["image_id"])[at]).mean() < 6
        instances, classes = opened.instance_map(row["image_id"]), opened.class_map(row["image_id"])
        mask = instances == row["instance_id"]
        assert np.array_equal(windings(own, tall, wide), mask[at].astype(int))
        same = (classes == row["class_id"]) & ~mask
        assert np.array_equal(windings(others, tall, wide), same[at].astype(int))
        for path, score in zip(predicted, scores, strict=True):
            guess = np.asarray(Image.open(score.predictions / f"{row['image_id']}.png"))
            found = (guess == row["class_id"]) & (classes != 255)
            assert np.array_equal(windings(path, tall, wide), found[at].astype(int))


def test_a_large_object_is_stored_smaller_and_a_thin_one_does_not_vanish(tmp_path):
    size = (300, 700)
    thin = box(10, 10, 1, 600, size)
    objects = [Drawn(1, thin), Drawn(2, box(100, 100, 150, 300, size))]
    opened = write_drawn(tmp_path / "set", {"a": objects}, size=size)
    write_browse(opened, tmp_path / "out")
    browsed = Browsed(tmp_path / "out")
    for crop in browsed.crops:
        assert max(crop[1:3]) == 160
        assert jpeg(crop).shape == (crop[2], crop[1], 3)
    line, broad = (windings(crop[3], crop[2], crop[1]) for crop in browsed.crops)
    assert line.any(axis=0).sum() == pytest.approx(600 / 700 * 160, abs=2)
    scale = 160 / 700
    assert broad.sum() == pytest.approx(150 * 300 * scale**2, rel=0.03)


# --- scores whose predictions are gone or altered -------------------------------------------------


@pytest.fixture
def own(tmp_path):
    opened = write_drawn(tmp_path / "set", pets())
    return opened, score_shifted(opened, tmp_path, "mine", right(2), ["b & 'b'"])


def test_a_missing_prediction_counts_as_background_and_the_notes_of_the_score_are_shown(
    own, tmp_path
):
    opened, score = own
    done = write_browse(opened, tmp_path / "out", [score])
    browsed = Browsed(tmp_path / "out")
    assert browsed.data["pixels"] == [True]
    drawn = {pair: browsed.crops[n][5] for pair, n in browsed.objects().items()}
    assert drawn["b & 'b'", 1] == ""
    assert drawn["a", 1]
    (note,) = done.notes
    assert note == "A: mine: 1 of 3 predictions missing, counted as background"
    assert note in browsed.page.words


def change(folder: Path) -> None:
    values = np.array(Image.open(folder / "c.png"))  # an image without objects
    values[5, 5] = 2
    write_index_png(folder / "c.png", values)


def break_off(folder: Path) -> None:
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:40])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (shutil.rmtree, "its predictions are no longer in"),
        (change, "are not those that were scored"),
        (break_off, "are not those that were scored (a.png: "),
        (lambda folder: (folder / "a.png").unlink(), "are not those that were scored (a.png: "),
    ],
)
def test_altered_predictions_leave_the_figures_alone(own, tmp_path, harm, said):
    opened, score = own
    write_browse(opened, tmp_path / "before", [score])
    harm(score.predictions)
    done = write_browse(opened, tmp_path / "out", [score])
    before, after = Browsed(tmp_path / "before"), Browsed(tmp_path / "out")
    assert after.data["pixels"] == [False]
    assert [crop[5] for crop in after.crops] == [None] * 5
    assert after.data["scores"] == before.data["scores"]
    assert [crop[:5] for crop in after.crops] == [crop[:5] for crop in before.crops]
    assert "A: shown without its pixels, for " in done.notes[-1]
    assert said in done.notes[-1]
    assert done.notes[-1] in after.page.words
    assert "predicted as its class" not in after.page.text


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"options": {"palette": "mine.txt"}}, "its predictions were decoded through a palette"),
        ({"predictions": "results.json"}, "its predictions are a JSON file, results.json"),
    ],
)
def test_predictions_that_are_no_masks_are_said_to_be_what_they_are(own, tmp_path, about, said):
    opened, score = own
    noted = score.summary["provenance"]
    first = {**noted["predictions"][0], "folder": about.get("predictions", score.named_folder)}
    options = {**noted["options"], **about.get("options", {})}
    provenance = {**noted, "options": options, "predictions": [first]}
    summary = {**score.summary, "provenance": provenance}
    of_others = type(score)("mine", score.folder, summary, score.instances, score.images)
    done = write_browse(opened, tmp_path / "out", [of_others])
    assert f"A: shown without its pixels, for {said}" in done.notes
    assert Browsed(tmp_path / "out").data["pixels"] == [False]


def test_arrays_are_no_masks(own, tmp_path):
    opened, score = own
    for path in sorted(score.predictions.glob("*.png")):
        np.save(path.with_suffix(".npy"), np.array(Image.open(path)))
        path.unlink()
    done = write_browse(opened, tmp_path / "out", [score])
    assert "are .npy arrays" in done.notes[-1]


# --- safety ---------------------------------------------------------------------------------------


def test_names_are_text(two):
    assert HOSTILE in two.data["classes"]
    assert HOSTILE in two.page.words  # in the table, and as an option
    assert two.page.all("img") == []
    assert len(two.page.all("script")) == 3  # the data, the crops, the code
    assert two.html.count("</script>") == 3
    assert "b & 'b'" in two.data["images"]
    assert [a for _, a in two.page.elements if any(k.startswith("on") for k in a)] == []


def test_titles_and_notes_of_a_score_are_text(opened, scores, home):
    score = scores[0]
    summary = {**score.summary, "notes": [HOSTILE]}
    hostile = type(score)(HOSTILE + "\u202e", score.folder, summary, score.instances, score.images)
    write_browse(opened, home / "hostile", [hostile])
    browsed = Browsed(home / "hostile")
    assert browsed.data["scores"][0]["title"] == HOSTILE + "\ufffd"
    assert browsed.page.all("img") == []
    assert len(browsed.page.all("script")) == 3


@pytest.mark.parametrize("beside", [False, True])
def test_the_page_runs_its_own_script_alone_and_asks_for_nothing(opened, home, beside):
    out = home / f"policy-{beside}"
    write_browse(opened, out, most_in_page=0 if beside else 10)
    browsed = Browsed(out)
    (policy,) = [m["content"] for m in browsed.page.all("meta") if "http-equiv" in m]
    (script,) = re.findall(r"<script>(.*?)</script>", browsed.html, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.split("; ")[:2] == [
        "default-src 'none'",
        f"script-src 'sha256-{digest}'" + (" 'self' file:" if beside else ""),
    ]
    assert set(re.findall(r"https?://[^\"')\s]+", browsed.html)) == {"http://www.w3.org/2000/svg"}
    for word in ("fetch(", "XMLHttpRequest", "innerHTML", "insertAdjacent", "eval(", "import("):
        assert word not in script
    assert sorted(path.name for path in out.iterdir()) == (
        ["crops-0000.js", "index.html"] if beside else ["index.html"]
    )


def test_every_control_has_a_name_and_every_id_is_unique(two):
    page = two.page
    assert len(page.ids) == len(set(page.ids))
    labelled = {a.get("aria-labelledby") for _, a in page.elements} - {None}
    described = {a.get("aria-describedby") for _, a in page.elements} - {None}
    assert labelled | described <= set(page.ids)
    (grid,) = page.all("div", id="grid")
    assert (grid["role"], grid["tabindex"], grid["aria-label"]) == ("listbox", "0", "Objects")
    assert page.all("p", id="status", role="status")


# --- the folder -----------------------------------------------------------------------------------


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_equal_input_gives_equal_bytes_with_any_number_of_workers(
    opened, scores, home, monkeypatch
):
    monkeypatch.setattr(writer, "_CHUNK", 1)
    write_browse(opened, home / "one", scores, most_in_page=2)
    said = []
    write_browse(
        opened, home / "many", scores, most_in_page=2, workers=2, progress=lambda *n: said.append(n)
    )
    assert hashes(home / "one") == hashes(home / "many")
    assert said[-1] == (3, 3)


def test_crops_are_the_same_within_the_page_and_beside_it(opened, two, scores, home, monkeypatch):
    monkeypatch.setattr("sbdata.report.browse.PER_FILE", 2)
    monkeypatch.setattr("sbdata.report.browse_page.PER_FILE", 2)
    done = write_browse(opened, home / "beside", scores, most_in_page=4)
    browsed = Browsed(home / "beside")
    assert browsed.crops == two.crops
    assert browsed.data["files"] == ["crops-0000.js", "crops-0001.js", "crops-0002.js"]
    assert done.files == 4
    assert done.size == sum(p.stat().st_size for p in (home / "beside").iterdir())
    write_browse(opened, home / "within", scores, most_in_page=5)
    within = Browsed(home / "within")
    assert within.data["files"] is None
    assert within.crops == two.crops


def test_an_earlier_page_is_replaced_with_all_its_files(opened, home):
    write_browse(opened, home / "again", most_in_page=0)
    write_browse(opened, home / "again")
    assert [p.name for p in (home / "again").iterdir()] == ["index.html"]
    assert [p.name for p in home.glob(".*")] == []


def foreign_file(out):
    (out / "notes.txt").write_text("mine")


def foreign_page(out):
    (out / "index.html").write_text("<html>mine</html>")


def crops_alone(out):
    (out / "crops-0000.js").write_text("mine")


@pytest.mark.parametrize("fill", [foreign_file, foreign_page, crops_alone])
def test_a_folder_of_others_is_left_alone(opened, tmp_path, fill):
    out = tmp_path / "out"
    out.mkdir()
    fill(out)
    before = hashes(out)
    with pytest.raises(InputError, match="which 'sbdata browse' did not write") as caught:
        write_browse(opened, out)
    assert "--out" in str(caught.value)
    assert hashes(out) == before


def test_a_file_in_place_of_the_folder_is_left_alone(opened, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="not a folder"):
        write_browse(opened, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("place", [".", ".."])
def test_a_folder_without_a_name_of_its_own_is_not_replaced(opened, tmp_path, monkeypatch, place):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    with pytest.raises(InputError, match="cannot be replaced as a whole"):
        write_browse(opened, Path(place))
    assert [path.name for path in tmp_path.rglob("*")] == ["inner"]


@pytest.mark.parametrize("harm", ["missing", "damaged", "size"])
def test_a_photo_that_cannot_be_shown_is_named_and_the_earlier_page_stays(tmp_path, harm):
    opened = write_drawn(tmp_path / "set", pets())
    write_browse(opened, tmp_path / "out")
    before = hashes(tmp_path / "out")
    photo = opened.image_path("a")
    if harm == "missing":
        photo.unlink()
    elif harm == "damaged":
        photo.write_bytes(photo.read_bytes()[:300])
    else:
        Image.new("RGB", (7, 9)).save(photo)
    with pytest.raises(InputError, match=r"a\.jpg: .*sbdata dataset verify") as caught:
        write_browse(opened, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert hashes(tmp_path / "out") == before
    assert [p.name for p in tmp_path.glob(".*")] == []


# --- refusals -------------------------------------------------------------------------------------


def refused(opened, tmp_path, scores=()) -> str:
    with pytest.raises(InputError) as caught:
        write_browse(opened, tmp_path / "out", scores)
    assert not (tmp_path / "out").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_set_with_labels_only(tmp_path):
    row = {
        "image_id": "a", "split": "train", "source": "s", "source_image_id": "a",
        "file_name": "a.jpg", "width": 9, "height": 9, "sha256_of": "file", "labels": [1],
    }  # fmt: skip
    images = pa.Table.from_pylist([row], labels_schema())
    manifest = make_manifest(
        "weak", images, INSTANCES_SCHEMA.empty_table(), CLASSES, BINS, {}, labels_only=True
    )
    said = refused(EvaluationSet(tmp_path, manifest), tmp_path)
    assert "the set has labels only, but browsing needs masks" in said


def test_a_set_without_objects(tmp_path):
    assert "no objects" in refused(write_drawn(tmp_path / "set", {"c": []}), tmp_path)


def test_scores_of_another_set(opened, scores, tmp_path):
    other = write_drawn(tmp_path / "set", {"a": pets()["a"]})
    said = refused(other, tmp_path, scores[:1])
    assert "scores of another pets" in said
    assert "--set" in said


def test_three_scores(opened, scores, tmp_path):
    assert "at most 2" in refused(opened, tmp_path, [*scores, scores[0]])


def test_scores_with_other_options(opened, scores, home, tmp_path):
    exact = score_shifted(opened, home, "exact", right(3), rounding="exact")
    said = refused(opened, tmp_path, [scores[0], exact])
    assert "rounding floor" in said
    assert "with exact; score one of them again" in said


def with_column(table, name, values):
    kind = table.schema.field(name).type
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values, kind))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("ia_iou", 0.125, "contradicts itself"),
        ("fp", float("nan"), "contradicts itself"),
        ("outcome", "great", "contradicts itself"),
        ("area", 7, "its rows do not match the set's objects"),
    ],
)
def test_a_table_that_was_edited(opened, scores, tmp_path, column, value, said):
    folder = shutil.copytree(scores[0].folder, tmp_path / "scores" / "edited")
    table = pq.read_table(folder / "instances.parquet")
    values = [value, *table[column].to_pylist()[1:]]
    pq.write_table(with_column(table, column, values), folder / "instances.parquet")
    assert said in refused(opened, tmp_path, [read_saved_score(folder)])


def test_a_folder_that_is_no_score(tmp_path):
    with pytest.raises(InputError, match=r"no summary\.json in it; give a folder that 'sbdata sco"):
        read_saved_score(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read_saved_score(tmp_path / "gone")


def test_a_score_of_another_version(scores, tmp_path):
    folder = shutil.copytree(scores[0].folder, tmp_path / "old")
    text = (folder / "summary.json").read_text().replace("ia_iou.v2", "ia_iou.v1")
    (folder / "summary.json").write_text(text)
    with pytest.raises(InputError, match=r"was scored with ia_iou\.v1"):
        read_saved_score(folder)
    (folder / "summary.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match="not a readable result"):
        read_saved_score(folder)


# --- the command ----------------------------------------------------------------------------------


def test_the_command_writes_and_opens_the_page(opened, scores, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(webbrowser, "open", asked.append)
    folders = [str(score.folder) for score in scores]
    done = CliRunner().invoke(cli, ["browse", str(opened.root), *folders, "--open"])
    assert done.exit_code == 0, done.output
    page = tmp_path / "browse" / "pets" / "index.html"
    assert "browse/pets/index.html: 5 objects of pets, one file, 0.1 MB" in done.output
    assert asked == [page.as_uri()]
    assert len(Browsed(page.parent).data["scores"]) == 2


def test_the_guide_and_the_help_say_the_limits():
    guide = page_text("docs/guides/browse.md")
    assert f"With up to {MOST_IN_PAGE:,} objects the page is one file." in guide
    assert f"in files of {PER_FILE} objects each" in guide
    assert f"A crop with a side of over {SIDE} pixels" in guide
    said = " ".join(CliRunner().invoke(cli, ["browse", "--help"]).output.split())
    assert f"Up to {MOST_IN_PAGE:,} objects" in said


def test_the_command_refuses_before_it_reads_photos(opened, tmp_path):
    def said(*words):
        found = CliRunner().invoke(cli, ["browse", *map(str, words)]).exception
        assert isinstance(found, InputError)
        return str(found)

    out = ("--out", tmp_path / "out")
    assert "no such folder" in said(tmp_path / "gone", *out)
    assert "'sbdata score' wrote" in said(opened.root, opened.root, *out)
    assert open_set(opened.root).logical_hash == opened.logical_hash
    assert not (tmp_path / "out").exists()
