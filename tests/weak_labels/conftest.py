"""The tiny sets of the bench's tests."""

from tests.benchmark.conftest import sets

__all__ = ["sets"]
