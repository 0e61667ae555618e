"""The browse page in Chromium: 5,000 objects, filters, keyboard, larger view, address."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from sbdata.report.browse import write_browse
from sbdata.sizes import SizeBins
from tests.report.browse_sets import HOSTILE, Drawn, box, right, score_shifted, without, write_drawn
from tests.report.shown import shown

pytestmark = [pytest.mark.browser, pytest.mark.slow]

OBJECTS, IN_IMAGE = 5000, 200
SIZE = (240, 320)  # ten rows of twenty objects, a cell of 24 x 16 pixels each
BINS = SizeBins((40, 140))


def crowd():
    """Objects of all areas from 4 to 240 pixels; every third is of the second class."""
    draw = np.random.default_rng(0)
    images = {}
    for k in range(OBJECTS // IN_IMAGE):
        tall, wide = draw.integers(2, 21, IN_IMAGE), draw.integers(2, 13, IN_IMAGE)
        images[f"crowd-{k:02}"] = [
            Drawn(1 + (n % 3 == 0), box(n // 20 * 24, n % 20 * 16, int(h), int(w), SIZE))
            for n, (h, w) in enumerate(zip(tall, wide, strict=True))
        ]
    return images


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    home = tmp_path_factory.mktemp("crowd")
    images = crowd()
    opened = write_drawn(home / "set", images, size=SIZE, bins=BINS)
    scores = [
        score_shifted(opened, home, "shifted", right(3)),
        score_shifted(opened, home, "without", without(2)),
    ]
    done = write_browse(opened, home / "out", scores)
    assert (done.objects, done.files) == (OBJECTS, 26)
    areas = [int(d.mask.sum()) for objects in images.values() for d in objects]
    return home / "out" / "index.html", sorted(areas)


class Tab:
    def __init__(self, browser):
        self.browser = browser

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.browser).send_keys(key).perform()

    @property
    def status(self):
        return self.run("return document.getElementById('status').textContent")

    @property
    def tiles(self):
        """Return the areas and places of the tiles that exist."""
        return self.run(
            "return [...document.querySelectorAll('.tile')].map(tile => [parseInt("
            "tile.querySelector('p').textContent.split('· ')[1].replace(',', '')),"
            " Number(tile.getAttribute('aria-posinset'))])"
        )

    @property
    def address(self):
        found = parse_qs(urlsplit(self.run("return location.href")).fragment)
        return {key: values if len(values) > 1 else values[0] for key, values in found.items()}

    @property
    def active(self):
        """Return the place of the active tile, as a screen reader finds it."""
        return self.run(
            "const id = document.getElementById('grid').getAttribute('aria-activedescendant');"
            "const tile = document.getElementById(id);"
            "return tile && Number(tile.getAttribute('aria-posinset'))"
        )

    def choose(self, id_, text):
        from selenium.webdriver.support.ui import Select

        Select(self.browser.find_element("id", id_)).select_by_visible_text(text)

    def wait(self, script):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, 20).until(lambda b: b.execute_script(f"return {script}"))


@pytest.fixture
def tab(browser, written):
    shown(browser, written[0], 1200)
    tab = Tab(browser)
    yield tab
    assert browser.get_log("browser") == []
    asked = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    sent = [m["params"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    urls = {params["request"]["url"] for params in sent}
    folder = written[0].parent.as_uri()
    assert [url for url in urls if not url.startswith((f"{folder}/", "data:image/jpeg;"))] == []
    browser.get("about:blank")


def test_only_the_tiles_in_view_exist_and_scrolling_reaches_the_last(tab, written):
    areas = written[1]
    assert tab.status == "5,000 of 5,000 objects"
    assert [area for area, _ in tab.tiles[:3]] == areas[:3]
    assert len(tab.tiles) < 150
    for share in (0.25, 0.5, 0.75, 1):
        tab.run("scrollTo(0, document.documentElement.scrollHeight * arguments[0])", share)
        tab.wait(f"Number(document.querySelector('.tile').ariaPosInSet) > {4000 * share}")
        tiles = tab.tiles
        assert len(tiles) < 150
        assert all(area == areas[place - 1] for area, place in tiles)
        tab.wait(
            "document.querySelectorAll('.tile image').length == "
            "2 * document.querySelectorAll('.tile').length"
        )  # both predictions
    assert tiles[-1][1] == OBJECTS


def test_filters_count_what_they_should(tab, written):
    areas = np.array(written[1])
    small = int((areas < 40).sum())
    tab.press("s")
    assert tab.status == f"{small:,} of 5,000 objects"
    assert tab.address == {"size": "small"}
    tab.press("m")
    assert tab.status == f"{int((areas < 140).sum()):,} of 5,000 objects"
    tab.press("s", "m")
    assert tab.status == "5,000 of 5,000 objects"
    bar = tab.run(
        "const bar = document.querySelector('.histogram button[aria-label^=\"area 64 to 90\"]');"
        "bar.focus(); return bar.getAttribute('aria-label')"
    )
    in_bar = int(((areas >= 64) & (areas < 91)).sum())
    assert bar == f"area 64 to 90: {in_bar} objects"
    tab.press("\ue007")  # Enter
    assert tab.status == f"{in_bar} of 5,000 objects, area 64 to 90"
    assert tab.address == {"area": "64-91"}
    assert {64 <= area < 91 for area, _ in tab.tiles} == {True}
    tab.choose("class", HOSTILE)
    tab.choose("outcome-B", "missed")
    tab.press("/", "-07")
    count = int(tab.status.split()[0])
    assert tab.address == {
        "area": "64-91", "class": "1", "outcome-B": tab.address["outcome-B"], "text": "-07",
    }  # fmt: skip
    # By hand: of image 07, every third object; the second prediction has none of its class.
    of_image = [d for d in crowd()["crowd-07"] if d.class_id == 2]
    assert count == sum(64 <= int(d.mask.sum()) < 91 for d in of_image)
    tab.browser.find_element("css selector", "button[type=reset]").click()
    tab.wait("document.getElementById('status').textContent == '5,000 of 5,000 objects'")


def test_a_drag_over_bars_chooses_their_areas_and_a_number_its_cell(tab, written):
    from selenium.webdriver.common.action_chains import ActionChains

    areas = np.array(written[1])
    bars = tab.browser.find_elements("css selector", ".histogram button")
    names = [bar.get_attribute("aria-label") for bar in bars]
    first, last = (
        next(k for k, name in enumerate(names) if name.startswith(f"area {low} to "))
        for low in (32, 128)
    )
    drag = ActionChains(tab.browser).click_and_hold(bars[first]).move_to_element(bars[last])
    drag.release().perform()
    expected = int(((areas >= 32) & (areas < 182)).sum())
    assert tab.status == f"{expected:,} of 5,000 objects, area 32 to 181"
    cell = tab.browser.find_element("css selector", 'button[data-class="0"][data-size="2"]')
    number = cell.text
    cell.click()
    assert tab.status == f"{number} of 5,000 objects"
    assert tab.address == {"class": "0", "size": "large"}


def test_the_keyboard_moves_opens_turns_and_closes(tab):
    columns = tab.run(
        "return Math.round(grid.clientWidth / document.querySelector('.tile').offsetWidth)"
    )
    tab.press("\ue014")  # right
    assert tab.active == 2
    assert tab.run("return document.activeElement.id") == "grid"
    tab.press("\ue015")  # down
    assert tab.active == 2 + columns
    tab.press("\ue010")  # End
    assert tab.active == OBJECTS
    tab.press("\ue013", "\ue012")  # up, left
    assert tab.active == OBJECTS - columns - 1
    inside = tab.run(
        "const box = document.querySelector('.tile[aria-selected=true]').getBoundingClientRect();"
        "return box.top >= 0 && box.bottom <= innerHeight"
    )
    assert inside
    tab.press("\ue007")
    assert tab.run("return document.getElementById('large').open")
    tab.wait("document.querySelectorAll('#large image').length == 4")
    captions = tab.run(
        "return [...document.querySelectorAll('figcaption')].map(c => c.textContent)"
    )
    assert captions == ["photo", "truth", "A: shifted", "B: without"]
    tab.press("\ue014")
    assert tab.active == OBJECTS - columns
    linked = tab.run("return location.href")
    title = tab.run("return document.getElementById('large-title').textContent")
    tab.press("\ue00c")  # Esc
    assert not tab.run("return document.getElementById('large').open")
    tab.wait("document.activeElement.id == 'grid' && location.hash.length < 2")
    tab.browser.get("about:blank")
    tab.browser.get(linked)
    assert tab.run("return document.getElementById('large-title').textContent") == title
    assert tab.active == OBJECTS - columns


def test_the_order_is_by_what_is_asked_and_photos_can_be_alone(tab):
    tab.choose("order", "IA, A minus B")
    tab.browser.find_element("id", "descending").click()
    texts = tab.run(
        "return [...document.querySelectorAll('.tile .quiet')].map(p => p.textContent.slice(10))"
    )
    values = [float(text.replace("−", "-")) for text in texts]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.5  # where B, which lacks a class, is worst
    tab.press("p")
    outlines = "getComputedStyle(document.querySelector('.tile .truth')).display"
    assert tab.run(f"return {outlines}") == "none"
    assert tab.address == {"order": "difference", "descending": "yes", "plain": "yes"}
    tab.choose("order", "class")
    kinds = Counter(
        tab.run(
            "return [...document.querySelectorAll('.tile > p:first-of-type')]"
            ".map(p => p.textContent)"
        )
    )
    assert all(kind.startswith(HOSTILE) for kind in kinds)  # descending


def test_a_page_without_its_files_says_which_is_missing(browser, written, tmp_path):
    shutil.copy(written[0], tmp_path)
    shown(browser, tmp_path / "index.html", 1200)
    tab = Tab(browser)
    tab.wait("document.getElementById('status').textContent.startsWith('crops-0000.js is missing')")
    assert tab.tiles  # with the figures
    browser.get_log("browser")  # of the file


@pytest.mark.parametrize("width", [320, 400, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off(browser, written, width, scheme):
    shown(browser, written[0], width, scheme)
    tab = Tab(browser)
    root = "document.documentElement."
    assert tab.run(f"return {root}scrollWidth - {root}clientWidth") <= 0
    cut = tab.run(
        "return [...document.querySelectorAll('button, select, input, h1, h2, .histogram span')]"
        ".filter(e => { const b = e.getBoundingClientRect();"
        " return b.width > 0 && !e.closest('.scroll') && (b.left < 0 || b.right > innerWidth); })"
        ".map(e => e.outerHTML)"
    )
    assert cut == []
    ground = tab.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]
    assert browser.get_log("browser") == []
