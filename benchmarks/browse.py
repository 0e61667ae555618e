"""Writing the browse page of about 5,000 objects, and scrolling it in Chromium.

A set of 1,250 generated images is built. The script measures the CPU seconds and the peak memory of
writing its page, in a fresh process. Then a headless Chromium scrolls from the first object to the
last, 400 pixels a frame; the script reports the number of frames, the CPU time per frame of the
page's main thread, the tasks of over 50 ms of wall time (a user sees these as a stutter; on a busy
machine all tasks take longer), the longest of them, and the most tiles that existed at a time. This
part needs Chromium, chromedriver and selenium; without them it is left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

import harness

IMAGES = 1250  # of about four objects each

SCROLL = """
const done = arguments[0], long = [];
new PerformanceObserver(found => long.push(...found.getEntries().map(task => task.duration)))
  .observe({type: 'longtask'});
let frames = 0, tiles = 0, last = -1;
const step = () => {
  tiles = Math.max(tiles, document.querySelectorAll('.tile').length);
  if (scrollY === last) {
    setTimeout(() => done({frames, tiles, long_tasks: long.length,
      longest_ms: Math.round(Math.max(0, ...long)),
      reached: Math.max(...[...document.querySelectorAll('.tile')].map(tile => tile.ariaPosInSet))
    }), 500);
    return;
  }
  [frames, last] = [frames + 1, scrollY];
  scrollBy(0, 400);
  requestAnimationFrame(step);
};
requestAnimationFrame(step);
"""


def main() -> None:
    options = harness.parser(__doc__, quick=0.1, repeat=1).parse_args()
    scrolled: dict[str, Any] = {}
    figures = harness.compare(
        options,
        {"page": harness.Side(write)},
        lambda folder: prepare(folder, options),
        lambda folder: scrolled.update(scroll(folder)),
    )
    harness.report(options, figures, objects=figures[0].said["objects"], scrolling=scrolled)
    print("scrolling: " + ", ".join(f"{key} {value}" for key, value in scrolled.items()))
    if "reached" in scrolled and scrolled["reached"] != figures[0].said["objects"]:
        raise SystemExit("the last object was not reached")


def prepare(folder: Path, options: argparse.Namespace) -> None:
    from sbdata.curate.build import build_set
    from sbdata.curate.inputs import Inputs
    from sbdata.recipe import load_recipe

    images = max(2, round(IMAGES * options.scale))
    every = [f"sources.0.options={{seed: 0, pool: {images}, train: 1}}", "select=null"]
    recipe = load_recipe("shapes-b", [*every, "exclude_overlap_with=[]"])
    build_set(recipe, folder / "set", Inputs())


def write(folder: Path) -> dict[str, int]:
    from sbdata.report.browse import write_browse
    from sbdata.sets import open_set

    done = write_browse(open_set(folder / "set"), folder / "page")
    return {"objects": done.objects, "files": done.files, "bytes": done.size}


def scroll(folder: Path) -> dict[str, Any]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None or harness.installed("selenium") is None:
        return {"left out": "no Chromium with chromedriver, or no selenium"}
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless", "no-sandbox", "disable-gpu", f"user-data-dir={folder / 'profile'}"):
        options.add_argument(f"--{flag}")
    # Selenium would otherwise look for a newer driver over the network.
    service = Service(driver, env={**os.environ, "SE_OFFLINE": "true"})
    with webdriver.Chrome(options=options, service=service) as browser:
        browser.set_window_size(1200, 900)
        browser.set_script_timeout(300)
        browser.get((folder / "page" / "index.html").as_uri())
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        before = _cpu_of_tasks(browser)
        found: dict[str, Any] = browser.execute_async_script(SCROLL)
        spent = 1000 * (_cpu_of_tasks(browser) - before)
        return {"cpu_ms_per_frame": round(spent / found["frames"], 1), **found}


def _cpu_of_tasks(browser: Any) -> float:
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(float(m["value"]) for m in metrics if m["name"] == "TaskDuration")


if __name__ == "__main__":
    main()
