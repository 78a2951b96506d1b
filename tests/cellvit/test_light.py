"""The small convolutional network: CellViT's outputs, its reach, its files; a student comes nearer to its teacher."""

import pytest
import torch

from stnuclei.cellvit import build_model, load_checkpoint, save_checkpoint
from stnuclei.cellvit.distillation import distillation_losses
from stnuclei.cellvit.export import export_model
from stnuclei.cellvit.light import LightSizes
from stnuclei.errors import UserError

FEW = LightSizes((8, 8, 8, 8), (1, 1, 1))


def light(tissues=2, **options):
    torch.manual_seed(0)
    return build_model("cellvit-light", 6, tissues, **options)


@pytest.mark.parametrize("tissues", [0, 3])
@pytest.mark.parametrize("regression", [False, True])
def test_outputs_are_cellvits(tissues, regression):
    out = light(tissues, regression=regression, light=FEW).eval()(torch.randn(2, 3, 48, 80), tokens=True)
    shapes = {name: tuple(value.shape) for name, value in out.items()}
    assert shapes.pop("tokens") == (2, 8, 3, 5) and shapes.pop("tissue_types", (2, 3)) == (2, 3)
    assert shapes.pop("regression_map", None) == ((2, 2, 48, 80) if regression else None)
    maps = {"nuclei_binary_map": (2, 2, 48, 80), "hv_map": (2, 2, 48, 80), "nuclei_type_map": (2, 6, 48, 80)}
    assert shapes == maps and ("tissue_types" in out) == bool(tissues)
    with pytest.raises(UserError, match="multiples of 16 px"):
        light()(torch.zeros(1, 3, 40, 48))


def test_every_parameter_learns():
    model = light(light=FEW).train()
    sum(value.square().mean() for value in model(torch.randn(2, 3, 32, 32)).values()).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # The bias of a convolution before a BatchNorm changes nothing; CellViT's blocks have one, and so have these.
    assert [name for name in silent if not name.endswith("block.0.bias")] == []


def test_a_pixel_sees_beyond_the_nuclei_beside_it_and_features_have_their_strides():
    model, x = light().eval(), torch.randn(1, 3, 256, 256).requires_grad_()
    model(x)["nuclei_type_map"][0, 1, 128, 128].backward()
    seen = x.grad.abs().amax(dim=(0, 1)) > 0
    assert seen[128 - 60, 128] and seen[128, 128 + 60]  # 15 um each way at 0.25 um/px
    features = model.encoder(torch.zeros(1, 3, 64, 96))[1]
    assert [tuple(f.shape[1:]) for f in features] == [(32, 32, 48), (64, 16, 24), (128, 8, 12), (256, 4, 6)]


def test_checkpoints_round_trip_and_the_official_code_has_no_such_network(tmp_path):
    model = light(light=FEW, regression=True).eval()
    save_checkpoint(tmp_path / "m.pt", model, taxonomy="pannuke", tissues=["Breast", "Colon"])
    loaded, metadata = load_checkpoint(tmp_path / "m.pt")
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(model(x).values(), loaded(x).values(), strict=True))
    assert metadata["architecture"] == "cellvit-light" and metadata["classes"][1] == "Neoplastic"
    with pytest.raises(UserError, match="official code has no cellvit-light"):
        export_model(tmp_path / "m.pt", tmp_path / "m.pth")


def test_equal_maps_differ_by_nothing_and_only_the_student_learns():
    model, x = light(light=FEW).eval(), torch.randn(1, 3, 32, 32)
    out = model(x)
    same = distillation_losses(out, out)
    assert set(same) == {"teacher_np", "teacher_hv", "teacher_nt"}
    assert all(abs(value.item()) < 1e-6 for value in same.values())
    torch.manual_seed(1)
    theirs = {name: value + torch.randn_like(value) for name, value in out.items()}
    theirs = {name: value.detach().requires_grad_() for name, value in theirs.items()}
    terms = distillation_losses(out, theirs)
    assert all(value > 0 for value in terms.values())
    sum(terms.values()).backward()
    assert all(value.grad is None for value in theirs.values())
    assert model.encoder.stem[0][0].weight.grad.abs().sum() > 0


def test_divergence_is_kullback_leiblers():
    p, q = torch.tensor([0.7, 0.3]), torch.tensor([0.4, 0.6])
    maps = [
        {"nuclei_binary_map": v.log().view(1, 2, 1, 1), "nuclei_type_map": v.log().view(1, 2, 1, 1)} for v in (q, p)
    ]
    hv = [{"hv_map": torch.full((1, 2, 1, 1), v)} for v in (0.5, 0.1)]
    terms = distillation_losses(maps[0] | hv[0], maps[1] | hv[1])
    assert terms["teacher_nt"].item() == pytest.approx((p * (p / q).log()).sum().item(), rel=1e-5)
    assert terms["teacher_hv"].item() == pytest.approx(0.16)  # (0.5 - 0.1) squared, wherever there is nucleus
