"""CDA: IRN with a classifier that saw objects out of their usual surroundings.

Su et al., "Context Decoupling Augmentation for Weakly Supervised Semantic Segmentation" (ICCV
2021): a first round of IRN gives pseudo-masks; objects cut out of them are pasted into photos
without their class; a classifier trained on as many photos with pasted objects as without gives the
maps of a second round. Constants of the ``paper`` preset are those of suyukun666/CDA.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage, StageContext
from sbdata_baselines.irn import IrnSettings, refined_stage, seeds_stage
from sbdata_baselines.irn import build as build_irn
from sbdata_baselines.presets import presets_of
from sbdata_baselines.stages.activation import activation_maps
from sbdata_baselines.stages.bank import BankSettings, PasteSettings, load_paster, object_bank
from sbdata_baselines.stages.classifier import ClassifierSettings, fit_classifier
from sbdata_baselines.stages.photos import weak_views
from sbdata_baselines.stages.training import BackboneSettings


@dataclass(frozen=True)
class DecoupledSettings(BackboneSettings):
    """Settings of the second classifier.

    Its batches hold ``schedule.batch_size`` photos as they are and as many with a pasted object.

    Attributes:
        paste: how objects are pasted.
    """

    paste: PasteSettings = field(default_factory=PasteSettings)


@dataclass(frozen=True)
class CdaSettings:
    """Hyperparameters of CDA.

    Attributes:
        irn: of both rounds, but for the second classifier.
        bank: which objects are taken from the first.
        classifier: of the second round.
    """

    irn: IrnSettings
    bank: BankSettings
    classifier: DecoupledSettings


def build(settings: CdaSettings) -> Stage:
    """Return the last stage."""
    irn = settings.irn
    bank = Stage(
        "bank", object_bank, settings.bank, (build_irn(irn),), gpus=0.0, seconds_per_image=0.02
    )
    trained = Stage(
        "decoupled", train_decoupled, settings.classifier, (bank,), seconds_per_image=0.45
    )
    maps = Stage("maps", activation_maps, irn.activation, (trained,), seconds_per_image=0.17)
    seeds = seeds_stage(maps, irn.seeds)
    return refined_stage(maps, seeds, irn.boundary, irn.walk, irn.masks)


def train_decoupled(task: StageContext, settings: DecoupledSettings, bank: Path) -> None:
    """Train a classifier on photos with and without pasted objects; writes ``model.pt``."""
    plain = weak_views(task.weak, settings.views, task.seed)
    paster = load_paster(bank, settings.paste)
    pasted = weak_views(task.weak, settings.views, task.seed, stream=1, alter=paster)
    classifier = ClassifierSettings(
        settings.network, settings.views, settings.optimiser, settings.schedule
    )
    fit_classifier(task, classifier, [plain, pasted])


BASELINE = Baseline(
    name="cda",
    paper=(
        "CDA: Su et al., Context Decoupling Augmentation for Weakly Supervised Semantic "
        "Segmentation, ICCV 2021"
    ),
    year=2021,
    settings=CdaSettings,
    presets=presets_of("cda"),
    build=build,
    backbone="ResNet-50, output stride 16",
    differences=(
        "As irn; and objects are pasted before the photo is resized and cut, not after.",
        "Presets smoke and photos take objects from 2 % of a photo on, not 10 %: small ones, too.",
    ),
    published={
        "CAM / pseudo-masks on VOC 2012 train (on IRN)": "50.8 / 67.7 mIoU",
    },
)
