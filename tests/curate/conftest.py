"""A tiny COCO-format dataset, and a local server that hands out its photos."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fetch.server import running

CATEGORIES = ((1, "cat"), (2, "dog"), (3, "kite"))
WIDTH, HEIGHT = 160, 120
ADDRESS = "http://photos.invalid/train2017/"


def photo(seed: int) -> bytes:
    """A JPEG that no other seed resembles."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8))
    stream = io.BytesIO()
    coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def rectangle(x: float, y: float, w: float, h: float) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


@dataclass
class CocoFolder:
    """A COCO-format folder that tests may change before they use it."""

    root: Path
    data: dict = field(default_factory=dict)

    @property
    def photos(self) -> Path:
        return self.root / "train2017"

    def save(self) -> None:
        path = self.root / "annotations" / "instances_train2017.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.data))


def write_coco(root: Path, images: int, *, seed: int = 0, with_photos: bool = True) -> CocoFolder:
    """Write ``images`` photos with 1-4 cats, dogs and kites of all sizes on each."""
    rng = np.random.default_rng(seed)
    folder = CocoFolder(root)
    listed, annotations = [], []
    folder.photos.mkdir(parents=True)
    for number in range(1, images + 1):
        name = f"{number:012d}.jpg"
        listed.append(
            {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT, "license": 1,
             "coco_url": ADDRESS + name}
        )  # fmt: skip
        if with_photos:
            (folder.photos / name).write_bytes(photo(number))
        for _ in range(rng.integers(1, 5)):
            side = int(rng.choice([8, 50, 105]))
            x, y = rng.integers(0, WIDTH - side), rng.integers(0, HEIGHT - side)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "iscrowd": 0,
                 "category_id": int(rng.integers(1, 4)), "area": side * side,
                 "bbox": [int(x), int(y), side, side],
                 "segmentation": rectangle(float(x), float(y), side, side)}
            )  # fmt: skip
    folder.data = {
        "images": listed,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in CATEGORIES],
        "licenses": [{"id": 1, "name": "CC BY 4.0", "url": "https://example.org/by"}],
    }
    folder.save()
    return folder


@pytest.fixture
def coco(tmp_path: Path) -> CocoFolder:
    return write_coco(tmp_path / "coco", 60)


@dataclass
class PhotoServer:
    """What a running server was asked for."""

    url: str
    asked: list[str]


@contextmanager
def serving(answer: Callable[[str], bytes | None]) -> Iterator[PhotoServer]:
    """Serve on 127.0.0.1 what ``answer`` gives for a file name; None is a 404."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            asked.append(name)
            data = answer(name)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output clean."""

    with running(Handler) as address:
        yield PhotoServer(f"{address}/", asked)
