"""The tiny runs of tests/bundle."""

from tests.bundle.conftest import classifier  # noqa: F401 - a fixture
