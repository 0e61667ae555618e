"""Results as ``.eval_results/*.yaml`` of model repositories on the Hugging Face Hub.

Format: https://huggingface.co/docs/hub/eval-results
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import yaml

from sbdata.errors import InputError
from sbdata.export.hub_benchmark import hub_tasks
from sbdata.export.push import check_repository
from sbdata.plurals import count
from sbdata.quoting import quoted
from sbdata.report.hub_results import HubResult
from sbdata.storage import is_safe_stem

FOLDER = ".eval_results"


def datasets_of(given: Iterable[str], results: Sequence[HubResult]) -> dict[str, str]:
    """Return the dataset on the Hub for each scored set.

    Args:
        given: Datasets as ``SET=ORG/NAME``, or one ``ORG/NAME`` if all results are of one set.
        results: Results.

    Raises:
        InputError: If a dataset or set has no valid name, no result is of a set, or a set is given
            twice or under one name with two hashes.
    """
    sets = sorted({result.scored for result in results})
    found: dict[str, str] = {}
    for text in given:
        scored, equals, repository = text.rpartition("=")
        if not equals and len(sets) > 1:
            msg = f"the results are of {len(sets)} sets; write --dataset-id {sets[0]}={text}"
            raise InputError(msg)
        scored = scored if equals else sets[0]
        check_repository(repository, "--dataset-id")
        if scored not in sets or scored in found:
            why = "given twice" if scored in found else "not the set of a result"
            msg = f"--dataset-id {quoted(text)}: {why}; the sets are {', '.join(sets)}"
            raise InputError(msg)
        found[scored] = repository
    for scored in found:
        hashes = {result.logical_hash for result in results if result.scored == scored}
        if len(hashes) > 1:
            msg = (
                f"the results are of {len(hashes)} sets called {quoted(scored)}, with different "
                "logical hashes; leave out the results of all but one"
            )
            raise InputError(msg)
    return found


def eval_results(
    results: Sequence[HubResult], datasets: Mapping[str, str]
) -> tuple[dict[PurePosixPath, str], list[str]]:
    """Return the files ``RESULT/.eval_results/SET.yaml``, one folder for each result.

    Args:
        results: Results; those on sets that are not in ``datasets`` are left out.
        datasets: Dataset on the Hub, ``ORG/NAME``, by the name of the scored set.

    Returns:
        Texts by path, and notes on values that were left out because they are undefined.

    Raises:
        InputError: If a result or set has a name that cannot be used, a result is of several
            splits, or two results have the same name and other values.
    """
    files: dict[PurePosixPath, str] = {}
    notes = []
    for result in results:
        if result.scored not in datasets:
            continue
        _check_one_split(result)
        for name in (result.name, result.scored):
            if not is_safe_stem(name):
                msg = f"{result.source}: {quoted(name)} names no file; rename it"
                raise InputError(msg)
        path = PurePosixPath(result.name, FOLDER, f"{result.scored}.yaml")
        entries, undefined = _entries(result, datasets[result.scored])
        text = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=100)
        if files.setdefault(path, text) != text:
            msg = f"{result.source}: another result has this name; rename one of them"
            raise InputError(msg)
        if undefined:
            notes.append(f"{path}: undefined values are left out: {', '.join(undefined)}")
    return files, notes


def _check_one_split(result: HubResult) -> None:
    """Refuse a result on several splits, which a record has as one text, ``train, val``."""
    if ", " in result.split:
        msg = (
            f"{result.source}: its set {quoted(result.scored)} has several splits "
            f"({quoted(result.split)}), and a benchmark of the Hub is one split; leave out its "
            "--dataset-id, or score a set of one split"
        )
        raise InputError(msg)


def _entries(result: HubResult, repository: str) -> tuple[list[dict[str, object]], list[str]]:
    """Return an entry for each defined value, and the names of the undefined ones."""
    tasks = hub_tasks(result.split, result.sizes, result.metric, result.logical_hash)
    entries: list[dict[str, object]] = [
        {
            "dataset": {"id": repository, "task_id": task},
            "value": result.figures[key],
            "notes": _notes(result, key),
        }
        for task, key in tasks.items()
        if result.figures.get(key) is not None
    ]
    return entries, [key for key in tasks.values() if result.figures.get(key) is None]


def _notes(result: HubResult, key: str) -> str:
    """Return the note on a value: metric, set, numbers behind it, what was scored and how."""
    size = key.partition(".")[0]
    numbers = count(result.n_images, "image")
    if size in result.n_instances:
        n = result.n_classes[size]
        background = size == "ia" and n > result.n_classes.get("ia_objects", n)
        classes = count(n - background, "class", "classes")
        numbers += f", {count(result.n_instances[size], 'instance')} of {classes}"
        numbers += ", and background" if background else ""
    said = [
        f"{key} of {result.metric}, between 0 and 1",
        f"set {result.scored}, split {result.split}, logical hash {result.logical_hash}: {numbers}",
        *result.about,
    ]
    if result.synthetic:
        said.insert(0, "synthetic: training or scored images are generated")
    return "; ".join(said)
