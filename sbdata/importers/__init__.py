"""Import published masks and activation maps and convert them to pseudo-masks.

names -> layouts -> (pickles, arrays, dictionaries | pictures) -> rules -> decoding -> folder

The line above shows the order of the modules. :func:`sbdata.importers.folder.import_masks` runs all
steps; its output can be used as a method of the benchmark (``--method import:NAME``, see
:mod:`sbdata.benchmark.imported`).
"""
