"""Stages that several methods share: from image to class maps, seeds and pseudo-masks.

``cam`` computes activation maps with a network, ``seeds`` turns them into confident labels,
``affinity`` learns which neighbours belong together, ``walk`` spreads the maps among these, and
``masks`` writes the result. ``maps`` stores class maps, ``saliency`` finds salient regions.
"""
