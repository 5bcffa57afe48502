"""Code heads: short vectors that describe the predicted shape of each class and group, and their losses."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class CodeHeads(nn.Module):
    """Two MLPs on class maps: the *individual* code tells images apart, the *anatomy* code tells classes apart.

    Source: MedCL reference code (`net_individual`, `net_anatomy`: LayerNorm, Linear, GELU, Linear). The maps are
    pooled to a fixed grid first, so that any image size fits.

    Args:
        rows: Number of maps R = classes + groups.
        ndim: 2 or 3.
        grid: Side K of the pooled (Y, X) grid.
        width: Hidden units.
        dim: Length D of a code.
    """

    centres: Tensor
    filled: Tensor

    def __init__(self, *, rows: int, ndim: int, grid: int = 32, width: int = 256, dim: int = 128) -> None:
        super().__init__()
        # A volume gets fewer cells per side, and fewest across its slices, for about the same length.
        sides = (grid, grid) if ndim == 2 else (max(1, grid // 4), grid // 2, grid // 2)
        self.pool = nn.AdaptiveAvgPool2d(sides) if ndim == 2 else nn.AdaptiveAvgPool3d(sides)
        cells = math.prod(sides)

        def mlp() -> nn.Sequential:
            return nn.Sequential(nn.LayerNorm(cells), nn.Linear(cells, width), nn.GELU(), nn.Linear(width, dim))

        self.individual = mlp()
        self.anatomy = mlp()
        self.register_buffer("centres", torch.zeros(rows, dim))
        self.register_buffer("filled", torch.zeros(rows, dtype=torch.bool))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, R, *S) class and group maps to the two codes, each (N, R, D)."""
        flat = self.pool(maps.float()).flatten(2)
        return self.individual(flat), self.anatomy(flat)


def class_and_group_maps(probabilities: Tensor, groups: list[tuple[int, ...]]) -> Tensor:
    """Append one map per group, the sum of its classes.

    Args:
        probabilities: (N, C, *S).
        groups: Class indices of each group.

    Returns:
        (N, C + len(groups), *S).
    """
    wholes = [probabilities[:, list(group)].sum(dim=1, keepdim=True) for group in groups]
    return torch.cat((probabilities, *wholes), dim=1)


def local_contrast(individual: Tensor, views: int, *, temperature: float = 0.5) -> Tensor:
    """NT-Xent over images: the views of one image attract, those of other images repel.

    Source: MedCL reference code: rows flattened to one vector per sample, temperature 0.5, self-similarity left out,
    sum over samples divided by samples times rows (the extra division by the rows is the reference's scale).

    Args:
        individual: (N, R, D) codes; sample i * views + v is view v of image i.
        views: Views per image.
        temperature: Softmax temperature.

    Returns:
        Scalar; 0 when there is only one image or one view.
    """
    count, rows, _ = individual.shape
    if views < 2 or count <= views:
        return individual.sum() * 0
    vectors = functional.normalize(individual.flatten(1), dim=1)
    similarity = vectors @ vectors.T / temperature
    itself = torch.eye(count, dtype=torch.bool, device=individual.device)
    image = torch.arange(count, device=individual.device) // views
    positive = (image[:, None] == image[None]) & ~itself
    log_denominator = similarity.masked_fill(itself, float("-inf")).logsumexp(dim=1, keepdim=True)
    loss = -(similarity - log_denominator)[positive]
    return loss.sum() / ((views - 1) * count * rows)


def batch_centres(anatomy: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
    """Mean anatomy code of each row over the samples that hold it.

    Args:
        anatomy: (N, R, D) codes.
        member: (N, R) bool, rows whose class exists in the sample.

    Returns:
        Centres (R, D) and a bool (R,) that says which rows had any sample.
    """
    weight = member.to(anatomy.dtype)[..., None]
    count = weight.sum(dim=0)
    return (anatomy * weight).sum(dim=0) / count.clamp(min=1), count[:, 0] > 0


def global_clustering(
    anatomy: Tensor,
    centres: Tensor,
    member: Tensor,
    groups: list[tuple[int, ...]],
    *,
    classes: int,
    part_pairs: bool = False,
    eps: float = 1e-10,
) -> Tensor:
    """Pull anatomy codes to the centre of their class, keep centres apart, make a whole the sum of its parts.

    Source: MedCL reference code. With U = mean over groups of exp cos(mu_group, sum of its parts' mu), D = sum over
    pairs of rows of exp cos(mu_i, mu_j): L_glo = mean over (sample, row) of
    -log((exp cos(a, mu) + U) / (exp cos(a, mu) + U + D) + eps). Without groups U is 0.

    Args:
        anatomy: (N, R, D) codes, rows are classes and then groups.
        centres: (R, D).
        member: (N, R) bool, which codes count.
        groups: Class indices of each group.
        classes: Number of classes C; row C + k is group k.
        part_pairs: Whether D holds the (whole, part) pairs, which U pulls together (the reference code does).
        eps: Inside the logarithm.

    Returns:
        Scalar.
    """
    unit = functional.normalize(centres, dim=1)
    closeness = (functional.normalize(anatomy, dim=2) * unit).sum(dim=2).exp()
    rows = centres.shape[0]
    wholes = [
        functional.cosine_similarity(centres[classes + k], centres[list(parts)].sum(dim=0), dim=0).exp()
        for k, parts in enumerate(groups)
    ]
    relation = torch.stack(wholes).mean() if wholes else centres.new_zeros(())
    apart = torch.triu(torch.ones(rows, rows, dtype=torch.bool, device=centres.device), diagonal=1)
    if not part_pairs:
        for k, parts in enumerate(groups):
            for j, other in enumerate(groups[:k]):
                if set(other) & set(parts):
                    apart[classes + j, classes + k] = False
            apart[list(parts), classes + k] = False
    repulsion = (unit @ unit.T).exp()[apart].sum()
    attraction = closeness + relation
    loss = -(attraction / (attraction + repulsion) + eps).log()
    return (loss * member).sum() / member.sum().clamp(min=1)
