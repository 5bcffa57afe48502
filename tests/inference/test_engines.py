from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

from medcl.backbones import build_backbone
from medcl.errors import MissingExtraError, ModelError, SettingsError
from medcl.inference import engines
from medcl.inference.engines import (
    CheckedEngine,
    EngineUnusableError,
    OpenVinoEngine,
    TorchEngine,
    agreement,
    choose_engine,
)

CPU = torch.device("cpu")


def logits(*pixels: list[float]) -> torch.Tensor:
    return torch.tensor(pixels).T.reshape(1, len(pixels[0]), 1, len(pixels))


def test_agreement_is_the_share_of_equal_classes():
    reference = logits([9, 0], [9, 0], [0, 9], [0, 9])
    assert agreement(reference, reference) == 1
    assert agreement(logits([9, 0], [0, 9], [0, 9], [0, 9]), reference) == 0.75


def test_ties_of_the_reference_do_not_count_against_an_engine():
    assert agreement(logits([0, 1]), logits([0.001, 0])) == 1
    assert agreement(logits([0, 1]), logits([1.0, 0])) == 0


class Shifted(TorchEngine):
    """Answers with the classes in another order."""

    def __init__(self, network):
        super().__init__(network, CPU, "fp32")
        self.name = "shifted"

    def __call__(self, batch):
        return super().__call__(batch).roll(1, dims=1)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(1, 3, 3, padding=1).eval()


def batch(*size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


def test_an_engine_that_disagrees_is_dropped_and_the_reason_told(network, caplog):
    reference = TorchEngine(network, CPU, "fp32")
    checked = CheckedEngine([(lambda: Shifted(network), "it is quick")], reference)
    assert checked.name == "shifted"
    image = batch(2, 1, 8, 8)
    with caplog.at_level(logging.WARNING, logger="medcl"):
        assert torch.equal(checked(image), network(image))
    assert checked.name == "torch fp32 on cpu"
    assert "shifted chooses the class of torch fp32 in only" in checked.reason
    assert "shifted" in caplog.text


def test_an_engine_that_cannot_be_built_is_dropped(network):
    def broken() -> Shifted:
        raise EngineUnusableError("no such thing")

    good = (lambda: TorchEngine(network, CPU, "fp32"), "second choice")
    checked = CheckedEngine([(broken, "best"), good], TorchEngine(network, CPU, "fp32"))
    checked(batch(1, 1, 8, 8))
    assert checked.reason == (
        "no such thing; second choice; same class as torch fp32, ties apart, in 100.000% of pixels checked"
    )


def test_a_named_engine_is_never_replaced(network):
    checked = CheckedEngine([(lambda: Shifted(network), "asked for")], TorchEngine(network, CPU, "fp32"), strict=True)
    with pytest.raises(ModelError, match="use engine 'auto' or 'torch'"):
        checked(batch(1, 1, 8, 8))


def test_each_size_is_checked_once(network, monkeypatch):
    sizes = []
    checked = CheckedEngine([(lambda: TorchEngine(network, CPU, "fp32"), "")], TorchEngine(network, CPU, "fp32"))
    monkeypatch.setattr(engines, "agreement", lambda found, expected: sizes.append(tuple(found.shape)) or 1.0)
    for side in (8, 8, 16, 8, 16):
        checked(batch(3, 1, side, side))
    assert sizes == [(1, 3, 8, 8), (1, 3, 16, 16)]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_gives_the_numbers_of_torch(ndim, precision):
    capabilities = engines.openvino_capabilities()
    if capabilities is None:
        pytest.skip("OpenVINO is not installed")
    if precision == "bf16" and "BF16" not in capabilities:
        pytest.skip("this processor has no bf16")
    torch.manual_seed(0)
    module = build_backbone("unet", in_channels=2, classes=3, ndim=ndim, base=4, levels=3).eval()
    engine = OpenVinoEngine(module, precision, threads=1)
    reference = TorchEngine(module, CPU, "fp32")
    for size in ((3, 2, 16, 24, 16), (1, 2, 16, 24, 16), (2, 2, 32, 16, 16)):
        image = batch(*size[: ndim + 2])
        expected = reference(image)
        tolerance = 1e-4 if precision == "fp32" else 0.05 * float(expected.abs().max())
        assert torch.allclose(engine(image), expected, atol=tolerance)


def test_a_signal_after_several_engines_came_and_went_is_handled():
    pytest.importorskip("openvino")
    code = """
import gc, signal
import torch
from torch import nn
from medcl.inference.engines import OpenVinoEngine, openvino_capabilities
openvino_capabilities()
engines = [OpenVinoEngine(nn.Conv2d(1, 2, 1), "fp32", 1) for _ in range(2)]
for engine in engines:
    engine(torch.zeros(1, 1, 4, 4))
while engines:  # first in, first out
    del engine
    engine = engines.pop(0)
    gc.collect()
del engine
gc.collect()
signal.signal(signal.SIGINT, lambda *_: print("handled"))
signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, encoding="utf-8")
    assert (done.returncode, done.stdout.strip()) == (0, "handled"), done.stderr


def test_openvino_that_cannot_compile_says_so():
    if engines.openvino_capabilities() is None:
        pytest.skip("OpenVINO is not installed")

    class Broken(nn.Module):
        def forward(self, image):
            raise RuntimeError("cannot be traced")

    with pytest.raises(EngineUnusableError, match="OpenVINO cannot compile"):
        OpenVinoEngine(Broken(), "fp32", 1)(batch(1, 1, 8, 8))


def test_auto_says_what_it_chose_and_why(network):
    checked = choose_engine(network, device="cpu")
    assert checked.name.startswith("OpenVINO" if engines.openvino_capabilities() else "torch")
    assert "no GPU" in checked.reason
    assert "bf16" in checked.reason


def test_without_openvino_torch_is_chosen(network, monkeypatch):
    monkeypatch.setattr(engines, "openvino_capabilities", lambda: None)
    assert choose_engine(network, device="cpu").name.startswith("torch")
    with pytest.raises(MissingExtraError, match=r"medcl\[openvino\]"):
        choose_engine(network, device="cpu", engine="openvino")


def test_precision_can_be_forced(network):
    assert choose_engine(network, engine="torch", device="cpu", precision="bf16").name.startswith("torch bf16")
    assert choose_engine(network, engine="torch", device="cpu", precision="fp32").name.startswith("torch fp32")


def test_what_cannot_be_had_is_an_error(network):
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="'cuda' is not on this machine; there is: cpu"):
            choose_engine(network, device="cuda")
    with pytest.raises(SettingsError, match="unknown engine 'opnvino'; did you mean 'openvino'"):
        choose_engine(network, engine="opnvino")
    with pytest.raises(SettingsError, match="unknown precision"):
        choose_engine(network, precision="fp8")
    with pytest.raises(SettingsError, match="device: expected one of"):
        choose_engine(network, device="tpu")
    with pytest.raises(SettingsError, match="threads"):
        choose_engine(network, threads=0)
