import pickle
from dataclasses import replace
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from toys import Additive, Constant, NotANumber, Recorder, Tiny, batch_of, classifier, images_of

from benchmark.building import build
from benchmark.config import load
from benchmark.interfaces import BadInput
from benchmark.model_sources import RANDOM, TorchvisionModel, fill, read_weights, weights_hash
from benchmark.models import MemoryFormat, Precision

CPU = torch.device("cpu")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SQUEEZENET = TorchvisionModel(
    architecture="squeezenet1_1",
    weights="random",
    pretrained="IMAGENET1K_V1",
    weights_root=None,
    precision=Precision.fp32,
    memory_format=MemoryFormat.channels_last,
    pass_batch={"cpu": 20, "cuda": 240},
)


@pytest.fixture(scope="module")
def squeezenet():
    return SQUEEZENET.load(CPU)


@pytest.fixture(scope="module")
def state(squeezenet):
    return {key: value.contiguous() for key, value in squeezenet.network.state_dict().items()}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test may ask for torchvision's published weights: it would download them."""
    get_model = torchvision.models.get_model

    def refuse(name, weights=None, **settings):
        if weights is not None:
            raise URLError("no network in tests")
        return get_model(name, weights=None, **settings)

    monkeypatch.setattr(torchvision.models, "get_model", refuse)


# The classifier


def test_images_are_normalised_inside():
    seen = []

    class Watching(Constant):
        def score(self, images):
            seen.append(images)
            return super().score(images)

    images = images_of(4, 8)
    classifier(Watching(0.3), mean=MEAN, std=STD)(images)
    for channel in range(3):
        expected = (images[:, channel] - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(seen[0][:, channel], expected, rtol=0, atol=1e-6)


def test_the_network_is_frozen_and_in_evaluation_mode():
    network = Tiny().train()
    model = classifier(network, classes=5)
    assert not any(module.training for module in model.network.modules())
    assert not any(each.requires_grad for each in model.network.parameters())


def test_scores_are_softmax_probabilities_of_the_targets():
    model = classifier(Tiny(), classes=5, kind=Recorder, pass_batch=3)
    images, targets = images_of(7, 32), torch.tensor([0, 1, 2, 3, 4, 0, 1])
    scores = model.scores(images, targets)
    assert [len(call) for call in model.calls] == [3, 3, 1]
    logits = model(images).double()
    expected = logits.exp() / logits.exp().sum(1, keepdim=True)
    for row, target in enumerate(targets):
        assert float(scores[row]) == pytest.approx(float(expected[row, target]), abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("memory_format", MemoryFormat)
def test_logits_do_not_depend_on_the_number_of_images_passed_at_once(
    count, memory_format, squeezenet
):
    model = squeezenet
    if memory_format is MemoryFormat.contiguous:
        model = replace(SQUEEZENET, memory_format=memory_format).load(CPU)
    images = images_of(8, 224)
    with torch.no_grad():
        whole = model(images)
        assert torch.equal(model(images[:count]), whole[:count])
        assert torch.equal(model(images[-count:]), whole[-count:])
        assert torch.equal(model(images.flip(0))[:count], whole.flip(0)[:count])


def test_logits_are_single_precision_whatever_the_network_computes_in():
    for precision in (Precision.fp32, Precision.bf16):
        model = classifier(Tiny(), classes=5, precision=precision)
        assert model(images_of(2, 32)).dtype == torch.float32


def test_half_precision_is_used_and_close():
    images = images_of(4, 32)
    full, half = (
        classifier(Tiny(), classes=5, precision=precision)(images)
        for precision in (Precision.fp32, Precision.bf16)
    )
    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, rtol=0.1, atol=0.1)


def test_tf32_is_refused_without_a_cuda_device():
    with pytest.raises(BadInput, match="precision=tf32 needs a CUDA device, this run is on cpu"):
        classifier(Tiny(), classes=5, precision=Precision.tf32)


def test_a_broken_network_gives_scores_of_nan():
    model = classifier(NotANumber())
    assert model.scores(images_of(2, 8), torch.tensor([0, 1])).isnan().all()


# Counting passes


def gradient(model, images):
    images = images.clone().requires_grad_()
    torch.autograd.grad(model(images).sum(), images)


def test_a_pass_over_all_images_in_hand_counts_one_for_each():
    model = classifier(Tiny(), classes=5)
    model.begin_count(3)
    model(images_of(3, 32))
    assert model.forward_passes.tolist() == [1, 1, 1]
    assert model.backward_passes.tolist() == [0, 0, 0]
    gradient(model, images_of(3, 32))
    assert model.forward_passes.tolist() == [2, 2, 2]
    assert model.backward_passes.tolist() == [1, 1, 1]


def test_a_pass_over_more_or_fewer_inputs_is_shared_by_the_images_in_hand():
    model = classifier(Tiny(), classes=5)
    model.begin_count(2)
    gradient(model, images_of(6, 32))
    model(images_of(1, 32))
    assert model.forward_passes.tolist() == [3.5, 3.5]
    assert model.backward_passes.tolist() == [3, 3]


def test_passes_made_for_some_rows_count_for_those_rows_only():
    model = classifier(Tiny(), classes=5)
    model.begin_count(4)
    with model.passes_of(torch.tensor([3, 1])):
        gradient(model, images_of(6, 32))
    with model.passes_of(torch.tensor([0])):
        model(images_of(2, 32))
    model(images_of(4, 32))
    assert model.forward_passes.tolist() == [3, 4, 1, 4]
    assert model.backward_passes.tolist() == [0, 3, 0, 3]


def test_rows_within_a_block_are_places_in_its_rows():
    model = classifier(Tiny(), classes=5)
    model.begin_count(4)
    with model.passes_of(torch.tensor([3, 1, 0])):
        with model.passes_of(torch.tensor([2, 0])):
            gradient(model, images_of(2, 32))
            with model.passes_of(torch.tensor([1])):
                model(images_of(5, 32))
        model(images_of(3, 32))
    assert model.forward_passes.tolist() == [2, 1, 0, 7]
    assert model.backward_passes.tolist() == [1, 0, 0, 1]


def test_a_row_named_twice_counts_two_inputs():
    model = classifier(Tiny(), classes=5)
    model.begin_count(3)
    with model.passes_of(torch.tensor([2, 2, 1])):
        gradient(model, images_of(3, 32))
        with model.passes_of(torch.tensor([0, 1])):
            gradient(model, images_of(2, 32))
    assert model.forward_passes.tolist() == [0, 1, 4]
    assert model.backward_passes.tolist() == [0, 1, 4]


def test_a_classifier_around_another_network_keeps_the_rows_it_was_made_in():
    model = classifier(Tiny(), classes=5)
    model.begin_count(2)
    with model.passes_of(torch.tensor([1, 1])):
        other = model.with_network(Tiny())
        with other.passes_of(torch.tensor([0])):
            gradient(other, images_of(1, 32))
    assert model.forward_passes.tolist() == [0, 1]
    assert model.backward_passes.tolist() == [0, 1]


def test_rows_may_be_named_without_a_count():
    model = classifier(Tiny(), classes=5)
    with model.passes_of(torch.tensor([2, 4])), model.passes_of(torch.tensor([1])):
        model(images_of(1, 32))
    assert model.forward_passes.tolist() == [0, 0, 0, 0, 1]


def test_a_backward_pass_counts_for_the_rows_of_its_forward_pass():
    model = classifier(Tiny(), classes=5)
    model.begin_count(2)
    images = images_of(1, 32).requires_grad_()
    with model.passes_of(torch.tensor([1])):
        logits = model(images)
    torch.autograd.grad(logits.sum(), images)
    assert model.backward_passes.tolist() == [0, 1]


def test_rows_are_forgotten_after_an_error():
    model = classifier(Tiny(), classes=5)
    model.begin_count(2)
    with pytest.raises(RuntimeError), model.passes_of(torch.tensor([0])):
        raise RuntimeError
    model(images_of(2, 32))
    assert model.forward_passes.tolist() == [1, 1]


def test_counting_begins_anew():
    model = classifier(Tiny(), classes=5)
    model.begin_count(2)
    gradient(model, images_of(2, 32))
    model.begin_count(3)
    assert model.forward_passes.tolist() == [0, 0, 0]
    assert model.backward_passes.tolist() == [0, 0, 0]


def test_a_pass_without_gradients_counts_no_backward_pass():
    model = classifier(Additive(torch.zeros(3, 8, 8)), classes=2)
    model.begin_count(1)
    with torch.no_grad():
        model(batch_of(images_of(1, 8)).images)
    assert model.backward_passes.tolist() == [0]


# Where weights come from


def test_random_weights_are_the_same_each_time_and_said_loudly(squeezenet):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = SQUEEZENET.load(CPU)
    assert torch.equal(before, torch.get_rng_state())
    assert weights_hash(again.network) == weights_hash(squeezenet.network)
    assert squeezenet.weights == RANDOM == "RANDOM WEIGHTS"


def test_a_torchvision_model_brings_what_belongs_to_it(squeezenet):
    assert torch.equal(squeezenet.mean, torch.tensor(MEAN))
    assert torch.equal(squeezenet.std, torch.tensor(STD))
    assert squeezenet.input_size == 224
    assert squeezenet.class_names[:2] == ["tench", "goldfish"]
    assert len(squeezenet.class_names) == 1000
    assert squeezenet.pass_batch == 20


def test_weights_are_read_from_either_kind_of_file(tmp_path, state, squeezenet):
    changed = {key: value + 0.5 for key, value in state.items()}
    save_file(changed, tmp_path / "mine.safetensors")
    torch.save(changed, tmp_path / "mine.pth")
    hashes = set()
    for name in ("mine.safetensors", "mine.pth"):
        for source in (
            replace(SQUEEZENET, weights=str(tmp_path / name)),
            replace(SQUEEZENET, weights=name, weights_root=str(tmp_path)),
        ):
            model = source.load(CPU)
            hashes.add(weights_hash(model.network))
            assert model.weights == name
            for key, value in model.network.state_dict().items():
                assert torch.equal(value, changed[key])
    assert len(hashes) == 1
    assert weights_hash(squeezenet.network) not in hashes


def test_auto_takes_the_file_of_that_name_from_the_folder(tmp_path, state):
    save_file(state, tmp_path / "squeezenet1_1.safetensors")
    model = replace(SQUEEZENET, weights="auto", weights_root=str(tmp_path)).load(CPU)
    assert model.weights == "squeezenet1_1.safetensors"


def test_auto_says_what_to_do_where_there_is_no_file_and_no_network(tmp_path):
    message = (
        r"squeezenet1_1: no squeezenet1_1\.safetensors or \.pth in .* and torchvision could not "
        r"download IMAGENET1K_V1 .*no network in tests.*WEIGHTS_ROOT.*model\.weights=random"
    )
    with pytest.raises(BadInput, match=message):
        replace(SQUEEZENET, weights="auto", weights_root=str(tmp_path)).load(CPU)
    with pytest.raises(BadInput, match="squeezenet1_1: torchvision could not download"):
        replace(SQUEEZENET, weights="auto").load(CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "vgg20"}, r"model\.architecture=vgg20 is not .*alexnet, .*vgg19"),
        (
            {"weights": "IMAGENET1K_V9"},
            r"model\.weights=IMAGENET1K_V9 is .*torchvision has IMAGENET",
        ),
        ({"weights": "nowhere.pth"}, r"there is no file nowhere\.pth"),
        ({"weights_root": "nowhere", "weights": "auto"}, "weights_root=nowhere .*is not a folder"),
        ({"pass_batch": {"cuda": 8}}, r"pass_batch\.cpu must be a number of images, or 0"),
        ({"pass_batch": {"cpu": -1}}, r"pass_batch\.cpu must be a number of images, or 0"),
    ],
)
def test_what_cannot_be_loaded_is_refused(changes, message):
    with pytest.raises(BadInput, match=message):
        replace(SQUEEZENET, **changes).load(CPU)


class Evil:
    """What a pickle could do on being read; it must not get the chance."""

    def __reduce__(self):
        return (pytest.fail, ("the file's code was run",))


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(BadInput, match=r"evil\.pth cannot be read as weights"):
        read_weights(tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(BadInput, match=r"plain\.pth cannot be read as weights"):
        read_weights(tmp_path / "plain.pth")


def test_a_whole_network_in_a_file_is_refused(tmp_path):
    torch.save(Tiny(), tmp_path / "network.pth")
    with pytest.raises(BadInput, match=r"network\.pth cannot be read as weights"):
        read_weights(tmp_path / "network.pth")


@pytest.mark.parametrize("content", [{"state_dict": {"a": torch.zeros(1)}}, [torch.zeros(1)], 3])
def test_a_file_that_is_not_a_state_dict_is_refused_with_what_to_save(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(BadInput, match=r"other\.pth is not a state dict: save network\.state_dict"):
        read_weights(tmp_path / "other.pth")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 100, b"PK\x03\x04" + b"\x00" * 60])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_anything_else_is_refused(tmp_path, suffix, content):
    file = tmp_path / f"broken{suffix}"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=rf"broken\{suffix} cannot be read as weights"):
        read_weights(file)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_half_a_file_is_refused(tmp_path, suffix, state):
    file = tmp_path / f"half{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(BadInput, match=rf"half\{suffix} cannot be read as weights"):
        read_weights(file)


def test_weights_of_another_network_are_refused(tmp_path, state):
    save_file(Tiny().state_dict(), tmp_path / "tiny.safetensors")
    with pytest.raises(BadInput, match=r"tiny\.safetensors does not fit the network: .*Missing"):
        replace(SQUEEZENET, weights=str(tmp_path / "tiny.safetensors")).load(CPU)
    network = Tiny(classes=7)
    with pytest.raises(BadInput, match=r"five does not fit the network: .*head"):
        fill(network, Tiny(classes=5).state_dict(), "five")


def test_the_weights_hash_sees_every_number_and_name():
    first, second = Tiny(), Tiny()
    assert weights_hash(first) == weights_hash(second)
    second.features[1].running_var[3] += 1e-6
    assert weights_hash(first) != weights_hash(second)


@pytest.mark.parametrize("name", ["vgg19", "resnet50", "squeezenet1_1"])
def test_the_papers_networks_are_pinned_to_the_first_weights(name):
    source = build(load(f"model={name}").model, "model")
    assert (source.architecture, source.pretrained) == (name, "IMAGENET1K_V1")
