"""The report: what stands in it, that it stands alone, and that a browser shows it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from sbdata.drawing.mask_paths import outline_path
from sbdata.errors import InputError
from sbdata.formatting import caption, number, percent, signed, span
from sbdata.metrics import Accumulator
from sbdata.metrics.bootstrap import bootstrap
from sbdata.metrics.image import ia_iou
from sbdata.metrics.outcomes import OUTCOMES
from sbdata.metrics.summary import summarise
from sbdata.report.gallery import worst_small
from sbdata.report.score_page import report_html, write_figures, write_report
from sbdata.sizes import SizeBins
from sbdata.taxonomy import COCO80, Taxonomy
from tests.report.parsed_page import Page
from tests.report.shown import shown
from tests.score.scored_examples import BINS, TAXONOMY, example_images, scored_from

HOSTILE = '<script>alert("x")</script>\' onload=alert(1) & \x00\x1b[31m\u202ecod.exe \udc80'
NAME = "".join(c for c in HOSTILE if c.isprintable())  # names of classes are checked


@pytest.fixture(scope="module")
def images():
    return example_images()


@pytest.fixture(scope="module")
def scored(images):
    return scored_from(images, against=example_images(loss=0.8), notes=("One note.",))


@pytest.fixture(scope="module")
def page(scored, images):
    return Page(report_html(scored, images.__getitem__))


# --- what stands in it ----------------------------------------------------------------------------


def test_title_names_run_and_set_and_says_synthetic(page, scored):
    assert "first on tiny-set (synthetic): IA-IoU by object size" in page.words
    assert "Synthetic" in page.words
    assert page.all("p", **{"class": "synthetic"})
    real = Page(report_html(replace(scored, synthetic=False), None))
    assert "ynthetic" not in real.text


def test_headline_has_every_figure_with_its_interval_and_n(page, scored):
    rows = page.table("Scores")
    summary, intervals = scored.summary, scored.intervals
    assert list(rows) == ["", "mIoU", "IA", "IA_objects", "IA_S", "IA_M", "IA_L"]
    assert rows["mIoU"][0] == [number(summary.miou), span(intervals["miou"])]
    assert rows["mIoU"][2] == ["3 classes"]
    for name, ia in summary.ia.items():
        row = rows[caption(name)]
        for cell, kind in zip(row, ("class_mean", "instance_mean"), strict=False):
            found = intervals[f"{name}.{kind}"]
            assert (found is None) == (ia.n_instances < 10)
            assert cell == [number(getattr(ia, kind)), span(found)]
        assert row[2] == [f"{ia.n_instances}", f"{ia.n_classes} class" + "es" * (ia.n_classes > 1)]


def test_notes_tell_what_the_caller_and_the_figures_have_to_say(page, scored):
    assert "One note." in page.words
    assert "Classes without a true pixel, left out of mIoU: star." in page.words
    quiet = replace(scored, notes=(), intervals={}, summary=replace(scored.summary, absent=()))
    assert "Notes" not in Page(report_html(quiet, None)).words


def test_comparison_has_differences_intervals_and_moved_instances(page, scored):
    rows = page.table("first minus second")
    compared = scored.compared[0]
    name = "ia_objects.class_mean"
    difference = compared.differences[name]
    assert rows["IA_objects, class mean"] == [
        [number(scored.summary.headline()[name])],
        [number(compared.figures[name])],
        [signed(difference.value)],
        [f"{signed(difference.interval.low)} to {signed(difference.interval.high)}"],
        [percent(difference.sign_change)],
    ]
    few = compared.differences["ia_large.class_mean"]
    assert rows["IA_L, class mean"][2:] == [[signed(few.value)], ["–"], ["–"]]
    assert len(rows) == 1 + len(scored.summary.headline())
    moved = compared.moved[0]
    (table,) = [t for t in page.tables if t["caption"].startswith("The 5 instances")]
    assert len(table["rows"]) == 6
    assert table["rows"][1] == [
        [moved.image_id],
        [f"{moved.instance_id}"],
        [moved.class_name],
        [f"{moved.area}"],
        [moved.size],
        [number(moved.first)],
        [number(moved.second)],
        [signed(moved.first - moved.second)],
    ]


def test_a_row_is_bold_only_where_the_interval_leaves_out_zero(scored, images):
    same = scored_from(images, against=images)
    assert '<tr class="clear">' not in report_html(same, None)
    wiped = {k: (p, c, i, np.zeros_like(q)) for k, (p, c, i, q) in images.items()}
    assert '<tr class="clear">' in report_html(scored_from(images, against=wiped), None)


def test_orphans_and_classes_are_listed(page, scored):
    orphans = page.table("Predicted regions")
    assert list(orphans) == ["class", *TAXONOMY.classes, "all classes"]
    star = scored.summary.classes[2].orphans
    assert star.regions == 12  # the invented object of each image
    assert orphans["star"] == [["12"], [f"{star.pixels}"], ["100.0 %"]]
    classes = page.table("IoU over all images")
    for figures, name in zip(scored.summary.classes, TAXONOMY.classes, strict=True):
        cells = [[number(c.value), f"n {c.n}"] for c in figures.ia.values()]
        assert len(cells) == 4
        assert classes[name] == [[number(figures.iou)], *cells]
    assert classes["star"][0] == ["–"]
    assert classes["background"][0] == [number(scored.summary.background_iou)]
    assert classes["background"][1] == [number(scored.summary.background_ia.value), "12 images"]


def test_outcomes_are_listed_by_size(page, scored):
    rows = page.table("Outcome of the instances")
    for size, counts in scored.summary.outcomes.items():
        total = sum(counts.values())
        assert rows[size][0] == [f"{total}"]
        for kind, cell in zip(OUTCOMES, rows[size][1:], strict=True):
            assert cell == [percent(counts[kind] / total)]


def test_what_was_measured_stands_at_the_end(page):
    assert page.elements.index(("section", {"id": "measured", "aria-labelledby": "measured-title"}))
    rows = page.table("Inputs and settings")
    assert rows["option: fp_attribution"] == [["overlap"]]
    assert rows["set hash"] == [["0123abcd"]]
    assert rows["size edges"] == [["[64, 400]"]]
    assert "as their released code computes it (commit 629dd2c)" in page.text


def test_sections_come_in_their_order(page):
    order = (
        "against-1 by-area by-class-and-size precision outcomes confusion "
        "orphans by-class gallery measured"
    )
    assert [a["id"] for a in page.all("section")] == order.split()
    assert [a["href"] for a in page.all("a")] == [f"#{name}" for name in order.split()]


# --- gallery --------------------------------------------------------------------------------------


def test_gallery_shows_the_small_instances_of_lowest_ia(page, scored):
    rows = scored.tables.instances
    values = ia_iou(rows)
    small = [k for k in range(rows.size) if rows["area"][k] < 64 and values[k] < 1]
    expected = sorted(small, key=lambda k: (values[k], -int(rows["area"][k]), k))
    worst = worst_small(scored)
    assert len(worst) > 3
    assert [(w.image_id, w.instance_id) for w in worst] == [
        (scored.tables.image_ids[scored.tables.instance_image[k]], int(rows["instance_id"][k]))
        for k in expected
    ]
    titles = [w for w in page.words if w.endswith(": photo, truth and prediction")]
    assert len(titles) == len(worst)
    first = worst[0]
    assert titles[0].startswith(
        f"{TAXONOMY.name_of(first.class_id)}, {first.area} pixels, IA 0.000"
    )
    assert len(page.all("image")) == len(worst)
    assert len(worst_small(scored, most=2)) == 2


def test_gallery_does_without_photos_and_says_why_it_is_empty(scored, images):
    assert "Rendered without photos." in Page(report_html(scored, None)).words
    bare = {k: (None, c, i, q) for k, (_, c, i, q) in images.items()}
    assert len(Page(report_html(scored, bare.__getitem__)).all("image")) == len(worst_small(scored))
    perfect = {k: (p, c, i, np.where(c == 255, 0, c)) for k, (p, c, i, _) in images.items()}
    said = Page(report_html(scored_from(perfect), perfect.__getitem__)).words
    assert "Every small instance has an IA of 1." in said


def test_gallery_refuses_arrays_that_do_not_belong_together(scored, images):
    def cut(image_id):
        photo, *maps = images[image_id]
        return (photo[:-1], *maps)

    def other(image_id):
        photo, class_map, _, prediction = images[image_id]
        return photo, class_map, np.zeros_like(class_map), prediction

    with pytest.raises(InputError, match=r"image_\d+: photo, truth and prediction differ in size"):
        report_html(scored, cut)
    with pytest.raises(InputError, match=r"image_\d+: no instance \d"):
        report_html(scored, other)


def test_an_outline_is_the_edges_between_mask_and_outside():
    mask = np.random.default_rng(5).random((9, 7)) < 0.5
    edges = set()
    for step in re.findall(r"M\d+ \d+[HV]\d+", outline_path(mask)):
        x, y, way, end = re.fullmatch(r"M(\d+) (\d+)([HV])(\d+)", step).groups()
        start = int(x) if way == "H" else int(y)
        assert int(end) > start
        edges |= {(way, int(x if way == "V" else y), k) for k in range(start, int(end))}
    across = {("H", y + 1, x) for y in range(8) for x in range(7) if mask[y, x] != mask[y + 1, x]}
    along = {("V", x + 1, y) for y in range(9) for x in range(6) if mask[y, x] != mask[y, x + 1]}
    assert edges == across | along


# --- that it stands alone -------------------------------------------------------------------------


def test_nothing_in_it_leads_out_of_the_file(scored, images):
    html = report_html(scored, images.__getitem__)
    page = Page(html)
    for tag, attrs in page.elements:
        for key in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
            assert attrs.get(key, "#").startswith(("#", "data:")), (tag, attrs)
        assert not any(key.startswith("on") for key in attrs)
    assert not page.all("script")
    assert "url(" not in html
    assert "@import" not in html
    assert set(re.findall(r"https?://[^\s\"]+", html)) == {"http://www.w3.org/2000/svg"}
    (policy,) = [a["content"] for a in page.all("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'")


def test_it_is_the_same_every_time_and_written_whole(scored, images, tmp_path):
    for name in ("a", "b"):
        write_report(scored, tmp_path / name / "report.html", images.__getitem__)
        write_figures(scored, tmp_path / name / "figures")
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert [str(f) for f in files] == [
        "figures/ia_by_area.svg",
        "figures/ia_by_class_and_size.svg",
        "figures/precision_by_size.svg",
        "report.html",
    ]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_failure_leaves_the_old_report(scored, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")

    def broken(image_id):
        raise InputError(image_id)

    with pytest.raises(InputError):
        write_report(scored, path, broken)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_hostile_names_stay_text(images, tmp_path):
    renamed = {f"{HOSTILE}{k}": arrays for k, arrays in enumerate(images.values())}
    taxonomy = Taxonomy(f"t{NAME}", tuple(f"{c}{NAME}" for c in "abc"))
    bins = SizeBins((64, 400))  # names of sizes are checked, too
    scored = scored_from(renamed, taxonomy=taxonomy, bins=bins, against=renamed)
    scored = replace(
        scored,
        name=HOSTILE,
        truth_name=HOSTILE,
        predictions=tmp_path / HOSTILE.replace("\x00", ""),
        notes=(HOSTILE,),
        provenance={HOSTILE: {HOSTILE: [HOSTILE]}},
        compared=(replace(scored.compared[0], name=HOSTILE),),
    )
    html = report_html(scored, renamed.__getitem__)
    page = Page(html)
    assert not page.all("script")
    assert not any(key.startswith("on") for _, attrs in page.elements for key in attrs)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", html)
    assert page.words.count('<script>alert("x")</script>\' onload=alert(1) & ��[31m�cod.exe �') > 0
    write_report(scored, tmp_path / "report.html", renamed.__getitem__)
    for path in write_figures(scored, tmp_path / "figures"):
        assert "<script" not in path.read_text("utf-8")


def test_ids_are_unique_and_tables_and_pictures_are_described(page):
    assert len(page.ids) == len(set(page.ids))
    assert set(page.ids) >= {a["href"][1:] for a in page.all("use")}
    for table in page.tables:
        assert table["caption"]
    assert all(a.get("scope") in ("row", "col") for a in page.all("th"))
    assert page.all("html", lang="en")
    assert page.all("meta", name="viewport")
    # Only an outermost svg is a picture to a reader; each has a title as its first child.
    for place, (tag, attrs) in enumerate(page.elements):
        if tag == "svg" and attrs.get("role") == "img":
            assert page.elements[place + 1][0] == "title"


# --- little to show -------------------------------------------------------------------------------


def test_no_image_at_all_gives_dashes():
    tables = Accumulator(3).tables()
    scored = scored_from(example_images(2))
    scored = replace(
        scored,
        tables=tables,
        summary=summarise(tables, BINS),
        intervals=bootstrap(tables, BINS, resamples=3).intervals(),
    )
    page = Page(report_html(scored, None))
    assert page.table("Scores")["IA_S"] == [["–"], ["–"], ["0", "0 classes"]]
    assert "There is no small instance." in page.words
    assert "No instance to measure." in page.words
    assert "nan" not in page.text.lower().replace("nano", "")


def test_one_class_and_one_image_have_figures_without_intervals():
    images = example_images(1, classes=(1,), invented=0)
    scored = scored_from(images, taxonomy=Taxonomy("one", ("only",)), against=images)
    page = Page(report_html(scored, images.__getitem__))
    value = scored.summary.ia["ia_objects"].class_mean
    assert page.table("Scores")["IA_objects"] == [
        [number(value), "–"],
        [number(value), "–"],
        ["1", "1 class"],
    ]
    assert page.table("first minus second")["mIoU"][2:] == [["0.000"], ["–"], ["–"]]


def test_no_comparison_leaves_no_section(images):
    page = Page(report_html(scored_from(images), None))
    assert next(a["id"] for a in page.all("section")) == "by-area"


def test_a_comparison_in_which_nothing_moved_says_so(scored):
    still = replace(scored.compared[0], moved=())
    assert (
        "No instance differs in IA."
        in Page(report_html(replace(scored, compared=(still,)), None)).words
    )


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(scored, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(scored, folder / "report.html", images.__getitem__)
    return folder, write_figures(scored, folder / "figures")


FIGURES = """
return [...document.querySelectorAll('figure svg.chart')].map(svg => {
  const box = svg.getBoundingClientRect();
  const sizes = [...svg.querySelectorAll('text')].map(
    text => parseFloat(getComputedStyle(text).fontSize) * box.width / svg.viewBox.baseVal.width);
  const outside = [...svg.querySelectorAll('text')].filter(text => {
    const own = text.getBoundingClientRect();
    return own.left < box.left - 1 || own.right > box.right + 1 || own.bottom > box.bottom + 1;
  }).map(text => text.textContent);
  const own = [...svg.querySelectorAll('text')].map(text => [text, text.getBoundingClientRect()]);
  const meeting = own.flatMap(([text, a], k) => own.slice(k + 1).filter(([_, b]) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4
  ).map(([other, _]) => text.textContent + ' / ' + other.textContent));
  return {width: box.width, height: box.height, text: Math.min(...sizes), outside: outside,
          meeting: meeting};
}).filter(figure => figure.width > 0)
"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 390, 800, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_shows_the_report_without_error_or_request(browser, written, width, scheme):
    path = written[0] / "report.html"
    asked = shown(browser, path, width, scheme)
    assert path.as_uri() in asked
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert [url for url in asked if url.startswith("file:")] == [path.as_uri()]
    assert browser.get_log("browser") == []
    root = "document.documentElement."
    overflow = browser.execute_script(f"return {root}scrollWidth - {root}clientWidth")
    assert overflow <= 0
    figures = browser.execute_script(FIGURES)
    assert len(figures) == 3  # one of the two widths of each
    for figure in figures:
        assert figure["height"] > 100
        assert figure["width"] <= width
        assert figure["text"] >= 10 * min(1, width / 390)
        assert figure["outside"] == []
        assert figure["meeting"] == []
    pictures = browser.execute_script(
        "return [...document.querySelectorAll('.gallery > li > svg')].map("
        "svg => svg.getBoundingClientRect().height)"
    )
    assert pictures
    assert min(pictures) > 60
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1200])
def test_browser_has_room_for_many_classes_sizes_and_long_names(browser, tmp_path, width):
    names = ("tiny", "small", "medium", "quite-large", "large", "enormous")
    bins = SizeBins((16, 64, 256, 400, 20000), names)
    long = {
        f"{'a-long-name-without-end' * 4}{k}": v for k, v in enumerate(example_images().values())
    }
    scored = scored_from(long, taxonomy=COCO80, bins=bins, against=long)
    write_report(scored, tmp_path / "report.html", long.__getitem__)
    shown(browser, tmp_path / "report.html", width)
    root = "document.documentElement."
    assert browser.execute_script(f"return {root}scrollWidth - {root}clientWidth") <= 0
    for figure in browser.execute_script(FIGURES):
        assert figure["outside"] == []
        assert figure["meeting"] == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_shows_each_figure_file_in_its_own_style(browser, written, scheme):
    for path in written[1]:
        asked = shown(browser, path, 800, scheme)
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert browser.get_log("browser") == []
        ground = browser.execute_script(
            "return getComputedStyle(document.querySelector('.ground')).fill"
        )
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]
