"""Imported masks go through the bench as any method's do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sbdata.benchmark.config import BenchmarkConfig
from sbdata.benchmark.records import read_result
from sbdata.benchmark.run import plan_bench, run_bench
from sbdata.errors import InputError
from sbdata.importers.folder import Request, import_masks
from sbdata.importers.target import target_of_set
from tests.benchmark.conftest import Sets


def test_imported_truth_trains_what_the_ceiling_does(
    plan: Callable[..., BenchmarkConfig],
    sets: Sets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work, results = tmp_path / "work", tmp_path / "results"
    folder = work / "imports" / "truth"
    request = Request(sets.training / "SegmentationClass", target_of_set(sets.training), "truth")
    import_masks(request, folder)
    methods = ("import:truth", "full")
    files = run_bench(plan(methods=methods), work, results, device="cpu", threads=1)
    assert [f.name[:-14] for f in files] == ["import-truth.ce.seed0", "full.ce.seed0"]
    imported, ceiling = map(read_result, files)
    assert imported.sets["three"].figures == ceiling.sets["three"].figures
    assert imported.sets["three"].predictions == ceiling.sets["three"].predictions
    assert (imported.supervision, imported.control) == (("unknown",), False)
    assert imported.paper == "imported masks: unnamed source"
    assert imported.method_settings["masks"]["layout"] == "index-pictures"
    assert imported.pseudo is not None
    assert imported.pseudo["figures"]["miou"]["value"] == 1

    # Its path names the same masks, so nothing of it is computed again, from whatever folder.
    monkeypatch.chdir(tmp_path)
    again = plan(methods=("import:work/imports/truth",))
    assert again.methods == (f"import:{folder}",)
    rows = {row.task.name: row.done for row in plan_bench(again, work)}
    assert rows["import-truth, seed 0: masks"]
    assert rows["import-truth, seed 0, ce: train"]
    with pytest.raises(InputError, match="duplicate import name"):
        plan_bench(plan(methods=("import:truth", f"import:{folder}")), work)
    with pytest.raises(InputError, match=r"no such import \(existing: truth"):
        plan_bench(plan(methods=("import:other",)), work)


@pytest.mark.parametrize("used", ["import:truth", "stripes"])
def test_masks_of_other_classes_are_refused(
    plan: Callable[..., BenchmarkConfig], sets: Sets, tmp_path: Path, used: str
) -> None:
    """The ids may be those of the training set, and a number may stand for another class."""
    work = tmp_path / "work"
    folder = work / "imports" / "truth"
    request = Request(sets.training / "SegmentationClass", target_of_set(sets.training), "truth")
    import_masks(request, folder)
    config = plan(methods=(used,), pseudo={used: folder} if used == "stripes" else {})
    assert plan_bench(config, work)
    record = json.loads((folder / "import.json").read_text())
    record["classes"] = record["classes"][::-1]
    (folder / "import.json").write_text(json.dumps(record))
    with pytest.raises(
        InputError, match=r"other classes \(.*, \.\.\.\) than the training set .*six"
    ):
        plan_bench(config, work)
