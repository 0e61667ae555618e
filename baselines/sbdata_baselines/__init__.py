"""Weakly-supervised segmentation methods in one framework, each a module on shared stages.

``baselines`` imports ``sbdata`` and is never imported by it.
"""
