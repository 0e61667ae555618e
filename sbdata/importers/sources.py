"""Known sources of masks and maps: their supervision, and how their authors decode them.

The constants are those of the authors' repositories. If these search them on ground truth, or
state none, there is no rule and the user must give one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sbdata.errors import InputError
from sbdata.importers.dictionaries import (
    CLASS_DICTIONARY,
    CRF_DICTIONARY,
    KEYS_ATTENTION,
    KEYS_BACKGROUND,
    KEYS_HIGH_RES,
    KEYS_ONLY,
)
from sbdata.importers.layouts import MASKS
from sbdata.importers.rules import Changes, Rule
from sbdata.supervision import BOXES, IMAGE_LABELS, SALIENCY

Merge = Literal["agree", "crf", "ret"]
UNKNOWN = "unknown"
"""Supervision of masks whose source was not named."""


@dataclass(frozen=True)
class Source:
    """A method whose authors published masks or maps.

    Attributes:
        name: Name used with ``--source``.
        title: Title of the method, and its publication.
        url: Address of the authors' repository.
        supervision: Supervision of the method.
        rule: Rule of the authors for its maps; None if none is stated.
        why: Reason why there is no rule, or another remark.
    """

    name: str
    title: str
    url: str
    supervision: tuple[str, ...] = (IMAGE_LABELS,)
    rule: Rule | None = None
    why: str = ""


_SEARCHED = "its authors search the background on ground truth"
_NONE = "its authors state no background"
_WITH_SALIENCY = (IMAGE_LABELS, SALIENCY)
_GITHUB = "https://github.com/"
_BED = f"{_GITHUB}clovaai/WSSS-BED"


def _constant(level: float) -> Rule:
    return Rule("constant", level)


_ALL = (
    Source("irn", "IRN, CVPR 2019", f"{_GITHUB}jiwoon-ahn/irn", rule=_constant(0.15)),
    Source("psa", "PSA, CVPR 2018", f"{_GITHUB}jiwoon-ahn/psa", why=_NONE),
    Source("cda", "CDA, ICCV 2021", f"{_GITHUB}suyukun666/CDA", rule=_constant(0.15)),
    Source("advcam", "AdvCAM, CVPR 2021", f"{_GITHUB}jbeomlee93/AdvCAM",
           why=f"{_SEARCHED}, between 0.15 and 0.34"),
    Source("rib", "RIB, NeurIPS 2021", f"{_GITHUB}jbeomlee93/RIB", why=_NONE),
    Source("recam", "ReCAM, CVPR 2022", f"{_GITHUB}zhaozhengChen/ReCAM", rule=_constant(0.21)),
    Source("amn", "AMN, CVPR 2022", f"{_GITHUB}gaviotas/AMN", rule=_constant(0.25)),
    Source("puzzlecam", "Puzzle-CAM, ICIP 2021", f"{_GITHUB}shjo-april/PuzzleCAM", why=_NONE),
    Source("clip-es", "CLIP-ES, CVPR 2023", f"{_GITHUB}linyq2117/CLIP-ES",
           rule=Rule("power", 1.0, confidence=0.95, refine="crf")),
    Source("clims", "CLIMS, CVPR 2022", f"{_GITHUB}CVI-SZU/CLIMS", why=_NONE),
    Source("seam", "SEAM, CVPR 2020", f"{_GITHUB}YudeWang/SEAM", rule=_constant(0.26)),
    Source("eps", "EPS, CVPR 2021", f"{_GITHUB}halbielee/EPS", _WITH_SALIENCY, _constant(0.20)),
    Source("edam", "EDAM, CVPR 2021", f"{_GITHUB}allenwu97/EDAM", _WITH_SALIENCY,
           Rule("saliency", 0.2)),
    Source("mctformer", "MCTformer, CVPR 2022", f"{_GITHUB}xulianuwa/MCTformer",
           rule=_constant(0.39)),
    Source("l2g", "L2G, CVPR 2022", f"{_GITHUB}PengtaoJiang/L2G", _WITH_SALIENCY, _constant(0.25)),
    Source("ns-rom", "NS-ROM, CVPR 2021", f"{_GITHUB}NUST-Machine-Intelligence-Laboratory/nsrom",
           _WITH_SALIENCY,
           Rule("saliency", normalise="min-max", floor=0.3, conflict=0.9, doubt=0.8,
                salient=32 / 255, sparse=0.01),
           "the background that its authors also ignore by a second map is kept"),
    Source("drs", "DRS, AAAI 2021", f"{_GITHUB}qjadud1994/DRS", _WITH_SALIENCY,
           Rule("saliency", 50 / 255, floor=0.2, conflict=0.9, most=2, salient=51 / 255)),
    Source("oaa", "OAA, ICCV 2019", "", why=_NONE),
    Source("bana", "BANA, CVPR 2021", f"{_GITHUB}cvlab-yonsei/BANA", (BOXES,), why=_NONE),
    Source("bbam", "BBAM, CVPR 2021", f"{_GITHUB}jbeomlee93/BBAM", (BOXES,), why=_NONE),
    Source("rca", "RCA, CVPR 2022", f"{_GITHUB}maeve07/RCA", why=_NONE),
    Source("wsss-bed-cam", "CAM, of WSSS-BED", _BED, rule=_constant(0.1)),
    Source("wsss-bed-drs", "DRS, of WSSS-BED", _BED, rule=_constant(0.5)),
    Source("wsss-bed-edam", "EDAM, of WSSS-BED", _BED, rule=_constant(0.5)),
    Source("wsss-bed-eps", "EPS, of WSSS-BED", _BED, _WITH_SALIENCY, _constant(0.2)),
    Source("wsss-bed-l2g", "L2G, of WSSS-BED", _BED, _WITH_SALIENCY, _constant(0.3)),
)  # fmt: skip

SOURCES: Mapping[str, Source] = {source.name: source for source in _ALL}
"""All known sources by name."""

_ASSUMED = {
    KEYS_HIGH_RES: "irn",
    KEYS_BACKGROUND: "amn",
    KEYS_ATTENTION: "clip-es",
    CLASS_DICTIONARY: "seam",
}
"""Source whose rule is used for a layout if none was named: the first authors to use the layout."""


def find_source(name: str) -> Source:
    """Return a source by name.

    Raises:
        InputError: If the name is unknown.
    """
    if name not in SOURCES:
        msg = f"no source called {name!r}; choose from {', '.join(SOURCES)}, or none"
        raise InputError(msg)
    return SOURCES[name]


def rule_for(layout: str, source: Source | None, changes: Changes) -> tuple[Rule | None, str, bool]:
    """Return the rule for a layout's maps, and its origin.

    Args:
        layout: Detected layout.
        source: Source named by the user, or None.
        changes: Changes by the user.

    Returns:
        The rule (None for finished masks), a sentence about it, and whether another source with
        the same layout may need another rule.

    Raises:
        InputError: If a rule is given for masks, or maps have no rule.
    """
    if layout in MASKS:
        if changes.given:
            msg = "the files are finished masks; leave out the options of background and thresholds"
            raise InputError(msg)
        return None, "finished masks, used unchanged", False
    if layout == KEYS_ONLY:
        return _constant(1.0), "no maps at all, so all is background", False
    assumed = source is None and layout in _ASSUMED
    of = source if source is not None else SOURCES.get(_ASSUMED.get(layout, ""))
    rule = Rule("map") if layout == CRF_DICTIONARY else of.rule if of is not None else None
    whose = "of the layout" if layout == CRF_DICTIONARY else f"of {of.title}" if of else ""
    if changes.background is not None and source is None:
        rule, assumed = None, False  # the user's own rule replaces an assumed one completely
    found = changes.applied(rule)
    if found is None:
        why = of.why if of is not None and of.why else "many sources use this layout"
        known = ", ".join(f"{s.name}: {s.rule}" for s in SOURCES.values() if s.rule is not None)
        msg = f"the files are maps of scores, and {why}; say --background or --source ({known})"
        raise InputError(msg)
    if assumed:
        said = f"{found}, as {of.title if of else ''} has it; --source or --background change it"
        return found, said, True
    given = "as given" if rule is None else f"{whose}, changed" if changes.given else whose
    return found, f"{found} ({given})", False
