"""MedCL's code terms as pure functions: hand-worked values, plain numpy loops as second implementation.

The four pixel terms (partial CE, Dice, consistency, existence) have their tests in tests/losses.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from medcl.methods.medcl.codes import (
    CodeHeads,
    batch_centres,
    class_and_group_maps,
    global_clustering,
    local_contrast,
)

HEART = [(1, 2, 3)]


def cos(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# --- maps of groups ---


def test_groups_are_sums_of_their_classes() -> None:
    probabilities = torch.tensor([0.1, 0.2, 0.3, 0.4]).reshape(1, 4, 1)
    maps = class_and_group_maps(probabilities, [(1, 2, 3), (2, 3), (3,)]).flatten()
    assert maps.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.9, 0.7, 0.4])
    assert class_and_group_maps(probabilities, []).shape == (1, 4, 1)


# --- local contrast ---


def nt_xent(codes: np.ndarray, views: int, temperature: float) -> float:
    """Second implementation: loops over samples and their positive."""
    count, rows, _ = codes.shape
    vectors = codes.reshape(count, -1)
    total = 0.0
    for i in range(count):
        others = [k for k in range(count) if k != i]
        denominator = sum(math.exp(cos(vectors[i], vectors[k]) / temperature) for k in others)
        positives = [k for k in others if k // views == i // views]
        total += sum(-math.log(math.exp(cos(vectors[i], vectors[k]) / temperature) / denominator) for k in positives)
    return total / ((views - 1) * count * rows)


@pytest.mark.parametrize(("images", "views", "rows"), [(2, 2, 5), (3, 2, 1), (5, 2, 8), (3, 3, 2)])
def test_contrast_agrees_with_loops(images: int, views: int, rows: int) -> None:
    codes = torch.randn(images * views, rows, 7, generator=torch.Generator().manual_seed(images), dtype=torch.float64)
    for temperature in (0.5, 0.1):
        loss = local_contrast(codes, views, temperature=temperature)
        assert loss.item() == pytest.approx(nt_xent(codes.numpy(), views, temperature))


def test_contrast_of_collapsed_codes() -> None:
    # 32 images, 2 views, 5 rows, all codes equal: log(63) / 5 = 0.829.
    assert local_contrast(torch.ones(64, 5, 128), 2).item() == pytest.approx(math.log(63) / 5, rel=1e-5)
    assert math.log(63) / 5 == pytest.approx(0.829, abs=5e-4)


def test_contrast_of_separated_images() -> None:
    # Views of one image equal, all other images orthogonal: log(1 + 62 / e^2) / 5 = 0.448.
    codes = torch.zeros(64, 5, 128)
    codes[torch.arange(64), 0, torch.arange(64) // 2] = 1
    loss = local_contrast(codes, 2).item()
    assert loss == pytest.approx(math.log(1 + 62 / math.e**2) / 5, rel=1e-5)
    assert loss == pytest.approx(0.448, abs=5e-4)


def test_contrast_of_one_image_or_one_view_says_nothing() -> None:
    codes = torch.randn(2, 3, 4, requires_grad=True)
    for views in (1, 2):
        loss = local_contrast(codes, views)
        loss.backward()
        assert loss.item() == 0
    assert codes.grad.abs().sum() == 0


def test_contrast_finds_its_partner_in_image_major_order() -> None:
    pair = torch.eye(3).repeat_interleave(2, dim=0)[:, None]  # 0, 0, 1, 1, 2, 2
    assert local_contrast(pair, 2) < local_contrast(pair[[0, 2, 4, 1, 3, 5]], 2)


# --- centres ---


def test_centres_average_members_only() -> None:
    codes = torch.tensor([[[2.0, 0.0], [1.0, 1.0]], [[4.0, 2.0], [5.0, 5.0]]])
    member = torch.tensor([[True, True], [True, False]])
    centres, seen = batch_centres(codes, member)
    assert centres.tolist() == [[3.0, 1.0], [1.0, 1.0]]
    assert seen.tolist() == [True, True]
    centres, seen = batch_centres(codes, torch.tensor([[True, False], [True, False]]))
    assert centres[1].tolist() == [0.0, 0.0]
    assert seen.tolist() == [True, False]


# --- global clustering ---


def clustering(codes: Tensor, centres: Tensor, groups: list[tuple[int, ...]] = HEART, *, part_pairs: bool) -> float:
    rows, member = centres.shape[0], torch.ones(codes.shape[:2], dtype=torch.bool)
    return global_clustering(codes, centres, member, groups, classes=rows - len(groups), part_pairs=part_pairs).item()


def test_clustering_of_collapsed_codes() -> None:
    # All five rows equal: e, U = e, ten pairs of e: -log(2e / 12e) = log 6 = 1.792. Without the three (whole, part)
    # pairs: -log(2e / 9e) = log 4.5.
    codes = torch.ones(8, 5, 16)
    assert clustering(codes, codes[0], part_pairs=True) == pytest.approx(1.792, abs=5e-4)
    assert clustering(codes, codes[0], part_pairs=False) == pytest.approx(math.log(4.5))


def test_clustering_of_orthogonal_rows_with_the_relation_at_its_best() -> None:
    # Idealised: no row resembles another (ten pairs of 1), yet the whole is the sum of its parts (U = e).
    # Four orthonormal rows give the parts; the pairs of the fifth are set by hand.
    e = math.e
    assert -math.log(2 * e / (2 * e + 10)) == pytest.approx(1.044, abs=5e-4)
    # Without (whole, part) pairs the ideal can be reached: background and parts orthonormal, whole = sum. Six pairs of
    # classes and (background, whole) give D = 7.
    rows = torch.eye(4, 16)
    rows = torch.cat((rows, rows[1:].sum(dim=0, keepdim=True)))
    expected = -math.log(2 * e / (2 * e + 7))
    assert clustering(rows.repeat(8, 1, 1), rows, part_pairs=False) == pytest.approx(expected, rel=1e-5)


def test_clustering_of_a_whole_that_is_the_sum_of_its_parts() -> None:
    # Orthonormal parts, the whole their sum: it is cos 1/sqrt(3) from each part, which the reference code repels.
    rows = torch.eye(4, 16)
    rows = torch.cat((rows, rows[1:].sum(dim=0, keepdim=True)))
    expected = -math.log(2 * math.e / (2 * math.e + 7 + 3 * math.exp(1 / math.sqrt(3))))
    value = clustering(rows.repeat(8, 1, 1), rows, part_pairs=True)
    assert value == pytest.approx(expected, rel=1e-5)
    assert value == pytest.approx(1.185, abs=5e-4)


def clustering_by_loops(
    codes: np.ndarray, centres: np.ndarray, member: np.ndarray, groups: list[tuple[int, ...]], part_pairs: bool
) -> float:
    """Second implementation: every pair and every code on its own."""
    rows = centres.shape[0]
    classes = rows - len(groups)
    parts = {c: {c} for c in range(classes)} | {classes + k: set(g) for k, g in enumerate(groups)}
    relation = [math.exp(cos(centres[classes + k], centres[list(g)].sum(0))) for k, g in enumerate(groups)]
    u = sum(relation) / len(relation) if relation else 0.0
    d = sum(
        math.exp(cos(centres[i], centres[j]))
        for i in range(rows)
        for j in range(i + 1, rows)
        if part_pairs or not parts[i] & parts[j]
    )
    terms = []
    for n in range(len(codes)):
        for r in range(rows):
            if member[n, r]:
                near = math.exp(cos(codes[n, r], centres[r]))
                terms.append(-math.log((near + u) / (near + u + d)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("part_pairs", [False, True])
@pytest.mark.parametrize(
    ("classes", "groups"),
    [(4, HEART), (4, []), (2, []), (6, [(1, 2), (3, 4, 5)]), (6, [(1, 2, 3), (2, 3), (3, 4)]), (3, [(2,)])],
    ids=["heart", "none", "two-classes", "disjoint", "overlapping", "single"],
)
def test_clustering_agrees_with_loops(classes: int, groups: list[tuple[int, ...]], part_pairs: bool) -> None:
    generator = torch.Generator().manual_seed(classes)
    rows = classes + len(groups)
    codes = torch.randn(5, rows, 9, generator=generator, dtype=torch.float64)
    member = torch.rand(5, rows, generator=generator) > 0.3
    member[0] = True
    centres, _ = batch_centres(codes, member)
    loss = global_clustering(codes, centres, member, groups, classes=classes, part_pairs=part_pairs)
    judge = clustering_by_loops(codes.numpy(), centres.numpy(), member.numpy(), groups, part_pairs)
    assert loss.item() == pytest.approx(judge)


def test_descending_the_clustering_makes_the_whole_the_sum_of_its_parts() -> None:
    codes = torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    member = torch.ones(6, 5, dtype=torch.bool)
    optimiser = torch.optim.Adam([codes], lr=0.1)
    for _ in range(80):
        centres, _ = batch_centres(codes, member)
        loss = global_clustering(codes, centres, member, HEART, classes=4)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    centres = batch_centres(codes.detach(), member)[0].numpy()
    assert cos(centres[4], centres[1:4].sum(0)) > 0.95
    assert all(cos(centres[i], centres[j]) < 0.3 for i in range(4) for j in range(i))
    assert min(cos(c[r], centres[r]) for c in codes.detach().numpy() for r in range(5)) > 0.7


def test_rows_without_members_or_centres_stay_finite() -> None:
    codes = torch.randn(2, 4, 6, requires_grad=True)
    member = torch.zeros(2, 4, dtype=torch.bool)
    for rows in ([], [0, 1], [0, 3]):
        member[:] = False
        member[:, rows] = True
        centres, _ = batch_centres(codes, member)
        loss = global_clustering(codes, centres, member, [(1, 2)], classes=3)
        codes.grad = None
        loss.backward()
        assert loss.isfinite()
        assert codes.grad.isfinite().all()
        assert codes.grad[:, [r for r in range(4) if r not in rows]].abs().sum() == 0


# --- code heads ---


@pytest.mark.parametrize("size", [(33, 47), (1, 20), (5, 5), (3, 17, 20), (1, 8, 8)])
def test_heads_fit_any_size(size: tuple[int, ...]) -> None:
    heads = CodeHeads(rows=6, ndim=len(size), grid=8, width=16, dim=10)
    maps = torch.randn(3, 5, *size).softmax(1)
    individual, anatomy = heads(class_and_group_maps(maps, [(1, 2)]))
    assert individual.shape == anatomy.shape == (3, 6, 10)
    (individual.sum() + anatomy.sum()).backward()
    assert all(p.grad is not None for p in heads.parameters())


def test_heads_describe_shape_not_size_of_the_image() -> None:
    # The same shape drawn on a grid twice as fine gives the same codes.
    maps = torch.rand(1, 3, 8, 8)
    heads = CodeHeads(rows=3, ndim=2, grid=8, width=16, dim=10)
    for coarse, fine in zip(heads(maps), heads(maps.repeat_interleave(2, 2).repeat_interleave(2, 3)), strict=True):
        torch.testing.assert_close(coarse, fine)


def test_reference_layout_of_the_heads() -> None:
    # LayerNorm(cells) - Linear - GELU - Linear, two of them: 46.24 M parameters each at 212 x 212, 1024 and 128.
    cells, width, dim = 212 * 212, 1024, 128
    by_formula = 2 * cells + cells * width + width + width * dim + dim
    assert by_formula == pytest.approx(46.24e6, rel=1e-3)
    small = CodeHeads(rows=2, ndim=2, grid=6, width=7, dim=5)
    assert sum(p.numel() for p in small.anatomy.parameters()) == 2 * 36 + 36 * 7 + 7 + 7 * 5 + 5
    assert {type(layer).__name__ for layer in small.individual} == {"LayerNorm", "Linear", "GELU"}
