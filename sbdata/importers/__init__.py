"""Imports: masks and activation maps that others publish, made into pseudo-masks of this project.

names -> layouts -> (pickles, arrays, dictionaries | pictures) -> rules -> decoding -> folder

:func:`sbdata.importers.folder.import_masks` puts the steps in order; what it writes is a method
of the bench (``--method import:NAME``, see :mod:`sbdata.benchmark.imported`).
"""
