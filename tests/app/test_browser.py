"""`sbdata app` in a real browser: the grid, the panel, and what a click does.

Chromium and its driver are looked for on this machine; where they, FiftyOne or a `mongod` are
absent, these tests are skipped and say so.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sbdata.app.database import find_mongod, free_port
from sbdata.errors import InputError
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.score.write import write_result
from sbdata.sets import EvaluationSet, open_set

pytestmark = [pytest.mark.browser, pytest.mark.slow]

START_SECONDS = 300  # of a process that imports FiftyOne and loads a set, on a busy machine
ANSWER_SECONDS = 180
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def opened(shapes_set: Path) -> EvaluationSet:
    return open_set(shapes_set)


@pytest.fixture(scope="module")
def run(opened: EvaluationSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored run that finds every pixel of class 1 and nothing else."""
    folder = tmp_path_factory.mktemp("predictions")
    for image_id in opened:
        values = opened.class_map(image_id)
        Image.fromarray(values * (values == 1)).save(folder / f"{image_id}.png")
    truth = truth_from_set(opened.root)
    scored = score_folder(folder, truth, ScoreOptions(resamples=0), name="only one")
    return write_result(scored, tmp_path_factory.mktemp("scores"))


@pytest.fixture(scope="module")
def address(
    opened: EvaluationSet, run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where a running `sbdata app` is."""
    if find_spec("fiftyone") is None:
        pytest.skip("FiftyOne is not installed")
    try:
        find_mongod()
    except InputError as error:
        pytest.skip(str(error))
    home = tmp_path_factory.mktemp("app")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FIFTYONE_")}
    own = {
        "FIFTYONE_CONFIG_PATH": str(home / "config.json"),
        "FIFTYONE_APP_CONFIG_PATH": str(home / "app_config.json"),
        "FIFTYONE_DEFAULT_DATASET_DIR": str(home / "datasets"),
    }
    port = free_port()
    command = [sys.executable, "-m", "sbdata", "app", str(opened.root), "--scores", str(run)]
    command += ["--port", str(port), "--app-data", str(home / "data")]
    process = subprocess.Popen(
        command,
        env={**kept, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = _wait_until_it_serves(process)
    if said is not None:
        _end(process)
        pytest.fail(f"the app did not start:\n{said}")
    yield f"http://127.0.0.1:{port}"
    _end(process)


def _wait_until_it_serves(process: subprocess.Popen[str]) -> str | None:
    """Return what it said if it does not come up in time."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    until, said = time.monotonic() + START_SECONDS, ""
    while time.monotonic() < until:
        try:
            line = lines.get(timeout=1)
        except queue.Empty:
            continue
        if line is None:
            break
        said += line
        if re.search(r" at http://127\.0\.0\.1:\d+", line):
            return None
    return said


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(120)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    """A headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if binary is None:
        pytest.skip("no Chromium here; install it by `apt-get install chromium chromium-driver`")
    own = shutil.which("chromedriver")
    if own is None:
        pytest.skip("no chromedriver here; install it by `apt-get install chromium-driver`")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1500,1100",
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    ):  # fmt: skip
        options.add_argument(argument)
    service = webdriver.ChromeService(own)
    with webdriver.Chrome(options=options, service=service) as browser:
        yield browser


class Page:
    """The app's page."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    @property
    def text(self) -> str:
        return str(self.driver.execute_script("return document.body.innerText"))

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait until something is so."""
        until = time.monotonic() + ANSWER_SECONDS
        while not is_so():
            if time.monotonic() > until:
                pytest.fail(f"{what}: not so after {ANSWER_SECONDS} s; the page says:\n{self.text}")
            time.sleep(0.3)

    def until_samples(self, n: int) -> None:
        """Wait until the grid says how many images it has."""
        pattern = re.compile(rf"^{n:,} samples?$", re.MULTILINE)
        self.until(lambda: bool(pattern.search(self.text)), f"{n} samples in the grid")

    def plots(self) -> list[Any]:
        """Return the figures of the panel."""
        return list(self.driver.find_elements("css selector", ".js-plotly-plot"))

    def click_at(self, plot: Any, x: str, y: str) -> None:
        """Click on a place of a figure, given by JavaScript of its axes ``f``."""
        for advertisement in self.driver.find_elements("xpath", "//*[text()='Dismiss']"):
            advertisement.click()  # FiftyOne's own; it covers a corner of the panel
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
        left, top = self.driver.execute_script(
            "const f = arguments[0]._fullLayout, r = arguments[0].getBoundingClientRect();"
            f"return [r.left + {x}, r.top + {y}]",
            plot,
        )
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.driver)
        chain.w3c_actions.pointer_action.move_to_location(round(left), round(top))
        chain.pause(0.5).click().perform()


@pytest.fixture(scope="module")
def page(driver: Any, address: str) -> Page:
    """The page, when the panel has drawn its figures."""
    driver.get(address)
    page = Page(driver)
    page.until(lambda: len(page.plots()) == 3, "three figures in the panel")
    return page


def _places(opened: EvaluationSet, **wanted: str) -> list[str]:
    """Return the images of the objects of a class and size, one an object."""
    rows = opened.manifest.instances.to_pylist()
    return [row["image_id"] for row in rows if all(row[k] == v for k, v in wanted.items())]


def _counted(found: list[str]) -> str:
    numbers = ((len(found), "object"), (len(set(found)), "image"))
    return " in ".join(f"{n:,} {word}{'s' * (n != 1)}" for n, word in numbers)


def test_the_grid_shows_every_image(page: Page, opened: EvaluationSet) -> None:
    page.until_samples(len(opened))


def test_the_panel_draws_every_figure_at_its_width_with_no_label_cut(page: Page) -> None:
    for plot in page.plots():
        cut, marks, width, room = page.driver.execute_script(
            """
            const plot = arguments[0], frame = plot.getBoundingClientRect();
            const texts = [...plot.querySelectorAll('svg text')].filter(t => t.textContent.trim());
            const cut = texts.filter(t => {
              const r = t.getBoundingClientRect();
              return r.width && (r.left < frame.left - 1 || r.right > frame.right + 1
                || r.top < frame.top - 1 || r.bottom > frame.bottom + 1);
            });
            const marks = plot.querySelectorAll('.bars path, .heatmaplayer image, .points path');
            return [cut.map(t => t.textContent), marks.length, frame.width,
                    plot.parentElement.clientWidth];
            """,
            plot,
        )
        assert cut == []
        assert marks > 0
        assert width == pytest.approx(room, abs=2)
        assert width > 300


def test_a_click_on_small_shows_the_images_that_the_manifest_gives(
    page: Page, opened: EvaluationSet
) -> None:
    found = _places(opened, size="small")
    assert 0 < len(set(found)) < len(opened)  # or the click would change nothing
    strip = "f.yaxis2._offset + f.yaxis2._length / 2"
    small = "f.xaxis._offset + f.xaxis.d2p(Math.log2(1024)) / 2"
    page.click_at(page.plots()[0], small, strip)
    page.until_samples(len(set(found)))
    said = f"shown: small, {_counted(found)}"
    page.until(lambda: said in " ".join(page.text.split()), said)


def test_a_click_on_a_cell_takes_its_place_and_a_button_shows_all_again(
    page: Page, opened: EvaluationSet
) -> None:
    label = opened.taxonomy.classes[0]
    found = _places(opened, class_name=label, size="large")
    assert 0 < len(set(found)) < len(opened)
    across = "f.xaxis._offset + f.xaxis.d2p('large')"
    page.click_at(page.plots()[1], across, f"f.yaxis._offset + f.yaxis.d2p('{label}')")
    page.until_samples(len(set(found)))
    said = f"shown: {label}, large, {_counted(found)}"
    page.until(lambda: said in " ".join(page.text.split()), said)
    page.driver.find_element("xpath", "//*[text()='Show all objects']").click()
    page.until_samples(len(opened))
    page.until(lambda: "shown:" not in page.text, "nothing chosen")


def test_nothing_is_sent_to_anyone_but_the_page_itself(page: Page, address: str) -> None:
    """Its own server, and web fonts that FiftyOne's page names; no tracking."""
    asked = page.driver.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    others = {name.split("/")[2] for name in asked if not name.startswith((address, "data:"))}
    assert len(asked) > 10
    assert others <= {"fonts.googleapis.com", "fonts.gstatic.com"}
