"""Fixtures every test may use."""

from pathlib import Path

import pytest

from paths import larger_data

#: The longest files besides those of the workflow: 17 CPU seconds or more, compiled loops at hand.
LONG = {"test_alignment", "test_distributed", "test_faults", "test_fuzz", "test_gpu_report", "test_loop", "test_onnx"}
LONG |= {"test_slide", "test_spatialdata"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the workflow and the other long files: the processes then end together."""
    items.sort(key=lambda item: (item.get_closest_marker("dag") is None, item.path.stem not in LONG))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real data that development and CI have; tests on it skip where it is absent."""
    path = larger_data()
    if path is None:
        pytest.skip("the larger real data are not beside the checkout; set STNUCLEI_SHARED")
    return path


@pytest.fixture(scope="session")
def real_bundle(tmp_path_factory) -> Path:
    """Xenium bundle of real H&E pixels and real count profiles: 1,456 nuclei of five patches in eight orientations."""
    from real_pixels import make_bundle  # its imports are half of what starting any test would cost

    folder = tmp_path_factory.mktemp("real_pixels") / "nucls_held_out"
    make_bundle(folder, "nucls_held_out")
    return folder
