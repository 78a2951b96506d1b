"""Networks: torchvision's names and shapes, known parameter counts, outputs of another library's, weight files."""

import pytest
import torch

from stnuclei.errors import UserError
from stnuclei.expression.networks import build_network, head_of, load_weights, normalisation, parameter_count

#: With the 1000-class head of ImageNet.
COUNTS = {"efficientnet-b0": 5_288_548, "resnet-50": 25_557_032, "densenet-121": 7_978_856}
#: Names and shapes as torchvision's weight files have them.
TENSORS = {
    "efficientnet-b0": (360, {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.0.1.running_var": (32,),
        "features.1.0.block.0.0.weight": (32, 1, 3, 3),
        "features.1.0.block.1.fc1.weight": (8, 32, 1, 1),
        "features.1.0.block.2.0.weight": (16, 32, 1, 1),
        "features.2.0.block.0.0.weight": (96, 16, 1, 1),
        "features.2.0.block.1.0.weight": (96, 1, 3, 3),
        "features.2.0.block.2.fc1.bias": (4,),
        "features.2.0.block.3.1.weight": (24,),
        "features.3.1.block.1.0.weight": (240, 1, 5, 5),
        "features.6.3.block.2.fc2.weight": (1152, 48, 1, 1),
        "features.7.0.block.3.0.weight": (320, 1152, 1, 1),
        "features.8.0.weight": (1280, 320, 1, 1),
        "features.8.1.num_batches_tracked": (),
        "classifier.1.weight": (1000, 1280),
    }),
    "resnet-50": (320, {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.bias": (256,),
        "layer1.2.conv3.weight": (256, 64, 1, 1),
        "layer2.0.conv1.weight": (128, 256, 1, 1),
        "layer2.3.conv2.weight": (128, 128, 3, 3),
        "layer3.5.bn3.weight": (1024,),
        "layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
        "layer4.2.conv2.weight": (512, 512, 3, 3),
        "fc.weight": (1000, 2048),
    }),
    "densenet-121": (727, {
        "features.conv0.weight": (64, 3, 7, 7),
        "features.norm0.weight": (64,),
        "features.denseblock1.denselayer1.norm1.weight": (64,),
        "features.denseblock1.denselayer6.conv1.weight": (128, 224, 1, 1),
        "features.transition1.conv.weight": (128, 256, 1, 1),
        "features.denseblock3.denselayer24.conv2.weight": (32, 128, 3, 3),
        "features.transition3.norm.running_var": (1024,),
        "features.denseblock4.denselayer16.norm1.weight": (992,),
        "features.norm5.bias": (1024,),
        "classifier.weight": (1000, 1024),
    }),
}  # fmt: skip
#: Outputs on `wave` with the weights of `fill`. MONAI 1.6.1's networks, given the same weights, give the same numbers
#: (its EfficientNet with equal padding on both sides and batch norm's usual epsilon, as torchvision has them).
OUTPUTS = {
    "efficientnet-b0": [0.25164, -0.12555, 0.16906, 0.10314, -0.14014],
    "resnet-50": [-412.75, 245.29, 853.23, -932.74, 753.3],
    "densenet-121": [1.0403, -1.4068, -0.048015, -0.20256, 0.13052],
}


def fill(network):
    """Weights by name order, so that another library's network can be given the same."""
    random = torch.Generator().manual_seed(1)
    for name, value in sorted(network.state_dict().items()):
        if value.dtype == torch.int64:
            continue
        if "running_var" in name:
            value.copy_(torch.rand(value.shape, generator=random) + 0.5)
        elif value.ndim == 1:
            value.copy_(torch.randn(value.shape, generator=random) * 0.1 + name.endswith("weight"))
        else:
            value.copy_(torch.randn(value.shape, generator=random) * (2 / value[0].numel()) ** 0.5)
    return network.eval()


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_names_and_shapes_are_torchvisions(name):
    with torch.device("meta"):
        network = build_network(name, 1000)
    assert parameter_count(network) == COUNTS[name]
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    number, expected = TENSORS[name]
    assert len(shapes) == number
    assert {key: shapes.get(key) for key in expected} == expected


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_are_those_of_another_library(name):
    wave = torch.linspace(-2, 2, 3 * 64 * 64).view(1, 3, 64, 64).sin()
    with torch.inference_mode():
        got = fill(build_network(name, 5))(wave)[0]
    assert torch.allclose(got, torch.tensor(OUTPUTS[name]), rtol=1e-3)


def test_vit_is_cellvits_encoder_and_takes_other_sizes():
    network = build_network("vit-s16", 7).eval()
    assert parameter_count(network) - 7 * 385 == 21_665_664  # ViT-S/16 without a head
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 96, 96)).shape == (2, 7)
    assert normalisation("vit-s16")[0] == (0.5, 0.5, 0.5) and normalisation("resnet-50")[0][0] == 0.485


@pytest.mark.parametrize("name", ["efficientnet-tiny", "densenet-121"])
def test_weight_files_load_whatever_their_head(tmp_path, name):
    given = build_network(name, 1000).state_dict()
    # Old files: no counters of batches; DenseNet's wrote norm.1 for norm1.
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for key, value in given.items()
        if not key.endswith("num_batches_tracked")
    }
    torch.save({"state_dict": old} if name == "densenet-121" else old, tmp_path / "w.pth")
    network = build_network(name, 9)
    head = head_of(network).weight.clone()
    load_weights(network, tmp_path / "w.pth")
    own = network.state_dict()
    same = [torch.equal(own[key], given[key]) for key in given if not key.startswith("classifier")]
    assert all(same) and len(same) > 80
    assert torch.equal(head_of(network).weight, head)


def test_vit_takes_hipts_file(tmp_path):
    given = {f"module.backbone.{k}": v for k, v in build_network("vit-s16", 3).encoder.state_dict().items()}
    given = {key: value for key, value in given.items() if ".head." not in key}
    torch.save({"teacher": given, "student": {}}, tmp_path / "vit.pth")
    network = build_network("vit-s16", 5)
    assert load_weights(network, tmp_path / "vit.pth") == len(given) == 150
    assert torch.equal(network.encoder.norm.weight, given["module.backbone.norm.weight"])


def test_files_of_other_networks_are_refused_whole(tmp_path):
    torch.save(build_network("efficientnet-tiny", 4).state_dict(), tmp_path / "w.pth")
    network = build_network("resnet-50", 4)
    before = network.conv1.weight.clone()
    with pytest.raises(UserError, match="are not ResNet50's: .* missing .* unexpected"):
        load_weights(network, tmp_path / "w.pth")
    assert torch.equal(network.conv1.weight, before)
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    with pytest.raises(UserError, match="hold no tensors by name"):
        load_weights(network, tmp_path / "none.pth")
    with pytest.raises(UserError, match="no such file"):
        load_weights(network, tmp_path / "absent.pth")
    with pytest.raises(UserError, match="'vgg' is none of efficientnet-b0, resnet-50"):
        build_network("vgg", 4)
