"""Which method explains which network is found by trying."""

from __future__ import annotations

import pytest
from toys import Smooth, Tiny, classifier

from benchmark import applicability
from benchmark.applicability import NO, table, tried


@pytest.mark.parametrize(
    ("method", "shown"),
    [
        ("igos", "224, 112, 28, 14, 7"),  # those there are weights for
        ("mask", "any"),
        ("random", "any"),
        ("gradient", "32"),  # one cell for each pixel
        ("sobol", "11"),
        ("hsic", "7"),
    ],
)
def test_a_resolution_is_chosen_or_the_methods_own(method, shown):
    assert tried(method, classifier(Tiny(), classes=5)) == (shown, "")


def test_a_method_with_a_masker_is_tried_with_an_untrained_one():
    assert tried("realtime_saliency", classifier(Tiny(), classes=5)) == ("16", "")


@pytest.mark.parametrize("method", ["gradcam", "realtime_saliency", "excitation_backprop"])
def test_a_method_that_does_not_apply_says_why(method):
    shown, why = tried(method, classifier(Smooth(), classes=4))
    assert shown == NO
    assert "Smooth" in why


def test_the_table_gives_each_reason_once_for_all_it_concerns(monkeypatch):
    chosen = dict.fromkeys(["random", "gradcam", "hires_cam"])
    monkeypatch.setattr(applicability, "about_methods", lambda _: chosen)
    text = table(["squeezenet1_1", "vit_b_16"], "random")
    assert "| `random` | any | any |" in text
    assert "| `gradcam` | 13 | – |" in text
    assert "| `hires_cam` | 13 | – |" in text
    (reason,) = [line for line in text.splitlines() if line.startswith("- ")]
    assert reason.startswith("- `gradcam`, `hires_cam`: VisionTransformer")
