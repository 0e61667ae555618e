"""Scoring: a folder of predictions against a set, to tables, values and a report.

The package can be called: ``sbdata.score(preds, target_set)`` is :func:`sbdata.score.api.score`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sbdata.score.result import ScoreResult


class _CallableModule(ModuleType):
    """``sbdata.score`` is this package and, as the public function, can be called."""

    def __call__(self, *arguments: Any, **options: Any) -> ScoreResult:
        from sbdata.score.api import score

        return score(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule
