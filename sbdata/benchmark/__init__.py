"""From weak labels to a scored, comparable result: ``sbdata bench`` (extra ``train``).

A method makes pseudo-masks of a training set's weak labels, a segmenter is trained on them under
one strategy or several, and its predictions are scored on evaluation sets. Methods are found by the
entry point ``sbdata.baselines``; nothing here knows one by name.
"""
