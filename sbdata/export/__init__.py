"""Exports: a set in the formats of other tools. One module a format; see :data:`FORMATS`."""
