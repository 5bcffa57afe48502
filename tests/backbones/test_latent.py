"""The latent space: distributions against torch's own, and one noise, one answer."""

from __future__ import annotations

import torch
from torch.distributions import Normal, kl_divergence

from medcl.backbones import build_backbone
from medcl.backbones.latent import AtNoise, Gaussian, Latent


def gaussian(seed: int) -> Gaussian:
    return Gaussian.of(torch.randn(3, 8, generator=torch.Generator().manual_seed(seed)))


def test_divergence_is_torchs() -> None:
    p, q = gaussian(0), gaussian(1)
    expected = kl_divergence(Normal(p.mean, p.log_std.exp()), Normal(q.mean, q.log_std.exp())).sum(dim=1)
    torch.testing.assert_close(p.kl(q), expected)
    torch.testing.assert_close(p.kl(p), torch.zeros(3))


def test_points_have_the_distributions_mean_and_deviation() -> None:
    p = gaussian(2)
    points = p.at(torch.randn(20_000, 1, 4, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(points.mean(dim=0), p.mean, atol=0.2, rtol=0.05)
    torch.testing.assert_close(points.std(dim=0), p.log_std.exp(), atol=0.05, rtol=0.05)


def test_no_noise_is_the_plain_answer_and_samples_differ() -> None:
    torch.manual_seed(0)
    network = build_backbone("probabilistic-unet", in_channels=1, classes=3, ndim=2, base=4, levels=3, latent=2).eval()
    assert isinstance(network, Latent)
    image = torch.randn(2, 1, 15, 18)
    with torch.no_grad():
        torch.testing.assert_close(AtNoise(network, torch.zeros(2))(image), network(image))
        samples = network.sample(image, 3, torch.Generator().manual_seed(0))
        assert samples.shape == (3, 2, 3, 15, 18)
        noise = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(AtNoise(network, noise[1])(image), samples[1])
        assert not torch.allclose(samples[0], samples[1])


def test_other_networks_have_no_latent_space() -> None:
    assert not isinstance(build_backbone("unet", in_channels=1, classes=2, ndim=2, base=4, levels=2), Latent)
