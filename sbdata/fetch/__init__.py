"""Download, copy and unpack files. This package does not depend on what a dataset means."""
