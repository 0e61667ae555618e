"""CDA: settings, stages and method metadata.

The stages are implemented in :mod:`sbdata_baselines.cda`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sbdata.benchmark.baseline import Baseline
from sbdata.benchmark.stage import Stage
from sbdata_baselines.methods.cam import activation_stage
from sbdata_baselines.methods.irn import IrnSettings, refined_stage
from sbdata_baselines.methods.irn import build as build_irn
from sbdata_baselines.presets import presets_of
from sbdata_baselines.settings import BackboneSettings, BankSettings, PasteSettings


@dataclass(frozen=True)
class DecoupledSettings(BackboneSettings):
    """Settings of CDA's second classifier.

    A batch holds ``schedule.batch_size`` unchanged photos and as many with a pasted object.

    Attributes:
        paste: Settings for pasting objects.
    """

    paste: PasteSettings = field(default_factory=PasteSettings)


@dataclass(frozen=True)
class CdaSettings:
    """Hyperparameters of CDA.

    Attributes:
        irn: IRN settings of both rounds, except for the second classifier.
        bank: Settings of the objects cut out of the first pseudo-masks.
        classifier: Settings of the second classifier.
    """

    irn: IrnSettings
    bank: BankSettings
    classifier: DecoupledSettings


def build(settings: CdaSettings) -> Stage:
    """Return the last stage of CDA."""
    irn = settings.irn
    bank = Stage(
        "bank",
        "sbdata_baselines.stages.bank:object_bank",
        settings.bank,
        (build_irn(irn),),
        gpus=0.0,
        seconds_per_image=0.02,
    )
    trained = Stage(
        "decoupled",
        "sbdata_baselines.cda:train_decoupled",
        settings.classifier,
        (bank,),
        seconds_per_image=0.45,
    )
    maps = activation_stage(trained, irn.activation)
    return refined_stage(maps, irn.seeds, irn.boundary, irn.walk, irn.masks)


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
    of_paper=True,
    differences=(
        "As irn; and objects are pasted before the photo is resized and cropped, not after.",
        "Presets smoke and photos use objects from 2 % of a photo on, not 10 %: small ones, too.",
    ),
    published={
        "CAM / pseudo-masks on VOC 2012 train (on IRN)": "50.8 / 67.7 mIoU",
    },
)
