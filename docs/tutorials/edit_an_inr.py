# %% [markdown]
# # Edit an INR
#
# An implicit neural representation (INR) is a small network that *is* an image: give it a place, and it returns the
# brightness there. To edit the image, one has to change the weights. Here a network learns to do that. It reads the
# weights of a SIREN that shows a digit, and writes a change of every weight, so that strokes become thicker. The whole
# script takes about three minutes on one core.

# %%
import os

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from meta_train import load_data
from meta_train.zoo import FieldConfig, evaluate_fields, fit_sirens, image_grid
from nfn_optim import WeightSpaceFeatures
from nfn_optim.layers import IOSinusoidalEncoding, LearnedScale, Map, NPLinear

IS_QUICK = "TUTORIAL_QUICK" in os.environ  # a few steps, for tests
IMAGES, STEPS = (60, 3) if IS_QUICK else (1_700, 500)

# %% [markdown]
# ## A SIREN for every digit
#
# All are fitted at once. `params` has a tensor for every parameter, with the networks along its first axis.

# %%
torch.manual_seed(0)
images = load_data("digits").x_train[:IMAGES]
spec, params = fit_sirens(images, FieldConfig(num_steps=50 if IS_QUICK else 300))
grid = image_grid(8, 8)
shown = evaluate_fields(params, grid).view(-1, 1, 8, 8)
print(f"{len(images)} SIRENs, parameters {({name: tuple(p.shape) for name, p in params.items()})}")

# %% [markdown]
# What we want to see: every pixel becomes the brightest of its neighbours and itself.

# %%
wanted = nn.functional.max_pool2d(shown, 3, stride=1, padding=1)
count = len(images) * 9 // 10  # to learn from; the others are for the test
mean = {name: p[:count].mean(0) for name, p in params.items()}
scale = {name: p[:count].std() for name, p in params.items()}


def read(index: Tensor) -> WeightSpaceFeatures:
    """The weights of some SIRENs, around zero and of one scale."""
    centred = {n: (p[index] - p[:count].mean()) / scale[n] for n, p in params.items()}
    return WeightSpaceFeatures.from_params(spec, centred)


# %% [markdown]
# ## The editor
#
# NF-Layers commute with renumbering neurons: if the hidden neurons of a SIREN come in another order, the change comes in
# that order too. Positions are appended first, because inputs (x and y) do have an order.

# %%
positions = IOSinusoidalEncoding(spec)
editor = nn.Sequential(
    positions,
    NPLinear(spec, positions.out_channels(1), 32),
    Map(nn.ReLU()),
    NPLinear(spec, 32, 32),
    Map(nn.ReLU()),
    NPLinear(spec, 32, 1),
    LearnedScale(spec, 0.01),
)


def edited(index: Tensor) -> Tensor:
    """What the SIRENs show after the change: `(networks, 1, 8, 8)`."""
    change = editor(read(index)).to_params()
    changed = {name: p[index] + change[name] for name, p in params.items()}
    return evaluate_fields(changed, grid).view(-1, 1, 8, 8)


optimizer = torch.optim.Adam(editor.parameters(), lr=2e-3)
for step in range(STEPS):
    index = torch.randint(count, (32,))
    loss = nn.functional.mse_loss(edited(index), wanted[index])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        print(f"step {step}, loss {loss.item():.4f}")

# %% [markdown]
# ## On digits that it has not seen

# %%
test = torch.arange(count, len(images))
with torch.no_grad():
    result = edited(test)
print(f"mean squared error without a change {float((shown[test] - wanted[test]).square().mean()):.4f}")
print(f"mean squared error with the change  {float((result - wanted[test]).square().mean()):.4f}")

# %%
rows = {"SIREN": shown[test], "edited": result, "wanted": wanted[test]}
figure, axes = plt.subplots(3, 6, figsize=(7.5, 4), layout="constrained")
for line, (name, pictures) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name)
    for ax, picture in zip(line, pictures[:6], strict=True):
        ax.imshow(picture[0].numpy(), cmap="gray", vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[])
figure.savefig("edit_an_inr.png", dpi=110)

# %% [markdown]
# ![Six digits as their SIRENs show them, after the edit, and as they should be](edit_an_inr.png#as-is)
#
# The paper's task, on larger images and against other networks, is a [suite](../suites.md#sirens-of-images-at-small).
# [Layers](../layers.md) explains what can be built.
