"""Masks that are learned from what networks reach under them, by training that is differentiable.

That a mask agrees with a ticket, weight by weight, says little of what it is worth. So the loss of
networks that were trained under masks is what the masks are trained for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from nfn_optim import SGDRule, WeightSpaceFeatures
from nfn_optim.rules import RuleState

from ...inner import unroll
from ...population import as_params
from ...tasks import Batch, Params
from ..data import SparseNetworks
from ..harness import Objective
from ..networks import Corrector, flatten

_MOMENTUM = 0.9
_VALIDATION_SEED = 0  # masks are compared on the same images


class _MaskedDescent(SGDRule):
    """Moves weights as far as masks let it, by name.

    Masks come after gradients, so that a mask's own gradient knows where a removed weight would go.
    """

    def __init__(self, lr: float, masks: Params) -> None:
        super().__init__(lr, momentum=_MOMENTUM)
        self.masks = masks

    def forward(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        masked = {name: grad * self.masks[name] for name, grad in grads.items()}
        return super().forward(params, masked, state)


class Rehearsal(nn.Module):
    """What networks reach after a short training under the masks of a `Corrector`.

    Args:
        corrector: Scores weights.
        networks: What is trained.
        counts: Weights that are kept of each layer, by name.

    Shape:
        Starts and expected weights `(n, *axes, 2)`, in deviations of the start, to losses `(n,)`.
    """

    def __init__(
        self, corrector: Corrector, networks: SparseNetworks, counts: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.corrector, self.networks, self.counts = corrector, networks, counts

    def forward(self, features: WeightSpaceFeatures) -> Tensor:
        """Trains the networks. In evaluation the images are always the same."""
        scores = flatten(self.corrector(features))
        starts = self.networks.units * flatten(features.map(lambda tensor: tensor[..., :1]))
        masks = self.masks(scores)
        seed = int(torch.randint(2**31, ())) if self.training else _VALIDATION_SEED
        pairs = zip(starts, masks, strict=True)
        return torch.stack([self._reached(*pair, seed + k) for k, pair in enumerate(pairs)])

    def masks(self, scores: Tensor) -> Tensor:
        """The largest scores `(n, d)` of each layer; gradients are those of a soft threshold."""
        networks, softness = self.networks, self.corrector.config.softness
        hard = networks.keep_largest_of_layers(scores.detach(), self.counts)
        kept = scores.detach().masked_fill(hard == 0, torch.inf)
        least = torch.cat(
            [
                layer.flatten(1).amin(1, keepdim=True).expand(-1, layer[0].numel())
                for layer in as_params(networks.spec, kept).values()
            ],
            dim=1,
        )
        soft = ((scores - least) / softness).sigmoid()
        return torch.where(networks.is_weight, hard + (soft - soft.detach()), 1.0)

    def _reached(self, start: Tensor, mask: Tensor, seed: int) -> Tensor:
        """Loss of one network `(d,)` after its training."""
        config, spec = self.corrector.config, self.networks.spec
        generator = torch.Generator().manual_seed(seed)
        params, masks = (as_params(spec, row.unsqueeze(0)) for row in (start * mask, mask))
        rule = _MaskedDescent(config.lr, masks)
        trained = unroll(
            rule,
            self._loss,
            params,
            self._batches(config.num_steps, generator),
            rule.init(params, spec),
            first_order=False,
            lr=lambda k: 1 - k / config.num_steps,
        ).params
        last = {name: tensor[0] for name, tensor in trained.items()}
        return self._loss(last, self._draw(config.num_images, generator))

    def _loss(self, params: Params, batch: Batch) -> Tensor:
        images, classes = batch
        return F.cross_entropy(functional_call(self.networks.module, params, (images,)), classes)

    def _batches(self, num_steps: int, generator: torch.Generator) -> Iterator[Batch]:
        for _ in range(num_steps):
            images, classes = self._draw(self.networks.config.batch_size, generator)
            yield images.unsqueeze(0), classes.unsqueeze(0)

    def _draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        data = self.networks.data
        index = torch.randint(len(data.y_train), (count,), generator=generator)
        index = index.to(data.y_train.device)
        return data.x_train[index], data.y_train[index]


REACHED: Objective[Any] = Objective(
    lambda losses, _: losses.mean(), lambda losses, _: float(losses.mean()), lower_is_better=True
)
"""Losses of a `Rehearsal`, whatever the targets."""
