"""CDA: IRN with a classifier that saw objects outside their usual surroundings.

Su et al., "Context Decoupling Augmentation for Weakly Supervised Semantic Segmentation" (ICCV
2021). A first round of IRN gives pseudo-masks. Objects cut out of them are pasted into photos
without their class. A classifier, trained on as many photos with pasted objects as without, gives
the maps of a second round. The ``paper`` preset uses the constants of suyukun666/CDA.
"""

from __future__ import annotations

from pathlib import Path

from sbdata.benchmark.stage import StageContext
from sbdata_baselines.methods.cda import DecoupledSettings
from sbdata_baselines.settings import (
    ClassifierSettings,
)
from sbdata_baselines.stages.bank import load_paster
from sbdata_baselines.stages.classifier import fit_classifier
from sbdata_baselines.stages.photos import weak_views


def train_decoupled(task: StageContext, settings: DecoupledSettings, bank: Path) -> None:
    """Train a classifier on photos with and without pasted objects; write ``model.pt``."""
    plain = weak_views(task.weak, settings.views, task.seed)
    paster = load_paster(bank, settings.paste)
    pasted = weak_views(task.weak, settings.views, task.seed, stream=1, alter=paster)
    classifier = ClassifierSettings(
        settings.network, settings.views, settings.optimiser, settings.schedule
    )
    fit_classifier(task, classifier, [plain, pasted])
