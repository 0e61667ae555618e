"""From weak labels to scored, comparable results: ``sbdata bench`` (extra ``train``).

A method turns a training set's weak labels into pseudo-masks. A segmenter is trained on them with
one or more strategies, and its predictions are scored on evaluation sets. Methods are found by the
entry point ``sbdata.baselines``; no module here refers to one by name.
"""
