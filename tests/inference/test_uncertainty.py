from __future__ import annotations

import torch

from medcl.inference.uncertainty import normalised_entropy


def test_certain_is_zero_and_ignorant_is_one():
    probabilities = torch.tensor([[1.0, 0.25, 0.5], [0.0, 0.25, 0.5], [0.0, 0.25, 0.0], [0.0, 0.25, 0.0]])
    # two equal halves of four classes: log 2 / log 4
    assert torch.allclose(normalised_entropy(probabilities), torch.tensor([0.0, 1.0, 0.5]))


def test_other_axis_and_single_class():
    assert torch.allclose(normalised_entropy(torch.full((3, 2), 0.5), dim=1), torch.ones(3))
    assert normalised_entropy(torch.ones(1, 4)).tolist() == [0, 0, 0, 0]


def test_stays_in_range_in_half_precision():
    uniform = torch.full((7, 10), 1 / 7, dtype=torch.bfloat16)
    found = normalised_entropy(uniform)
    assert found.dtype == torch.float32
    assert float(found.max()) <= 1
