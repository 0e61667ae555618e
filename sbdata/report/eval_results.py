"""Results as ``.eval_results/*.yaml`` of model repositories on the Hugging Face Hub.

Format: https://huggingface.co/docs/hub/eval-results
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import yaml

from sbdata.benchmark.entries import SetRecord
from sbdata.errors import InputError
from sbdata.export.hub_benchmark import hub_tasks
from sbdata.export.push import check_repository
from sbdata.formatting import count
from sbdata.quoting import quoted
from sbdata.storage import is_safe_stem

FOLDER = ".eval_results"


def datasets_of(given: Iterable[str], records: Sequence[SetRecord]) -> dict[str, str]:
    """Return the dataset on the Hub for each scored set.

    Args:
        given: Datasets as ``SET=ORG/NAME``, or one ``ORG/NAME`` if all records are of one set.
        records: Results.

    Raises:
        InputError: If a dataset or set has no valid name, no record is of a set, or a set is given
            twice or under one name with two hashes.
    """
    sets = sorted({record.scored for record in records})
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
        hashes = {_hash_of(record) for record in records if record.scored == scored}
        if len(hashes) > 1:
            msg = (
                f"the results are of {len(hashes)} sets called {quoted(scored)}, with different "
                "logical hashes; leave out the results of all but one"
            )
            raise InputError(msg)
    return found


def eval_results(
    records: Sequence[SetRecord], datasets: Mapping[str, str]
) -> tuple[dict[PurePosixPath, str], list[str]]:
    """Return the files ``RESULT/.eval_results/SET.yaml``, one folder for each result.

    Args:
        records: Results; those of other sets than ``datasets`` has are left out.
        datasets: Dataset on the Hub, ``ORG/NAME``, by the name of the scored set.

    Returns:
        Texts by path, and notes on values that were left out because they are undefined.

    Raises:
        InputError: If a file or set has a name that cannot be used, or two results have the same
            file name and other values.
    """
    files: dict[PurePosixPath, str] = {}
    notes = []
    for record in records:
        if record.scored not in datasets:
            continue
        for name in (record.file.stem, record.scored):
            if not is_safe_stem(name):
                msg = f"{record.file}: {quoted(name)} names no file; rename it"
                raise InputError(msg)
        path = PurePosixPath(record.file.stem, FOLDER, f"{record.scored}.yaml")
        entries, undefined = _entries(record, datasets[record.scored])
        text = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=100)
        if files.setdefault(path, text) != text:
            msg = f"{record.file}: another result has this file name; rename one of them"
            raise InputError(msg)
        if undefined:
            notes.append(f"{path}: undefined values are left out: {', '.join(undefined)}")
    return files, notes


def _entries(record: SetRecord, repository: str) -> tuple[list[dict[str, object]], list[str]]:
    """Return an entry for each defined value, and the names of the undefined ones."""
    sizes = [name.removeprefix("ia_") for name in record.n_instances]
    sizes = [size for size in sizes if size not in ("ia", "objects")]
    protocol = record.protocol
    tasks = hub_tasks(protocol["split"], sizes, protocol["metric"], _hash_of(record))
    entries: list[dict[str, object]] = [
        {
            "dataset": {"id": repository, "task_id": task},
            "value": record.figures[key],
            "notes": _notes(record, key),
        }
        for task, key in tasks.items()
        if record.figures.get(key) is not None
    ]
    return entries, [key for key in tasks.values() if record.figures.get(key) is None]


def _notes(record: SetRecord, key: str) -> str:
    """Return what a value is: metric, set, numbers behind it, training and test protocol."""
    about = record.protocol
    size = key.partition(".")[0]
    numbers = count(record.n_images, "image")
    if size in record.n_instances:
        classes = count(record.n_classes.get(size, 0), "class", "classes")
        numbers += f", {count(record.n_instances[size], 'instance')} of {classes}"
    said = [
        f"{key} of {about['metric']}, between 0 and 1",
        f"set {record.scored}, split {about['split']}, logical hash {_hash_of(record)}: {numbers}",
        f"{record.method}{f' ({record.role})' if record.role else ''}, {record.strategy}, seed "
        f"{record.seed}, trained on {record.training}",
        f"scales {about['scales']}, flip {about['flip']}, refinement {about['refine']}",
    ]
    if record.synthetic:
        said.insert(0, "synthetic: training or scored images are generated")
    return "; ".join(said)


def _hash_of(record: SetRecord) -> str:
    return record.protocol["set_hash"]
