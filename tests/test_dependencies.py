"""Lower bounds of dependencies lie above known advisories and releases that compute otherwise."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1] / "pyproject.toml"

# First releases without the advisory: what it lets an input do, and where it is described.
FIRST_GOOD = {
    "filelock": "3.20.1",  # CVE-2025-68146: a lock file that is a link truncates its target
    "jinja2": "3.1.6",  # CVE-2024-22195, CVE-2025-27516: attributes of filters escape
    "orjson": "3.9.15",  # CVE-2024-27454: deeply nested JSON crashes
    "pillow": "10.3",  # CVE-2024-28219: overflow in ImageCms
    "requests": "2.32.4",  # CVE-2024-47081: .netrc passwords sent to another host
    "torch": "2.6",  # CVE-2025-32434: torch.load runs code despite weights_only
    "urllib3": "2.6",  # CVE-2025-66418, CVE-2025-66471: unbounded decompression
    "pyyaml": "5.4",  # CVE-2020-14343: full_load runs code
    "pyarrow": "14.0.1",  # CVE-2023-47248: reading Parquet may run code
}

# Releases before it sum the focal loss over the classes, where sbdata documents the mean.
FIRST_ALIKE = {"segmentation-models-pytorch": "0.6"}


def parts(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", release)[:3])


def bounds() -> dict[str, str]:
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    listed = [*project["dependencies"], *(line for lines in extras for line in lines)]
    found = (re.match(r"([\w-]+)(?:\[.*\])?>=([\d.]+)", line) for line in listed)
    return {match[1].lower(): match[2] for match in found if match}


@pytest.mark.parametrize("name", sorted(FIRST_GOOD | FIRST_ALIKE))
def test_a_bound_is_above_its_advisory(name: str) -> None:
    assert parts(bounds()[name]) >= parts((FIRST_GOOD | FIRST_ALIKE)[name])


@pytest.mark.parametrize("name", sorted(FIRST_GOOD))
def test_what_is_installed_is_above_it_too(name: str) -> None:
    try:
        found = version(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    assert parts(found) >= parts(FIRST_GOOD[name])
