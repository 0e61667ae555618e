"""Fetching: files from folders and addresses to disk. Knows nothing of what a dataset means."""
