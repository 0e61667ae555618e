"""The command prints the boards and writes them to files."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from sbdata.benchmark.leaderboard import boards_as_dict, read_boards
from sbdata.cli.leaderboard import leaderboard
from sbdata.errors import InputError
from tests.benchmark.result_examples import pseudo, result, write

ROOT = Path(__file__).resolve().parents[2]


def test_command_prints_and_writes(tmp_path: Path) -> None:
    strategies = ("ce", "sb-ft", "sb-ewc")
    several = [result("irn", s, k, pseudo=pseudo()) for s in strategies for k in (0, 1)]
    write(tmp_path / "results", several)
    readme, out = tmp_path / "README.md", tmp_path / "results" / "page"
    readme.write_text("<!-- leaderboard:begin pets-b -->\n<!-- leaderboard:end pets-b -->\n")
    given = [str(tmp_path / "results"), "--out", str(out), "--readme", str(readme)]
    done = CliRunner().invoke(leaderboard, given, catch_exceptions=False)
    assert done.exit_code == 0
    said = (
        "Trained on pets-train, scored on pets-b: 100 images. Logical hashes: pets-train t0, "
        "pets-b h0. IA: 60 instances"
    )
    assert said in done.output
    assert "0.500 ± 0.000" in done.output
    assert "sb-ewc − ce" in done.output
    assert "Pseudo-masks of pets-train" in done.output
    assert "→ masks 50.0 ± 0.0 %" in done.output
    assert sorted(path.name for path in out.iterdir()) == [
        "leaderboard.html", "leaderboard.json", "leaderboard.md",
    ]  # fmt: skip
    assert "| irn | image labels | sb-ewc | 2 |" in readme.read_text()
    assert "<br>→ masks 50.0 ± 0.0 % |" in readme.read_text()
    linked = tmp_path / "index.md"
    linked.symlink_to(readme)
    readme.write_text("<!-- leaderboard:begin pets-b -->\n<!-- leaderboard:end pets-b -->\n")
    CliRunner().invoke(leaderboard, [given[0], "--readme", str(linked)], catch_exceptions=False)
    assert linked.is_symlink()
    assert "| irn | image labels | sb-ewc | 2 |" in readme.read_text()
    again = CliRunner().invoke(leaderboard, [*given, "--json"], catch_exceptions=False)
    boards = read_boards([tmp_path / "results"])
    assert json.loads(again.output) == json.loads(json.dumps(boards_as_dict(boards)))
    assert again.output == (out / "leaderboard.json").read_text()


def test_results_for_the_hub(tmp_path: Path) -> None:
    write(tmp_path / "results", [result("irn", "ce"), result("drs", "ce", small=None)])
    out = tmp_path / "models"
    given = [str(tmp_path / "results"), "--eval-results", str(out)]
    done = CliRunner().invoke(leaderboard, [*given, "--dataset-id", "lab/pets"])
    assert done.exit_code == 0
    written = sorted(out.rglob("*.yaml"))
    assert [path.parts[-2:] for path in written] == [(".eval_results", "pets-b.yaml")] * 2
    assert all(f"{path}: written" in done.output for path in written)
    assert "note: drs.ce.seed0." in done.output
    for wrong in ([], ["--dataset-id", "lab/pets", "--study", "x"]):
        done = CliRunner().invoke(leaderboard, [*given, *wrong])
        assert isinstance(done.exception, InputError)


def test_scores_have_no_board(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    write(tmp_path / "results", [result("irn", "ce")])
    hub = ("--eval-results", str(tmp_path / "models"), "--dataset-id", "lab/pets")
    for more in ((), ("--out", str(tmp_path / "out"), *hub), (str(tmp_path / "results"),)):
        done = CliRunner().invoke(leaderboard, [str(tmp_path), *more])
        assert isinstance(done.exception, InputError)
        assert "a score of 'sbdata score', which has no board" in str(done.exception)
    done = CliRunner().invoke(leaderboard, [str(tmp_path), *hub])
    assert "not a readable result of 'sbdata score'" in str(done.exception)


def test_a_submission_is_checked(tmp_path: Path) -> None:
    study = ROOT / "results" / "drs-nsrom-bbam"
    arguments = ["--check", "--known", str(ROOT / "manifests")]
    done = CliRunner().invoke(leaderboard, [str(study), *arguments])
    assert (done.exit_code, done.output) == (0, "8 results, 4 of differences: 0 problems\n")
    (tmp_path / "notes.json").write_text("{}")
    evil = tmp_path / "a\nb.seed0.json"
    evil.write_text("{")
    done = CliRunner().invoke(leaderboard, [str(tmp_path), "--check"])
    assert done.exit_code == 1
    said = done.output.splitlines()
    assert len(said) == 3
    assert "a\\nb.seed0.json: not a readable JSON file" in said[0]
    assert said[1].startswith("note: 1 JSON file of other formats not checked, such as ")
    assert said[2] == "0 results, 0 of differences: 1 problem"
    as_json = CliRunner().invoke(leaderboard, [str(tmp_path), "--check", "--json"])
    assert (as_json.exit_code, len(json.loads(as_json.output)["problems"])) == (1, 1)
    for wrong in (["--known", "x"], ["--check", "--out", "x"]):
        done = CliRunner().invoke(leaderboard, [str(tmp_path), *wrong])
        assert isinstance(done.exception, InputError)
