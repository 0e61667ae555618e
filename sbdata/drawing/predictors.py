"""Figure of predictors side by side: one image with their predictions, and bars of their values."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from sbdata.drawing.mask_paths import filled, outlined
from sbdata.drawing.strategies import series_class
from sbdata.drawing.svg import WIDE, Figure, element, figure, line, rect, text
from sbdata.formatting import caption, estimate
from sbdata.masks import VOID, LabelMap

_GAP = 12  # pixels between panels
_PHOTO_SIDE = 240  # longer side of the embedded photo, in pixels
_QUALITY = 75
_LEFT = 28  # left end of the bars' axis
_BARS = 130  # height of a bar of value 1


@dataclass(frozen=True)
class ShownPredictor:
    """Predictor in the figure.

    Attributes:
        name: Name above its panel and in the legend.
        prediction: Its classes in the shown image, ``(H, W)`` uint8; 0 is background.
        values: Its values between 0 and 1 over all images, by key of the metric.
    """

    name: str
    prediction: LabelMap
    values: Mapping[str, float | None]


def predictors_figure(
    title: str,
    photo: npt.NDArray[np.uint8],
    instance_map: LabelMap,
    predictors: Sequence[ShownPredictor],
) -> Figure:
    """Draw one image, its truth and its predictions, and the values of each predictor as bars.

    The outlines are those of the true instances in every panel, the fill is what is predicted.

    Args:
        title: First line of the figure.
        photo: Photo, uint8 ``(H, W, 3)``.
        instance_map: True instances, ``(H, W)`` uint8; 0 is background and 255 void.
        predictors: Predictors with the same keys of values.
    """
    tall, wide = instance_map.shape
    panels = len(predictors) + 2
    width = (WIDE - _GAP * (panels - 1)) / panels
    height = width * tall / wide
    image = element("image", id="photo", href=_data_uri(photo), width=wide, height=tall)
    outlines = [
        outlined(instance_map == k, "truth", wide / 200)
        for k in np.unique(instance_map).tolist()
        if k not in (0, VOID)
    ]
    # Within a copy, rules of the style sheet apply only below an element of the class itself.
    drawn = element("g", *outlines, id="outlines", class_="chart")
    again = element("use", href="#outlines")
    truth = (instance_map > 0) & (instance_map != VOID)
    shown: list[tuple[str, list[Markup | str]]] = [
        ("image", []),
        ("truth", [filled(truth, "predicted"), drawn]),
        *(
            (p.name, [filled(p.prediction > 0, f"predicted {_series(k)}"), again])
            for k, p in enumerate(predictors)
        ),
    ]
    top = 34
    parts = [text(0, 13, title, "start strong")]
    for k, (name, marks) in enumerate(shown):
        left = k * (width + _GAP)
        parts.append(text(left, top + 10, name, "start"))
        parts.append(
            element(
                "svg",
                image if k == 0 else element("use", href="#photo"),
                *marks,
                x=left,
                y=float(top + 16),
                width=width,
                height=height,
                viewBox=f"0 0 {wide} {tall}",
            )
        )
    below = top + 16 + height + 18
    note = "Outline: true objects. Fill: pixels marked as an object."
    parts += [text(0, below, note, "start quiet fine"), *_legend(predictors, below + 26)]
    bars_top = below + 56
    parts += _bars(predictors, bars_top, bars_top + _BARS)
    said = "; ".join(
        f"{p.name}: " + ", ".join(f"{caption(k)} {estimate(k, v)}" for k, v in p.values.items())
        for p in predictors
    )
    return figure(f"{title}. {said}.", WIDE, bars_top + _BARS + 28, parts)


def _data_uri(photo: npt.NDArray[np.uint8]) -> str:
    image = Image.fromarray(photo)
    image.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE))
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _legend(predictors: Sequence[ShownPredictor], y: float) -> list[Markup]:
    parts = []
    for k, predictor in enumerate(predictors):
        x = _LEFT + 190 * k
        swatch = rect(x, y - 10, 12, 12, "mark")
        parts += [element("g", swatch, class_=_series(k)), text(x + 18, y, predictor.name, "start")]
    return parts


def _bars(predictors: Sequence[ShownPredictor], top: float, bottom: float) -> list[Markup]:
    parts = []
    for share in (0, 0.5, 1):
        y = bottom - (bottom - top) * share
        parts.append(line(_LEFT, y, WIDE, y, "grid"))
        parts.append(text(_LEFT - 6, y + 4, f"{share:g}", "end quiet"))
    keys = list(predictors[0].values)
    group = (WIDE - _LEFT) / len(keys)
    width = group * 0.62 / len(predictors)
    for k, key in enumerate(keys):
        middle = _LEFT + group * (k + 0.5)
        parts.append(text(middle, bottom + 18, caption(key), "middle strong"))
        for n, predictor in enumerate(predictors):
            value = predictor.values[key]
            x = middle + (n - len(predictors) / 2) * width
            tall = (bottom - top) * (value or 0.0)
            title = element("title", f"{predictor.name}, {caption(key)}: {estimate(key, value)}")
            bar = rect(x + 1, bottom - tall, width - 2, tall, "mark")
            parts.append(element("g", title, bar, class_=_series(n)))
            parts.append(
                text(x + width / 2, bottom - tall - 4, estimate(key, value), "middle fine")
            )
    return parts


def _series(place: int) -> str:
    """Return the CSS classes of a predictor: blue, green, orange."""
    return series_class(place + 1)
