"""The table that 'sbdata bench' prints at its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sbdata.benchmark.records import ResultRecord, Value
from sbdata.cli.bench import _show_results
from tests.benchmark.result_examples import result


def of_sizes(scored: str, **values: float) -> ResultRecord:
    """Return a result on a set with other sizes than small, medium and large."""
    found = result("irn", "ce", scored=scored)
    names = [f"ia_{size}" for size in values]
    own = replace(
        found.sets[scored],
        n_instances=dict.fromkeys(["ia", "ia_objects", *names], 10),
        n_classes=dict.fromkeys(["ia", "ia_objects", *names], 2),
        figures={
            "miou": Value(0.5),
            "ia.class_mean": Value(0.625),
            **{f"ia_{size}.class_mean": Value(value) for size, value in values.items()},
        },
    )
    return replace(found, sets={scored: own})


def test_each_value_stands_under_its_own_size(capsys: pytest.CaptureFixture[str]) -> None:
    """With the sizes small and large alone, large must not stand under medium."""
    written = {
        Path("r/one.json"): of_sizes("two-sizes", small=0.125, large=0.875),
        Path("r/other.json"): of_sizes("own-sizes", tiny=0.375, large=0.75),
    }
    _show_results(written, as_json=False)
    header, *rows = (line.split() for line in capsys.readouterr().out.splitlines() if line.strip())
    assert header[3:] == ["set", "miou", "ia", "ia_small", "ia_large", "ia_tiny"]
    assert next(row for row in rows if "two-sizes" in row)[3:] == [
        "two-sizes", "0.500", "0.625", "0.125", "0.875", "–",
    ]  # fmt: skip
    assert next(row for row in rows if "own-sizes" in row)[3:] == [
        "own-sizes", "0.500", "0.625", "–", "0.750", "0.375",
    ]  # fmt: skip
