"""The rewriting of a network into modules that are used once."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from toys import Tiny, classifier, images_of

from benchmark import scenes_networks
from benchmark.interfaces import BadInput
from benchmark.unfold import SpatialMean, Sum, unfold

NETWORKS = ["vgg11", "resnet18", "squeezenet1_1", "mobilenet_v2", "inception_v3", "vit_b_16"]
NETWORKS += ["convnext_tiny", "densenet121", "scenes_vgg", "scenes_resnet"]


class Awkward(nn.Module):
    """Everything that goes wrong with hooks: functions, reuse, in-place, additions."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 2)

    def forward(self, images):
        maps = self.relu(self.first(images))
        maps = maps + self.relu(self.norm(self.again(maps)))
        maps = functional.max_pool2d(functional.relu(maps), 2)
        maps += functional.relu6(self.again(maps))
        maps = functional.avg_pool2d(functional.hardtanh(maps, -1.0, 3.0), 2)
        return self.head(torch.relu(maps).mean((2, 3)))


def network_of(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "awkward":
            return Awkward().eval().requires_grad_(False)
        if name.startswith("scenes"):
            return getattr(scenes_networks, name)().eval().requires_grad_(False)
        extra = {"init_weights": False} if name == "inception_v3" else {}
        network = torchvision.models.get_model(name, weights=None, **extra)
        return network.eval().requires_grad_(False)


@pytest.mark.parametrize("name", ["awkward", *NETWORKS])
def test_the_rewritten_network_computes_the_same(name):
    network = network_of(name)
    images = images_of(1, {"inception_v3": 299}.get(name, 224)) - 0.5
    before = {key: (id(value), value.clone()) for key, value in network.state_dict().items()}
    made = unfold(network)
    expected, got = network(images), made(images)
    scale = float(expected.abs().max()) or 1.0
    torch.testing.assert_close(got / scale, expected / scale, rtol=0, atol=1e-4)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key][1])


def test_every_module_of_the_rewritten_network_is_used_once_and_none_in_place():
    made = unfold(network_of("awkward"))
    used = [node.target for node in made.graph.nodes if node.op == "call_module"]
    assert len(used) == len(set(used))
    modules = [made.get_submodule(name) for name in used]
    assert not any(getattr(module, "inplace", False) for module in modules)
    kinds = [type(module).__name__ for module in modules]
    assert kinds.count("ReLU") == 4
    assert {"ReLU6", "MaxPool2d", "AvgPool2d", "Hardtanh", "SpatialMean"} <= set(kinds)
    assert kinds.count("Sum") == 2
    assert "BatchNorm2d" not in kinds
    assert {str(n.target) for n in made.graph.nodes if n.op == "call_method"} == set()


def test_a_hook_on_the_rewritten_network_leaves_the_original_alone():
    network = network_of("awkward")
    made = unfold(network)
    for module in made.modules():
        module.register_forward_hook(lambda *_: 1 / 0)
    network(images_of(1, 16))


def test_a_sum_repeats_what_one_of_its_tensors_lacks():
    class Broadcast(nn.Module):
        def __init__(self):
            super().__init__()
            self.place = nn.Parameter(torch.arange(4.0))

        def forward(self, images):
            return images.mean((2, 3), keepdim=True).flatten(1)[:, :1] + self.place

    made = unfold(Broadcast().eval())
    assert [type(m) for m in made.children()] == [Sum]
    torch.testing.assert_close(made(torch.ones(2, 3, 4, 4)), torch.arange(1.0, 5.0).expand(2, 4))


def test_the_mean_over_space_becomes_a_pooling_layer_and_no_other_mean_does():
    class Means(nn.Module):
        def forward(self, images):
            return images.mean((-1, -2)) + images.mean(1).mean((1, 2))[:, None]

    made = unfold(Means())
    assert sum(isinstance(module, SpatialMean) for module in made.modules()) == 1


def test_a_network_whose_course_depends_on_the_image_is_refused():
    class Wayward(nn.Module):
        def forward(self, images):
            return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))

    with pytest.raises(BadInput, match="Wayward cannot be taken apart into its layers"):
        unfold(Wayward())


def test_a_classifier_around_another_network_counts_into_the_same_numbers():
    model = classifier(Tiny(), classes=5)
    model.begin_count(1)
    other = model.with_network(unfold(model.network))
    images = images_of(4)
    torch.testing.assert_close(other(images), model(images))
    assert model.forward_passes.tolist() == [8]
    assert other.cam_layer is not model.cam_layer


def test_a_layer_used_twice_keeps_what_follows_each_use_apart():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 3, padding=1)
            self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])

        def forward(self, images):
            for norm in self.norms:
                images = norm(self.layer(images))
            return torch.add(images, images, alpha=3).mean((2, 3))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Twice().eval()
        for norm in network.norms:
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    images = images_of(2, 16)
    torch.testing.assert_close(unfold(network)(images), network(images))
