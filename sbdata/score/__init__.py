"""Scoring: compare a folder of predictions with a set, and write tables, plots and a report."""
