"""Curation: scan, filter, select, materialise, verify. Imports no torch."""
