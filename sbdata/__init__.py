"""sbdata: how well does a segmentation method see small objects?

Definitions (sizes, metric, loss, sets) follow one versioned specification; the ideas come from
Mun et al., "Small Objects Matters in Weakly-Supervised Semantic Segmentation" (WACV 2024). The
formulas are this project's own named reading of that paper (``ia_iou.v1``, ``sb_ce.v1``,
``pascal_b.v1``), because neither its code nor its image list was published.
"""

from sbdata.compiled_code import keep_compiled_code

__version__ = "0.1.0"

keep_compiled_code()
