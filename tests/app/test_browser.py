"""`sbdata app` in a real browser: the grid, the panel, and what a click does.

Chromium and its driver are looked for on this machine; where they, FiftyOne or a `mongod` are
absent, these tests are skipped and say so.
"""

from __future__ import annotations

import json
import math
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
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from sbdata.app.database import find_mongod, free_port
from sbdata.errors import InputError
from sbdata.manifest import read_manifest
from sbdata.score.run import ScoreOptions, score_folder
from sbdata.score.truth import truth_from_set
from sbdata.score.write import write_result
from sbdata.sets import EvaluationSet, open_set

pytestmark = [pytest.mark.browser, pytest.mark.slow]

START_SECONDS = 300  # of a process that imports FiftyOne and loads a set, on a busy machine
ANSWER_SECONDS = 180
TYPE_SECONDS = 30  # before a form that was not taken is filled in again
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
BARS, CELLS, OUTCOMES, SIZES, CURVE, DIFFERENCES = range(6)  # places of the plots in the panel
FONTS = {"fonts.googleapis.com", "fonts.gstatic.com"}  # that FiftyOne's page names
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost", "None"}

# Every Python process of the app runs this first, and notes each host that it looks up or calls.
WATCH = """
import os, sys

def note(event, values):
    if event in ("socket.connect", "socket.sendto"):
        place = values[1][0] if isinstance(values[1], tuple) else "localhost"  # a socket's file
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        place = values[0]
    else:
        return
    place = place.decode() if isinstance(place, bytes) else place
    with open(os.environ["SBDATA_TEST_CALLS"], "a") as log:
        log.write(f"{os.getpid()} {place}\\n")

sys.addaudithook(note)
"""


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


@dataclass
class App:
    """A running `sbdata app`.

    Attributes:
        address: where it is.
        calls: a file with the process and the host of everything that Python code connected to.
        peers: the hosts that any of its processes, the database's too, were seen connected to.
        names: of those processes.
    """

    address: str
    calls: Path
    peers: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def look(self, process: Any) -> None:
        """Note to whom its processes are connected just now."""
        import psutil

        for one in (process, *process.children(recursive=True)):
            try:
                self.names.add(one.name())
                found = one.net_connections("inet")
            except psutil.Error:  # it has ended meanwhile
                continue
            self.peers.update(each.raddr.ip for each in found if each.raddr)


@pytest.fixture(scope="module")
def app(
    opened: EvaluationSet, run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    """A running `sbdata app`, watched for whom it calls."""
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
        "SBDATA_TEST_CALLS": str(home / "calls"),
        "PYTHONPATH": os.pathsep.join([str(home), *filter(None, [kept.get("PYTHONPATH")])]),
    }
    (home / "sitecustomize.py").write_text(WATCH)
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
    found = App(f"http://127.0.0.1:{port}", home / "calls")
    is_over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(found, process.pid, is_over))
    watcher.start()
    try:
        said = _wait_until_it_serves(process)
        if said is not None:
            pytest.fail(f"the app did not start:\n{said}")
        yield found
    finally:
        is_over.set()
        watcher.join()
        _end(process)


def _watch(app: App, pid: int, is_over: threading.Event) -> None:
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(pid)
        while not is_over.wait(1):
            app.look(process)


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
def requests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chromium's log of its network."""
    return tmp_path_factory.mktemp("chromium") / "requests.json"


@pytest.fixture(scope="module")
def driver(requests: Path) -> Iterator[Any]:
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
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader", f"--log-net-log={requests}",
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
        """Wait until something is so, through whatever the page replaces meanwhile."""
        from selenium.common.exceptions import StaleElementReferenceException

        def is_so_now() -> bool:
            try:
                return is_so()
            except (IndexError, StaleElementReferenceException):
                return False

        until = time.monotonic() + ANSWER_SECONDS
        while not is_so_now():
            if time.monotonic() > until:
                pytest.fail(f"{what}: not so after {ANSWER_SECONDS} s; the page says:\n{self.text}")
            time.sleep(0.3)

    def until_samples(self, n: int) -> None:
        """Wait until the grid says how many images it has."""
        pattern = re.compile(rf"^{n:,} samples?$", re.MULTILINE)
        self.until(lambda: bool(pattern.search(self.text)), f"{n} samples in the grid")

    def plots(self) -> list[Any]:
        """Return the plots of the panel."""
        return list(self.driver.find_elements("css selector", ".js-plotly-plot"))

    def click_at(self, plot: Any, x: str, y: str) -> None:
        """Click on a place of a plot, given by JavaScript of its axes ``f``."""
        self.dismiss_advertisements()
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

    def dismiss_advertisements(self) -> None:
        """Take away FiftyOne's own, which covers a corner of the panel."""
        from selenium.common.exceptions import WebDriverException

        for advertisement in self.driver.find_elements("xpath", "//*[text()='Dismiss']"):
            with suppress(WebDriverException):  # it comes and goes as it likes
                advertisement.click()

    def click(self, xpath: str) -> None:
        """Click on an element, once it is there and nothing covers it."""
        from selenium.common.exceptions import (
            ElementClickInterceptedException,
            ElementNotInteractableException,
        )

        def is_clicked() -> bool:
            self.dismiss_advertisements()
            for element in self.driver.find_elements("xpath", xpath)[:1]:
                with suppress(ElementClickInterceptedException, ElementNotInteractableException):
                    element.click()
                    return True
            return False

        self.until(is_clicked, f"a click on {xpath}")

    def close(self, xpath: str) -> None:
        """Click on a button until it is gone, by this or because FiftyOne loaded the set again."""
        from selenium.common.exceptions import WebDriverException

        def is_gone() -> bool:
            buttons = self.driver.find_elements("xpath", xpath)
            for button in buttons[:1]:
                with suppress(WebDriverException):  # covered, or gone meanwhile
                    button.click()
            return not buttons

        self.until(is_gone, f"{xpath} is gone")

    def find(self, xpath: str) -> Any:
        """Return an element, once it is there."""
        found: list[Any] = []

        def is_there() -> bool:
            found[:] = self.driver.find_elements("xpath", xpath)
            return bool(found)

        self.until(is_there, xpath)
        return found[0]

    def operator(self, label: str, **fields: object) -> None:
        """Find an operator by the key for all of them, fill in its form and start it."""
        from selenium.webdriver.common.action_chains import ActionChains

        self.dismiss_advertisements()
        ActionChains(self.driver).send_keys("`").perform()
        self.find("//input[@data-cy='operators-browser-search']").send_keys(label)
        self.click(f"//*[normalize-space(text())='{label}']")
        execute = "//button[normalize-space()='Execute']"
        self.find(execute)
        typed = -math.inf

        def is_taken() -> bool:
            """Fill in the form, again if the page has lost what was typed on a busy machine."""
            nonlocal typed
            if time.monotonic() > typed + TYPE_SECONDS:
                for name, value in fields.items():
                    self._type(name, str(value))
                typed = time.monotonic()
            return bool(self.find(execute).is_enabled())

        self.until(is_taken, "the form is filled in")
        self.click(execute)

    def _type(self, name: str, value: str) -> None:
        """Type a value into a field of the form in place of what is there."""
        from selenium.webdriver.common.keys import Keys

        form = f"//*[normalize-space(text())='{name}']/ancestor::*[.//input][1]//input"
        entry = self.find(form)
        entry.send_keys(Keys.CONTROL, "a")
        entry.send_keys(value)
        self.until(lambda: self.find(form).get_property("value") == value, name)


@pytest.fixture(scope="module")
def page(driver: Any, app: App) -> Page:
    """The page, when the panel has drawn its plots."""
    driver.get(app.address)
    page = Page(driver)
    page.until(lambda: len(page.plots()) == CURVE + 1, "the plots of one run in the panel")
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


def test_the_panel_draws_every_plot_at_its_width_with_no_label_cut(page: Page) -> None:
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
    page.click_at(page.plots()[BARS], small, strip)
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
    page.click_at(page.plots()[CELLS], across, f"f.yaxis._offset + f.yaxis.d2p('{label}')")
    page.until_samples(len(set(found)))
    said = f"shown: {label}, large, {_counted(found)}"
    page.until(lambda: said in " ".join(page.text.split()), said)
    page.click("//*[text()='Show all objects']")
    page.until_samples(len(opened))
    page.until(lambda: "shown:" not in page.text, "nothing chosen")


def test_a_click_on_an_outcome_shows_the_images_that_the_table_gives(
    page: Page, opened: EvaluationSet, run: Path
) -> None:
    rows = pq.read_table(run / "instances.parquet").to_pylist()
    by_size = {
        size: [r["image_id"] for r in rows if (r["size"], r["outcome"]) == (size, "missed")]
        for size in opened.bins.names
    }
    size = next(s for s in by_size if 0 < len(set(by_size[s])) < len(opened))
    place, found = opened.bins.names.index(size), by_size[size]
    at_the_end = "f.xaxis._offset + f.xaxis.d2p(0.98)"  # of a bar that is found, then missed
    page.click_at(page.plots()[OUTCOMES], at_the_end, f"f.yaxis._offset + f.yaxis.d2p({place})")
    page.until_samples(len(set(found)))
    said = f"shown: {size}, missed in only_one, {_counted(found)}"
    page.until(lambda: said in " ".join(page.text.split()), said)
    page.click("//*[text()='Show all objects']")
    page.until_samples(len(opened))


def test_a_saved_view_shows_the_images_that_the_manifest_gives(
    page: Page, opened: EvaluationSet
) -> None:
    found = set(_places(opened, size="small"))
    page.click("//*[@data-cy='saved-views-selection-container']")
    page.click("//*[@data-cy='saved-views-small-objects-selection-option']")
    page.until_samples(len(found))
    page.click("//*[@data-cy='saved-views-btn-selection-clear']")
    page.until_samples(len(opened))


def test_the_sidebar_has_sliders_of_area_and_scores(page: Page) -> None:
    page.click("//*[@data-cy='sidebar-field-arrow-enabled-instances']")
    for name in ("area", "ia_iou_only_one"):
        container = f"//*[@data-cy='numeric-slider-container-instances-detections-{name}']"
        page.find(f"{container}//*[@data-cy='slider']")


def test_a_folder_is_scored_in_the_app_and_drawn_beside_the_run(
    page: Page, opened: EvaluationSet, tmp_path: Path
) -> None:
    folder = tmp_path / "nothing at all"
    folder.mkdir()
    for row in opened.manifest.images.to_pylist():
        blank = Image.new("L", (row["width"], row["height"]))
        blank.save(folder / f"{row['image_id']}.png")
    page.operator("Score predictions", Predictions=folder, Results=tmp_path / "scores")
    said = "nothing at all: scored and attached"
    page.until(lambda: said in page.text, said)
    assert (tmp_path / "scores" / "nothing at all" / "summary.json").is_file()
    page.close("//button[normalize-space()='Done']")

    def drawn() -> list[str]:
        return list(
            page.driver.execute_script(
                "return (arguments[0].data || []).filter(t => (t.mode || '').includes('markers'))"
                ".map(t => t.name)",
                page.plots()[CURVE],
            )
        )

    page.until(lambda: drawn() == ["only one", "nothing at all"], "two lines of IA")
    page.until(lambda: len(page.plots()) == DIFFERENCES + 1, "the differences of the two runs")
    assert "only one − nothing at all" in page.plots()[DIFFERENCES].text
    assert "A minus B" in page.plots()[DIFFERENCES].text


def test_the_images_that_are_shown_are_exported_as_a_manifest(
    page: Page, opened: EvaluationSet, tmp_path: Path
) -> None:
    label = opened.taxonomy.classes[0]
    found = set(_places(opened, class_name=label, size="large"))
    across = "f.xaxis._offset + f.xaxis.d2p('large')"
    page.click_at(page.plots()[CELLS], across, f"f.yaxis._offset + f.yaxis.d2p('{label}')")
    page.until_samples(len(found))
    page.operator("Export view as a manifest", Name="picked", Folder=tmp_path)
    page.until(lambda: "Build it by" in page.text, "the new manifest is written")
    page.click("//button[normalize-space()='Close']")
    assert set(read_manifest(tmp_path / "picked").images["image_id"].to_pylist()) == found


# The last tests are of all that went before.


def test_the_page_asks_its_own_server_alone_and_for_web_fonts(
    page: Page, app: App, requests: Path
) -> None:
    asked = []
    for line in requests.read_text(errors="replace").splitlines():
        with suppress(ValueError):  # the last line, which is being written
            values = json.loads(line.rstrip().rstrip(",")).get("params") or {}
            if values.get("initiator") == app.address:  # not Chromium's own business
                asked.append(values["url"])
    assert len(asked) > 50
    assert any("/operators/" in url for url in asked)
    others = {url.split("/")[2] for url in asked if not url.startswith((app.address, "data:"))}
    assert others <= FONTS


def test_no_process_of_the_app_calls_anyone(page: Page, app: App) -> None:
    calls = [line.split(" ", 1) for line in app.calls.read_text().splitlines()]
    assert len({pid for pid, _ in calls}) > 1  # the command and FiftyOne's server
    assert {host for _, host in calls} <= LOOPBACK
    assert "mongod" in app.names
    assert app.peers <= LOOPBACK
    assert app.peers
