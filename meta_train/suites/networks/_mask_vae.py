"""A conditional VAE of masks, given the start of a network (NFN section 3.3).

Shape legend: `n` networks, `d` parameters that masks may remove, `z` latent channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nfn_optim import NetworkSpec, WeightSpaceFeatures

from ...population import as_rows
from ..harness import Interface, Wrapper

LATENT_CHANNELS = 5


class MaskVAE(nn.Module):
    """Encoder `q(Z | start, mask)` and decoder `p(mask | start, Z)`; Z has entries of its own.

    Called on starts and latents it is the decoder.

    Args:
        encoder: From features `(n, *axes, 2)`, starts and masks, to means and log variances
            `(n, *axes, 2 * z)`.
        decoder: From features `(n, *axes, 1 + z)`, starts and latents, to logits `(n, *axes, 1)`.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, features: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Logits of masks."""
        logits: WeightSpaceFeatures = self.decoder(features)
        return logits


class Autoencode(nn.Module):
    """A VAE as its training sees it; latents are the posterior's means outside of training.

    Args:
        vae: Encoder and decoder.
        can_mask: Which parameters masks may remove, of all of them one after another.

    Shape:
        Starts and masks `(n, *axes, 2)` to `(n, d + 1)`: logits, and the latents' divergence from
        the prior.
    """

    def __init__(self, vae: MaskVAE, can_mask: Tensor) -> None:
        super().__init__()
        self.vae = vae
        self.can_mask: Tensor
        self.register_buffer("can_mask", can_mask)

    def forward(self, features: WeightSpaceFeatures) -> Tensor:
        """Encodes masks and decodes them."""
        posterior = list(self.vae.encoder(features).values())
        starts, latents, divergence = [], [], torch.zeros(())
        for feature, statistics in zip(features.values(), posterior, strict=True):
            mean, log_variance = statistics.chunk(2, dim=-1)
            noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
            starts.append(feature[..., :1])
            latents.append(mean + (log_variance / 2).exp() * noise)
            terms = mean.square() + log_variance.exp() - 1 - log_variance
            divergence = divergence + terms.flatten(1).sum(1) / 2
        logits = self.vae(features.like(join_channels(starts, latents)))
        return torch.cat([flatten(logits)[:, self.can_mask], divergence[:, None]], dim=1)


@torch.no_grad()
def draw_scores(vae: MaskVAE, starts: WeightSpaceFeatures) -> Tensor:
    """Logits `(n, all parameters)` of new networks `(n, *axes, 1)`, with latents of the prior.

    Torch's own generator draws them.
    """
    vae.eval()
    scores = []
    for index in range(starts.batch_shape[0]):
        one = [tensor[index : index + 1] for tensor in starts.values()]
        latents = [torch.randn_like(t.expand(*t.shape[:-1], LATENT_CHANNELS)) for t in one]
        scores.append(flatten(vae(starts.like(join_channels(one, latents)))))
    return torch.cat(scores)


def negative_bound(predictions: Tensor, masks: Tensor) -> Tensor:
    """Minus the evidence lower bound, for each parameter that masks may remove.

    Args:
        predictions: `(n, d + 1)` of `Autoencode`.
        masks: `(n, d)`, 1 for what is kept.
    """
    missed = F.binary_cross_entropy_with_logits(predictions[:, :-1], masks)
    return missed + predictions[:, -1].mean() / masks.shape[1]


def join_channels(*several: list[Tensor]) -> list[Tensor]:
    """Channels of several features side by side, parameter by parameter."""
    return [torch.cat(tensors, dim=-1) for tensors in zip(*several, strict=True)]


def join_features(*several: WeightSpaceFeatures) -> WeightSpaceFeatures:
    """Features `(n, *axes, c)` of the same networks with their channels side by side."""
    return several[0].like(join_channels(*(list(each.values()) for each in several)))


def flatten(features: WeightSpaceFeatures) -> Tensor:
    """Features `(n, *axes, 1)` as the parameters one after another, `(n, parameters)`."""
    return as_rows(features.spec, features.to_params())


def decoder_interface(spec: NetworkSpec) -> Interface:
    """What decoders read and write: a start and latents, and the logit of a mask."""
    return Interface(spec, channels=1 + LATENT_CHANNELS, out_channels=1)


def encoder_interface(decoder: Interface) -> Interface:
    """What encoders read and write: a start and a mask, and statistics of the latents."""
    return replace(decoder, channels=2, out_channels=2 * (decoder.channels - 1))


@dataclass(frozen=True)
class MaskGenerator(Wrapper):
    """A `MaskVAE` whose encoder and decoder are both networks of another method."""

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        return MaskVAE(self.of.build(encoder_interface(interface)), self.of.build(interface))
