"""What several methods share: pure functions from image to class maps, seeds and pseudo masks.

``cam`` reads activation maps out of a network, ``seeds`` turns them into confident labels,
``affinity`` learns which neighbours belong together, ``walk`` spreads the maps along it, ``masks``
writes the outcome. ``maps`` keeps class maps on disk, ``saliency`` finds what stands out.
"""
