"""Losses against golden figures, against loops over classes, and at their edges."""

import pytest
import torch

from cellvit import golden
from stnuclei.cellvit.losses import OFFICIAL_WEIGHTS, cellvit_losses, total_loss
from stnuclei.cellvit.targets import hv_maps
from stnuclei.errors import UserError


def squares(b=2, size=24):
    instances = torch.zeros(b, size, size, dtype=torch.long)
    instances[:, 2:9, 3:12] = 1
    instances[0, 12:20, 10:18] = 2
    return instances


def batch(b=2, classes=4, size=24, dtype=torch.float32, seed=0):
    g = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype)

    instances = squares(b, size)
    types = torch.where(instances == 1, 1, torch.where(instances == 2, -1, 0))
    outputs = {
        "nuclei_binary_map": randn(b, 2, size, size),
        "hv_map": randn(b, 2, size, size),
        "nuclei_type_map": randn(b, classes, size, size),
        "tissue_types": randn(b, 3),
    }
    return outputs, {"instances": instances, "types": types, "tissue": torch.arange(b) % 3}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_official_figures(seed):
    arrays, numbers = golden.figures()

    def take(name):
        return torch.from_numpy(arrays[f"loss{seed}/{name}"])

    outputs = {
        "nuclei_binary_map": take("np_logits"),
        "nuclei_type_map": take("nt_logits"),
        "hv_map": take("hv_pred"),
        "tissue_types": take("tissue_logits"),
    }
    targets = {
        "instances": take("instances").long().expand(2, -1, -1),
        "types": take("types").long().expand(2, -1, -1),
        "tissue": take("tissue"),
    }
    for hv in ({}, {"hv": take("hv")}):
        terms = cellvit_losses(outputs, {**targets, **hv})
        assert {name: term.item() for name, term in terms.items()} == pytest.approx(
            numbers["losses"][str(seed)], rel=2e-6
        )


def uniform(classes):
    outputs, targets = batch(classes=classes)
    targets["types"] = targets["types"].clamp(min=0)
    return {name: value * 0 for name, value in outputs.items()}, targets


def test_figures_of_the_specification():
    outputs, targets = uniform(6)
    targets["instances"] = torch.arange(2 * 24 * 24).view(2, 24, 24) % 2  # half and half
    targets["types"] = torch.arange(2 * 24 * 24).view(2, 24, 24) % 6
    terms = cellvit_losses(outputs, targets)
    assert terms["np_focaltversky"].item() == pytest.approx(0.397, abs=1e-3)
    assert terms["nt_mcfocaltversky"].item() == pytest.approx(4.71, abs=1e-2)
    assert terms["nt_dice"].item() == pytest.approx(5.0, abs=1e-3)
    assert terms["nt_bce"].item() == pytest.approx(1.792, abs=1e-3)


@pytest.mark.parametrize(("variant", "binary", "types"), [("official", 0.1736, 3.364), ("corrected", 0.0, 0.0)])
def test_perfect_prediction(variant, binary, types):
    _, targets = batch(classes=6)
    targets["instances"] = torch.arange(2 * 24 * 24).view(2, 24, 24) % 2
    targets["types"] = torch.arange(2 * 24 * 24).view(2, 24, 24) % 6
    one_hot = torch.nn.functional.one_hot
    outputs = {
        "nuclei_binary_map": 60.0 * one_hot(targets["instances"], 2).permute(0, 3, 1, 2),
        "nuclei_type_map": 60.0 * one_hot(targets["types"], 6).permute(0, 3, 1, 2),
        "hv_map": hv_maps(targets["instances"]),
    }
    terms = cellvit_losses(outputs, targets, variant)
    assert terms["np_focaltversky"].item() == pytest.approx(binary, abs=1e-4)
    assert terms["nt_mcfocaltversky"].item() == pytest.approx(types, abs=1e-3)
    for name in ("np_dice", "hv_mse", "hv_msge", "nt_bce", "nt_dice", "tissue_ce"):
        assert terms[name].item() == pytest.approx(0, abs=1e-5)


def by_hand(outputs, targets, twice):
    """Class terms pixel by pixel over the labelled pixels only."""
    known = targets["types"] >= 0
    p = outputs["nuclei_type_map"].softmax(1).movedim(1, -1)[known]
    t = torch.nn.functional.one_hot(targets["types"][known], p.shape[1]).to(p.dtype)
    q = p.softmax(1) if twice else p
    dice = sum(1 - (2 * (p[:, c] * t[:, c]).sum() + 1e-3) / (p[:, c].sum() + t[:, c].sum() + 1e-3) for c in range(4))
    tversky = 0
    for c in range(4):
        tp, fn, fp = (q[:, c] * t[:, c]).sum(), (t[:, c] * (1 - q[:, c])).sum(), ((1 - t[:, c]) * q[:, c]).sum()
        tversky += (1 - (tp + 1e-6) / (tp + 0.7 * fn + 0.3 * fp + 1e-6)) ** (4 / 3)
    return {"nt_bce": -(p * t).sum(1).log().mean(), "nt_dice": dice, "nt_mcfocaltversky": tversky}


@pytest.mark.parametrize("variant", ["official", "corrected"])
def test_unknown_pixels_are_out_of_every_sum_of_the_class_branch(variant):
    outputs, targets = batch(dtype=torch.float64)
    terms = cellvit_losses(outputs, targets, variant)
    for name, value in by_hand(outputs, targets, variant == "official").items():
        torch.testing.assert_close(terms[name], value, rtol=1e-9, atol=1e-12)
    changed = outputs["nuclei_type_map"].clone()
    changed.movedim(1, -1)[targets["types"] < 0] = 7.0
    other = cellvit_losses({**outputs, "nuclei_type_map": changed}, targets, variant)
    assert all(torch.equal(terms[name], other[name]) for name in terms)
    moved = {**outputs, "hv_map": outputs["hv_map"] + (targets["types"] < 0).unsqueeze(1)}
    assert cellvit_losses(moved, targets, variant)["hv_mse"] > terms["hv_mse"]  # the nucleus is still one


def test_unknown_pixels_get_no_gradient():
    outputs, targets = batch()
    logits = outputs["nuclei_type_map"].requires_grad_()
    total_loss(cellvit_losses(outputs, targets)).backward()
    gradient = logits.grad.abs().sum(1)
    assert not gradient[targets["types"] < 0].any()
    assert (gradient[targets["types"] >= 0] > 0).all()


@pytest.mark.parametrize("variant", ["official", "corrected"])
@pytest.mark.parametrize("what", ["unknown", "empty", "both"])
def test_finite_where_there_is_nothing(variant, what):
    outputs, targets = batch(b=1)
    outputs = {name: value.requires_grad_() for name, value in outputs.items()}
    if what != "unknown":
        targets["instances"] = torch.zeros_like(targets["instances"])
    targets["types"] = torch.full_like(targets["types"], 0 if what == "empty" else -1)
    targets["tissue"] = torch.tensor([-1])
    terms = cellvit_losses(outputs, targets, variant)
    assert all(torch.isfinite(term) for term in terms.values())
    assert terms["tissue_ce"] == 0
    if what != "empty":
        assert terms["nt_bce"] == terms["nt_dice"] == terms["nt_mcfocaltversky"] == 0
    if what != "unknown":
        assert terms["hv_msge"] == 0
    total_loss(terms).backward()
    assert all(v.grad is None or torch.isfinite(v.grad).all() for v in outputs.values())


@pytest.mark.parametrize("variant", ["official", "corrected"])
def test_gradients(variant):
    outputs, targets = batch(b=1, classes=3, size=6, dtype=torch.float64)
    targets["instances"] = torch.randint(0, 3, (1, 6, 6), generator=torch.Generator().manual_seed(1))
    targets["types"] = torch.tensor([0, 1, -1])[targets["instances"]]
    names = list(outputs)
    values = [outputs[name].requires_grad_() for name in names]

    def loss(*values):
        return total_loss(cellvit_losses(dict(zip(names, values, strict=True)), targets, variant))

    assert torch.autograd.gradcheck(loss, values)


def test_gradient_filters_along_the_axis_of_the_map():
    """A ramp along x in the x-map: only the corrected variant sees it."""
    instances = torch.ones(1, 20, 20, dtype=torch.long)
    focus = torch.zeros_like(instances)
    focus[:, 5:15, 5:15] = 1  # away from the border, where the padding is seen
    outputs, _ = batch(b=1, size=20)
    hv = torch.zeros(1, 2, 20, 20)
    outputs["hv_map"] = torch.stack([torch.arange(20.0).expand(20, 20), torch.zeros(20, 20)])[None]
    targets = {"instances": focus, "types": instances, "hv": hv}
    assert cellvit_losses(outputs, targets, "official")["hv_msge"] < 1e-9
    assert cellvit_losses(outputs, targets, "corrected")["hv_msge"] > 1


def test_half_precision_and_autocast_do_not_matter():
    outputs, targets = batch()
    whole = cellvit_losses({k: v.bfloat16().float() for k, v in outputs.items()}, targets)
    with torch.autocast("cpu", torch.bfloat16):
        half = cellvit_losses({k: v.bfloat16() for k, v in outputs.items()}, targets)
    assert all(torch.equal(half[name], whole[name]) and half[name].dtype == torch.float32 for name in whole)


def test_two_processes_add_their_sums():
    """Losses of two halves, summed before the quotients, are those of the whole."""
    outputs, targets = batch(b=4)
    whole = cellvit_losses(outputs, targets)
    halves = [slice(0, 2), slice(2, 4)]
    vectors = []

    def run(rows, reduce):
        return cellvit_losses(*({k: v[rows] for k, v in part.items()} for part in (outputs, targets)), reduce=reduce)

    for rows in halves:
        run(rows, lambda vector: vectors.append(vector) or vector)
    both = run(halves[0], lambda vector: vectors[0] + vectors[1])
    for name, term in whole.items():
        torch.testing.assert_close(both[name], term, rtol=1e-5, atol=1e-6)


def test_total_is_the_published_weighted_sum():
    terms = {name: torch.tensor(float(i + 1)) for i, name in enumerate(OFFICIAL_WEIGHTS)}
    assert total_loss(terms).item() == pytest.approx(1 + 2 + 2.5 * 3 + 8 * 4 + 0.5 * 5 + 0.2 * 6 + 0.5 * 7 + 0.1 * 8)
    assert total_loss(terms, {"hv_msge": 0.0}).item() == pytest.approx(total_loss(terms).item() - 32)
    with pytest.raises(UserError, match="hv_mgse: no such term"):
        total_loss(terms, {"hv_mgse": 1.0})


def test_without_tissue_head_and_unknown_variant():
    outputs, targets = batch()
    del outputs["tissue_types"]
    assert cellvit_losses(outputs, targets)["tissue_ce"] == 0
    with pytest.raises(UserError, match="official or corrected"):
        cellvit_losses(outputs, targets, "fixed")
