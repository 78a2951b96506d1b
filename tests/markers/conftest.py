"""The shipped markers, for the tests of marker tables."""

from labels.conftest import markers  # noqa: F401
