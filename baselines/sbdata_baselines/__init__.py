"""Weakly-supervised segmentation methods in one framework: one module per method, shared stages.

``sbdata_baselines`` imports ``sbdata``; ``sbdata`` never imports it.
"""
