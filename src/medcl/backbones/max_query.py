"""Queries as cluster centres: a pixel belongs to the class whose queries answer it, and is strange where none does."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from medcl.backbones import backbones
from medcl.backbones.unet import UNet, UNetBranch, UNetSettings
from medcl.backbones.weights import WithWeights


@backbones.register("max-query")
class MaxQuerySettings(WithWeights):
    """U-Net with a mask-transformer head of cluster-centre queries (MaxQuery, Yuan et al., CVPR 2023)."""

    has_branches: ClassVar[bool] = True

    base: int = Field(16, ge=2, description="Channels of the finest level of the U-Net; doubled at each coarser one.")
    levels: int = Field(5, ge=2, le=7, description="Resolution levels of the U-Net, the finest included.")
    max_channels: int = Field(320, ge=2, description="Largest number of channels of a level.")
    norm: Literal["batch", "group"] = Field("batch", description="Normalisation after each convolution.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout of whole channels at the two coarsest levels.")
    strides: tuple[tuple[PositiveInt, ...], ...] | None = Field(
        None, min_length=1, description="Step per axis from each level to the next; default: the plan's, or 2."
    )
    kernels: tuple[tuple[PositiveInt, ...], ...] | None = Field(
        None, min_length=2, description="Odd kernel per axis of each level; default: the plan's, or 3."
    )
    width: int = Field(32, ge=4, description="Numbers that describe a pixel and a query.")
    queries: int = Field(4, ge=1, description="Queries per structure.")
    background_queries: int = Field(12, ge=1, description="Queries of the background, which is more than one thing.")
    layers: int = Field(3, ge=1, le=6, description="Rounds in which the queries read the image, one level each.")

    def build(self, *, in_channels: int, classes: int, ndim: int) -> MaxQuery:
        """Return the network for images of `ndim` dimensions.

        Raises:
            SettingsError: A step of `strides` or `kernels` has not one number per axis, or their counts differ.
        """
        pixels = self.pixel_settings().build(in_channels=in_channels, classes=self.width, ndim=ndim)
        return MaxQuery(self, pixels, classes=classes)

    def pixel_settings(self) -> UNetSettings:
        """Return the settings of the U-Net that describes the pixels."""
        shared = ("base", "levels", "max_channels", "norm", "dropout", "strides", "kernels")
        return UNetSettings(**{name: getattr(self, name) for name in shared})

    def groups(self, classes: int) -> tuple[int, ...]:
        """Return how many queries each class has, background first."""
        return (self.background_queries, *(self.queries,) * (classes - 1))


class MaxQuery(nn.Module):
    """Pixel embeddings of a U-Net, queries that read its levels, and their products as answers.

    The answer of query q at pixel x is <q, f(x)>. A softmax over all queries assigns the pixel to clusters; queries are
    divided between the classes for good, so the probability of a class is the sum over its queries, and
    logits are log(mean(exp(answers))) over them. Cross-entropy of these logits on labelled pixels is the paper's
    query-distribution loss (`medcl.losses.query_distribution`); so any method trains the clusters, from strokes too.

    Source: Yuan et al., Devil is in the Queries, CVPR 2023: queries as cluster centres, groups of queries per class,
    the largest answer as score of familiarity. Two things are simpler here (derived): queries belong to their class for
    good, so nothing is matched and no query is classified; and the answers of a group of n queries are averaged, not
    summed, so that many background queries do not drown what is drawn.

    Args:
        settings: Counts and widths.
        pixels: The U-Net; its "logits" are the pixel embeddings.
        classes: Channels of the logits.
    """

    def __init__(self, settings: MaxQuerySettings, pixels: UNet, *, classes: int) -> None:
        super().__init__()
        self.settings, self.classes = settings, classes
        self.pixels = pixels
        nn.init.kaiming_normal_(pixels.head.weight, a=1.0)
        self.centres = QueryDecoder(settings, pixels.layout.widths, classes)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Map (N, in_channels, *S) to the features of all levels, finest first."""
        return self.pixels.encode(image)

    def decode(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        """Map the features of all levels to logits (N, classes, *size)."""
        return self.centres.logits(self.centres(features, self.pixels.decode(features, size)))

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, in_channels, *S) to logits (N, classes, *S)."""
        return self.decode(self.encode(image), tuple(image.shape[2:]))

    def answers(self, image: Tensor) -> Tensor:
        """Return what every query answers at every pixel: (N, queries, *S), classes one after the other."""
        features = self.encode(image)
        return self.centres(features, self.pixels.decode(features, tuple(image.shape[2:])))

    def strangeness(self, image: Tensor) -> Tensor:
        """Return minus the largest answer of any query, (N, *S): large where a pixel is near no cluster centre.

        Source: the MaxQuery score of Yuan et al., CVPR 2023, before it is scaled.
        """
        return -self.answers(image).amax(dim=1)

    def branch(self) -> MaxQueryBranch:
        """Return a further decoder of the same structure with fresh weights."""
        return MaxQueryBranch(self)


class MaxQueryBranch(nn.Module):
    """A further decoder with pixels and queries of its own on the features of a MaxQuery network."""

    def __init__(self, network: MaxQuery) -> None:
        super().__init__()
        self.pixels: UNetBranch = network.pixels.branch()
        nn.init.kaiming_normal_(self.pixels.head.weight, a=1.0)
        self.centres = QueryDecoder(network.settings, network.pixels.layout.widths, network.classes)

    def forward(self, features: list[Tensor], size: tuple[int, ...]) -> Tensor:
        """Map the features of all levels to logits (N, classes, *size)."""
        return self.centres.logits(self.centres(features, self.pixels(features, size)))


class QueryDecoder(nn.Module):
    """Learnt queries that read the levels of an encoder, coarsest first, and then answer every pixel.

    Args:
        settings: Counts and widths.
        widths: Channels of the encoder's levels, finest first.
        classes: Number of classes.
    """

    def __init__(self, settings: MaxQuerySettings, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.counts = settings.groups(classes)
        self.queries = nn.Parameter(torch.randn(sum(self.counts), settings.width))
        # the finest levels hold too many places to read, and say little that the coarser ones do not
        read = [len(widths) - 1 - (k % min(3, len(widths))) for k in range(settings.layers)]
        self.read = tuple(read)
        self.rounds = nn.ModuleList(_Round(settings.width, widths[level]) for level in read)
        self.out = nn.Linear(settings.width, settings.width)
        nn.init.normal_(self.out.weight, std=0.1 / math.sqrt(settings.width))
        nn.init.zeros_(self.out.bias)

    def forward(self, features: list[Tensor], pixels: Tensor) -> Tensor:
        """Map features, finest first, and pixel embeddings (N, width, *S) to answers (N, queries, *S) float32."""
        queries = self.queries[None].expand(pixels.shape[0], -1, -1)
        for level, one in zip(self.read, self.rounds, strict=True):
            queries = one(queries, features[level])
        with torch.autocast(pixels.device.type, enabled=False):
            centres = functional.linear(queries.float(), self.out.weight.float(), self.out.bias.float())
            answers = torch.bmm(centres, pixels.float().flatten(2))
        return answers.reshape(answers.shape[0], -1, *pixels.shape[2:])

    def logits(self, answers: Tensor) -> Tensor:
        """Return log(mean(exp(answers))) over the queries of each class, (N, classes, *S)."""
        groups = answers.split(self.counts, dim=1)
        return torch.stack([g.logsumexp(dim=1) - math.log(g.shape[1]) for g in groups], dim=1)


class _Round(nn.Module):
    """Queries read one level of features, then each other, then think; each added to what they were."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.ask, self.key, self.value = nn.Linear(width, width), nn.Linear(channels, width), nn.Linear(channels, width)
        self.mix = nn.Linear(width, 3 * width)
        self.read_out, self.mix_out = nn.Linear(width, width), nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, queries: Tensor, features: Tensor) -> Tensor:
        """Map queries (N, Q, width) and features (N, channels, *s) to queries."""
        tokens = features.flatten(2).transpose(1, 2)
        asked = self.ask(self.norms[0](queries))
        queries = queries + self.read_out(_attend(asked, self.key(tokens), self.value(tokens)))
        queries = queries + self.mix_out(_attend(*self.mix(self.norms[1](queries)).chunk(3, dim=2)))
        return queries + self.think(self.norms[2](queries))


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of one head, (N, Q, width) x (N, T, width) twice -> (N, Q, width)."""
    weight = (query @ key.transpose(1, 2) / math.sqrt(query.shape[2])).softmax(dim=2)
    return weight @ value
