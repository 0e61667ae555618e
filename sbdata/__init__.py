"""sbdata: how well does a segmentation method see small objects?

The metric ``ia_iou.v2`` and the loss ``sb_ce.v2`` are those of the released code of Mun et al.,
"Small Objects Matters in Weakly-Supervised Semantic Segmentation" (WACV 2024). The authors' image
list was not released, so the set ``pascal_b.v1`` is this project's own recipe.

The public API is what ``__all__`` of this module, of :mod:`sbdata.metrics` and of
:mod:`sbdata.losses` lists. Everything else is internal and may change in any release.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sbdata.compiled_code import keep_compiled_code

if TYPE_CHECKING:
    from sbdata.curate.api import build_set as build_set
    from sbdata.errors import InputError as InputError
    from sbdata.score.api import compare as compare
    from sbdata.score.api import score as score
    from sbdata.sets import open_set as open_set
    from sbdata.sizes import SizeBins as SizeBins

__version__ = "0.2.0"

__all__ = ["InputError", "SizeBins", "__version__", "build_set", "compare", "open_set", "score"]

_HOMES = {
    "InputError": "sbdata.errors",
    "SizeBins": "sbdata.sizes",
    "build_set": "sbdata.curate.api",
    "compare": "sbdata.score.api",
    "open_set": "sbdata.sets",
    "score": "sbdata.score",
}

keep_compiled_code()


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that ``import sbdata`` stays fast."""
    if name not in _HOMES:
        msg = f"module 'sbdata' has no attribute {name!r}"
        raise AttributeError(msg)
    home = import_module(_HOMES[name])
    return home if name == "score" else getattr(home, name)  # the package is callable


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
