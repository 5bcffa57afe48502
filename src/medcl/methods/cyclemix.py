"""More strokes by mixing, fewer by holes, and predictions that agree with each other and are one piece."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from medcl.augment.mix import beta, random_boxes
from medcl.augment.puzzle import puzzle_mask, puzzle_mix
from medcl.augment.turn import random_angles, turn
from medcl.batch import Batch
from medcl.losses.consistency import largest_pieces, pixel_consistency
from medcl.losses.partial import partial_cross_entropy
from medcl.losses.pseudo import hard_labels
from medcl.methods import Losses, Network, methods
from medcl.settings import Settings


@methods.register("cyclemix")
class CycleMix(Settings):
    """Puzzle mix with holes, and consistency across the mix and within it (Zhang and Zhuang, CVPR 2022).

    A step predicts the images, mixes them block by block where the strokes' loss looks, cuts a hole, turns the result
    and predicts it: its strokes count, its prediction should be the mixed prediction, and that of the plain image
    should have one piece per structure.
    """

    ce_weight: float = Field(1.0, ge=0, description="Weight of the cross-entropy on the strokes of plain images.")
    mixed_weight: float = Field(1.0, ge=0, description="Weight of the cross-entropy on the strokes of mixed images.")
    consistency_weight: float = Field(0.1, ge=0, description="Weight of the agreement of mixed and mixed prediction.")
    piece_weight: float = Field(
        0.1, ge=0, description="Weight of one piece per structure; set 0 where a structure has several pieces."
    )
    alpha: float = Field(1.0, gt=0, description="The wanted share of each image is drawn from Beta(alpha, alpha).")
    hole: float = Field(0.15, gt=0, lt=1, description="Side of the hole, share of the image's.")
    rotation_degrees: float = Field(30.0, ge=0, le=180, description="Largest turn of the mixed image, either way.")

    def step(self, batch: Batch, network: Network) -> Losses:
        """Return the four weighted terms of one batch; terms of weight 0 are absent."""
        image = batch.image.detach().clone().requires_grad_()
        logits = network(image)
        plain = partial_cross_entropy(logits, batch.target)
        probabilities = logits.float().softmax(dim=1)
        losses = {"partial_ce": self.ce_weight * plain}
        if self.mixed_weight or self.consistency_weight:
            (gradient,) = torch.autograd.grad(plain, image, retain_graph=True)
            saliency = gradient.float().square().mean(dim=1, keepdim=True).sqrt()
            losses |= self._mixed(batch, saliency, probabilities, network)
        if self.piece_weight:
            whole = hard_labels(probabilities.detach())
            kept = largest_pieces(whole.argmax(dim=1), network.task.classes)
            one_piece = torch.zeros_like(whole).scatter_(1, kept[:, None], 1.0)
            losses["one_piece"] = self.piece_weight * pixel_consistency(probabilities, one_piece)
        return losses

    def _mixed(self, batch: Batch, saliency: Tensor, probabilities: Tensor, network: Network) -> Losses:
        generator, device = network.generator, batch.image.device
        count, size = batch.image.shape[0], tuple(batch.image.shape[2:])
        partner = torch.randperm(count, generator=generator).to(device)
        share = beta((1,), self.alpha, generator).expand(count).to(device)
        blocks = 2 ** int(torch.randint(1, 5, (1,), generator=generator))
        mask = puzzle_mask(saliency, partner, share, blocks=blocks)
        seen = 1 - random_boxes(count, size, (self.hole, self.hole), generator).to(device)
        angles = random_angles(count, self.rotation_degrees, generator)
        image = turn(puzzle_mix(batch.image, partner, mask) * seen, angles)
        target = turn(puzzle_mix(batch.target, partner, mask) * seen, angles, nearest=True)
        logits = network(image)
        losses: Losses = {}
        if self.mixed_weight:
            losses["mixed_partial_ce"] = self.mixed_weight * partial_cross_entropy(logits, target)
        if self.consistency_weight:
            expected = turn(puzzle_mix(probabilities, partner, mask), angles)
            agreement = pixel_consistency(logits.float().softmax(dim=1), expected, turn(seen, angles) > 0.999)
            losses["mix_consistency"] = self.consistency_weight * agreement
        return losses
