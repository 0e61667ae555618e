"""Scoring: a folder of predictions against a set, to tables, figures and a report."""
