"""Result files become entries; what is no result is passed over or refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sbdata.benchmark.entries import read_records
from sbdata.errors import InputError
from tests.benchmark.result_examples import pseudo, result, write


def test_only_results_are_read(tmp_path: Path) -> None:
    write(tmp_path / "run", [result("irn", "ce")])
    (tmp_path / "other.json").write_text('{"format": "sbdata.leaderboard.v1"}')
    assert len(read_records([tmp_path])[0]) == 1
    with pytest.raises(InputError, match=r"other\.json: not a result"):
        read_records([tmp_path / "other.json"])
    later = tmp_path / "later.json"
    later.write_text('{"format": "sbdata.result.v3"}')
    with pytest.raises(InputError, match=r"later\.json: format 'sbdata\.result\.v3'"):
        read_records([tmp_path])
    for kind in ("result", "differences"):
        later.write_text(f'{{"format": "sbdata.{kind}.v1"}}')
        with pytest.raises(InputError, match=r"later\.json: made with ia_iou\.v1 and sb_ce\.v1"):
            read_records([tmp_path])
    later.write_text("{")
    with pytest.raises(InputError, match=r"later\.json: not a readable JSON file"):
        read_records([tmp_path])
    with pytest.raises(InputError, match="nowhere: no such file"):
        read_records([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no result of format"):
        read_records([tmp_path / "empty"])


def test_pseudo_masks_are_read_with_the_share_lost_by_stage_and_size(tmp_path: Path) -> None:
    write(tmp_path, [result("irn", "ce", pseudo=pseudo(0.25, seeds_kept=6, masks_kept=0))])
    ((entry,), _) = read_records([tmp_path])
    assert not entry.true_masks
    assert entry.pseudo is not None
    assert entry.pseudo.figures["ia_small.instance_mean"] == 0.3125
    assert entry.pseudo.lost == {
        "seeds": {"small": 0.25, "medium": 0.0, "large": None},
        "masks": {"small": 1.0, "medium": 0.0, "large": None},
    }


def test_who_trained_on_true_masks_is_told_from_who_has_no_figures(tmp_path: Path) -> None:
    write(tmp_path, [result("full", "ce", true_masks=True), result("irn", "ce")])
    found = {
        entry.method: (entry.true_masks, entry.pseudo) for entry in read_records([tmp_path])[0]
    }
    assert found == {"full": (True, None), "irn": (False, None)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": None}, "pseudo: metric must be str"),
        ({"n_instances": {"ia": "many"}}, "pseudo: n_instances.ia must be int"),
        ({"n_classes": {"ia": 3}}, "pseudo: the numbers of classes are not of the same sizes"),
        ({"lost": [{"small": {"n": 1, "kept": 1}}]}, "pseudo: lost: stage must be str"),
        ({"lost": [{"stage": "seeds", "small": {"n": 1}}]}, "seeds.small: missing key 'kept'"),
        ({"lost": [{"stage": "seeds", "small": {"n": 1, "kept": 2}}]}, "2 of 1 instances are kept"),
    ],
)
def test_damaged_figures_of_pseudo_masks_are_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    write(tmp_path, [result("irn", "ce", pseudo=pseudo(**change))])
    with pytest.raises(InputError, match=re.escape(said)) as raised:
        read_records([tmp_path])
    assert "irn.ce.seed0." in str(raised.value)
