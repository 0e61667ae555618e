"""sbdata: how well does a segmentation method see small objects?

Definitions (sizes, metric, loss, sets) follow one versioned specification; the ideas come from
Mun et al., "Small Objects Matters in Weakly-Supervised Semantic Segmentation" (WACV 2024). The
metric ``ia_iou.v2`` and the loss ``sb_ce.v2`` are those of the authors' released code; their image
list was not released, so the set ``pascal_b.v1`` is this project's own recipe.
"""

from sbdata.compiled_code import keep_compiled_code

__version__ = "0.1.0"

keep_compiled_code()
