"""One small slide of each layout, made once for all tests of this folder."""

import pytest

from stnuclei.simulate import simulate_sample

SIZE = (230.0, 250.0)


@pytest.fixture(scope="session")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    made = {
        "xoa1": ("Breast", 3, {}),
        "xoa3": ("Colon", 4, {"annotated": True, "he_um_per_px": 0.25}),
    }
    for layout, (tissue, seed, options) in made.items():
        simulate_sample(folder / layout, tissue, seed, layout=layout, size_um=SIZE, **options)
    return folder


@pytest.fixture(params=["xoa1", "xoa3"])
def slide(slides, request):
    return slides / request.param
