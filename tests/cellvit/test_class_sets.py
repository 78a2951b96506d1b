"""Class loss of nuclei with several allowed classes, and of weighted nuclei."""

import pytest
import torch

from stnuclei.cellvit.losses import cellvit_losses
from stnuclei.cellvit.targets import make_targets

TERMS = ("nt_bce", "nt_dice", "nt_mcfocaltversky")
CLASSES = 5


def _outputs(logits):
    b, _, h, w = logits.shape
    plain = torch.zeros(b, 2, h, w, dtype=logits.dtype)
    return {"nuclei_binary_map": plain, "hv_map": plain, "nuclei_type_map": logits}


def _targets(allowed=None, weight=None, seed=0, size=12):
    """Two patches of three nuclei: class 1, class 4 and Unknown."""
    instances = torch.randint(0, 4, (2, size, size), generator=torch.Generator().manual_seed(seed))
    classes = torch.tensor([[1, 4, -1], [4, 4, 2]], dtype=torch.int8)
    return make_targets(instances, classes, allowed=allowed, weight=weight)


def _logits(seed=1, size=12):
    return torch.randn(2, CLASSES, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _terms(logits, targets, variant):
    terms = cellvit_losses(_outputs(logits), targets, variant=variant)
    return torch.stack([terms[name] for name in TERMS])


SINGLE = torch.tensor([[1 << 1, 1 << 4, 0], [1 << 4, 1 << 4, 1 << 2]], dtype=torch.int32)
SETS = torch.tensor([[1 << 1 | 1 << 4, 1 << 4, 0], [1 << 4, 1 << 1 | 1 << 2 | 1 << 4, 1 << 2]], dtype=torch.int32)


@pytest.mark.parametrize("variant", ["official", "corrected"])
def test_sets_of_one_member_are_the_ordinary_loss(variant):
    plain = _logits().requires_grad_()
    sets = plain.detach().clone().requires_grad_()
    ordinary, of_sets = _terms(plain, _targets(), variant), _terms(sets, _targets(SINGLE), variant)
    torch.testing.assert_close(of_sets, ordinary, rtol=1e-12, atol=0)
    ordinary.sum().backward()
    of_sets.sum().backward()
    torch.testing.assert_close(sets.grad, plain.grad, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("variant", ["official", "corrected"])
def test_gradient_is_that_of_the_function(variant):
    targets = _targets(SETS, torch.tensor([[0.5, 1.0, 1.0], [0.2, 0.9, 1.0]]), size=4)
    assert torch.autograd.gradcheck(
        lambda x: _terms(x, targets, variant), _logits(size=4).requires_grad_(), fast_mode=True
    )


def test_cross_entropy_takes_the_sum_of_the_allowed_probabilities():
    logits, targets = _logits(), _targets(SETS)
    p = logits.softmax(1)
    member = (targets["allowed"].unsqueeze(1) >> torch.arange(CLASSES).view(1, -1, 1, 1)) & 1
    known = member.any(1)
    expected = -(p * member).sum(1)[known].log().mean()
    assert cellvit_losses(_outputs(logits), targets)["nt_bce"].item() == pytest.approx(expected.item(), rel=1e-9)


def test_any_split_within_the_set_is_right():
    instances = torch.ones(1, 8, 8, dtype=torch.int64)
    allowed = torch.tensor([[1 << 1 | 1 << 4]], dtype=torch.int32)
    targets = make_targets(instances, torch.tensor([[1]]), allowed=allowed)
    losses = []
    for split in (0.5, 0.9, 0.01):
        p = torch.full((CLASSES,), 1e-12, dtype=torch.float64)
        p[1], p[4] = split, 1 - split
        terms = cellvit_losses(_outputs(p.log().view(1, -1, 1, 1).expand(1, -1, 8, 8)), targets, variant="corrected")
        losses.append([terms[name].item() for name in TERMS])
    # Classes without a pixel have Dice 0 by its smoothing.
    assert torch.tensor(losses).abs().max() < 1e-5
    wrong = torch.zeros(1, CLASSES, 8, 8, dtype=torch.float64)
    wrong[:, 2] = 20.0
    assert all(cellvit_losses(_outputs(wrong), targets, variant="corrected")[name] > 0.5 for name in TERMS)


def test_within_a_set_nothing_is_pushed_and_outside_it_is():
    instances = torch.ones(1, 4, 4, dtype=torch.int64)
    allowed = torch.tensor([[1 << 1 | 1 << 4]], dtype=torch.int32)
    targets = make_targets(instances, torch.tensor([[1]]), allowed=allowed)
    logits = torch.zeros(1, CLASSES, 4, 4, dtype=torch.float64)
    logits[:, 1] = 1.0
    logits.requires_grad_()
    _terms(logits, targets, "corrected").sum().backward()
    gradient = logits.grad.mean((0, 2, 3))
    p = logits.detach().softmax(1).mean((0, 2, 3))
    assert gradient[1] < 0 and gradient[4] < 0 and (gradient[[0, 2, 3]] > 0).all()
    # The same push relative to the probability: the network's own split of the set stays as it is.
    assert (gradient[1] / p[1]).item() == pytest.approx((gradient[4] / p[4]).item(), rel=1e-2)


@pytest.mark.parametrize("variant", ["official", "corrected"])
def test_weights_of_one_change_nothing_and_of_zero_leave_out(variant):
    logits = _logits()
    ordinary = _terms(logits, _targets(), variant)
    torch.testing.assert_close(_terms(logits, _targets(weight=torch.ones(2, 3)), variant), ordinary)
    without = _targets()
    left_out = (without["instances"] == 2) & torch.tensor([True, False]).view(2, 1, 1)
    without["types"] = without["types"].masked_fill(left_out, -1)
    weight = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    torch.testing.assert_close(_terms(logits, _targets(weight=weight), variant), _terms(logits, without, variant))


def test_unlabelled_pixels_have_no_gradient_with_sets():
    logits, targets = _logits().requires_grad_(), _targets(SETS)
    _terms(logits, targets, "official").sum().backward()
    unlabelled = targets["allowed"] == 0
    assert unlabelled.any() and not logits.grad.movedim(1, -1)[unlabelled].any()
    assert torch.isfinite(logits.grad).all()
