from __future__ import annotations

import numpy as np
import pytest
import torch
from sbdata_baselines.settings import Refinement
from sbdata_baselines.stages.refinement import refiner_of

from sbdata.train.refine import make_refiner, par

CPU = torch.device("cpu")


def photo_and_scores() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    scores = rng.random((3, 20, 24)).astype(np.float32)
    return rng.integers(0, 256, (20, 24, 3), np.uint8), scores / scores.sum(0)


@pytest.mark.parametrize("name", ["par", "pamr"])
def test_the_defaults_are_those_of_the_paper(name: str) -> None:
    photo, scores = photo_and_scores()
    refine = refiner_of(Refinement(name), CPU)  # type: ignore[arg-type]
    assert refine is not None
    assert np.array_equal(refine(photo, scores), make_refiner(name)(photo, scores))


def test_iterations_and_dilations_are_passed_on() -> None:
    photo, scores = photo_and_scores()
    refine = refiner_of(Refinement("par", 2, (1, 3)), CPU)
    image = torch.from_numpy(photo).permute(2, 0, 1)[None] / 255
    wanted = par(image, torch.from_numpy(scores)[None], 2, (1, 3))[0].numpy()
    assert refine is not None
    assert np.array_equal(refine(photo, scores), wanted)


@pytest.mark.parametrize("name", ["crf", "label-crf", "psa-crf"])
def test_dense_crfs_differ_and_give_probabilities(name: str) -> None:
    pytest.importorskip("pydensecrf")
    photo, scores = photo_and_scores()
    refine = refiner_of(Refinement(name), CPU)  # type: ignore[arg-type]
    assert refine is not None
    refined = refine(photo, scores)
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-4)
    assert not np.allclose(refined, scores)


def test_none_is_no_function() -> None:
    assert refiner_of(Refinement("none"), CPU) is None
