from __future__ import annotations

import numpy as np
import pytest
import torch

from medcl.losses.barlow import barlow_twins


def test_independent_codes_that_agree_cost_nothing() -> None:
    codes = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert barlow_twins(codes, codes).item() == pytest.approx(0, abs=1e-6)
    assert barlow_twins(codes, -codes).item() == pytest.approx(2 * 2**2, rel=1e-3)  # both diagonals are -1


def test_a_code_that_says_the_same_twice_by_hand() -> None:
    one = torch.tensor([1.0, -1.0, 1.0, -1.0])
    codes = torch.stack((one, one), dim=1)  # the correlation is all ones: two entries off the diagonal
    assert barlow_twins(codes, codes, off_diagonal=0.1).item() == pytest.approx(0.2, rel=1e-3)


def test_against_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(9, 4, generator=generator) * 3 + 1 for _ in range(2))
    table = np.corrcoef(first.T.numpy(), second.T.numpy())[:4, 4:]
    off = ~np.eye(4, dtype=bool)
    expected = ((1 - np.diag(table)) ** 2).sum() + 5e-3 * (table[off] ** 2).sum()
    assert barlow_twins(first, second).item() == pytest.approx(expected, rel=1e-3)


def test_constant_codes_give_finite_gradients() -> None:
    first = torch.ones(4, 3, requires_grad=True)
    barlow_twins(first, torch.ones(4, 3)).backward()
    assert first.grad is not None
    assert first.grad.isfinite().all()
