"""From nothing to a built set in two commands, with every host on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.sources.miniatures import publish, serving


def sbdata(folder: Path, *arguments: object, status: int = 0) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "sbdata", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_fetch_then_build(tmp_path: Path) -> None:
    build = ("dataset", "build", "pascal-b", "--set", "select.quota=2", "--workers", "1", "--json")
    said = sbdata(tmp_path, *build, status=2).stderr
    assert "sbdata sources fetch coco" in said
    with serving(publish(tmp_path / "published")) as site:
        mirrors = ("--mirror", f"https://={site.address}", "--mirror", f"http://={site.address}")
        fetch = ("sources", "fetch", "--registry", site.registry, *mirrors, "--json")
        fetched = json.loads(sbdata(tmp_path, *fetch, "voc", "sbd", "coco", "lvis").stdout)
        assert [made["images"] for made in fetched["derived"]] == [8, 6]
        built = json.loads(sbdata(tmp_path, *build, *mirrors[2:]).stdout)
    assert built["after"]["images"] > 0
    assert all(check["checked"] for check in built["leakage"])
    assert all(other["statistics"] for other in built["compared"])
    again = json.loads(sbdata(tmp_path, "dataset", "stats", "voc-val", "--json").stdout)
    assert again["images"] == 2
    sbdata(tmp_path, "dataset", "verify", tmp_path / "data" / "pascal-b")
