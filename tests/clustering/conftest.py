"""The label tables, for the tests of clustering."""

from labels.conftest import clustering, janesick, table  # noqa: F401
