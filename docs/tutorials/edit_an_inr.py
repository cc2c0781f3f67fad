# %% [markdown]
# # Edit an INR
#
# An implicit neural representation (INR) is a small network that *is* an image: give it a place,
# and it returns the brightness there. To edit the image, one has to change the weights. Here a
# network learns to do that. It reads the weights of a SIREN that shows a digit, and writes a
# change of every weight, so that strokes become thicker. The whole script takes about a minute on
# one core.

# %%
import os

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from meta_train import load_data
from meta_train.zoo import FieldConfig, evaluate_fields, fit_sirens, image_grid
from nfn_optim import WeightSpaceFeatures
from nfn_optim.layers import HNPLinear, LearnedScale, Map

IS_QUICK = "TUTORIAL_QUICK" in os.environ  # a few steps, for tests
IMAGES, STEPS = (60, 3) if IS_QUICK else (1_437, 600)
OMEGA = 15.0

# %% [markdown]
# ## A SIREN for every digit
#
# Digits of scikit-learn have 8 x 8 pixels; we blow them up to 16 x 16. All SIRENs are fitted at
# once, from random starts of their own. `params` has a tensor for every parameter, with the
# networks along its first axis.

# %%
torch.manual_seed(0)
images = nn.functional.interpolate(
    load_data("digits").x_train[:IMAGES], size=(16, 16), mode="bilinear"
)
spec, params = fit_sirens(images, FieldConfig(num_steps=300, lr=1e-3, omega=OMEGA))
grid = image_grid(16, 16)


def show(weights: dict[str, Tensor]) -> Tensor:
    """What SIRENs show: `(networks, 1, 16, 16)`, from -1 to 1."""
    return evaluate_fields(weights, grid, OMEGA).mT.reshape(-1, 1, 16, 16)


shown = show(params)
error = (shown - (2 * images - 1)).square().mean()
print(f"{len(images)} SIRENs, mean squared error {error:.5f}")

# %% [markdown]
# What we want to see: every pixel becomes the brightest of its neighbours and itself. Nine digits
# of ten are to learn from, the others for the test.

# %%
wanted = nn.functional.max_pool2d(shown, 3, stride=1, padding=1)
train, test = torch.arange(len(images)).tensor_split([len(images) * 9 // 10])

# %% [markdown]
# ## The editor
#
# A SIREN computes `sin(omega (W x + b))` first, so its first layer is read in units of that
# phase. Other parameters are brought to one scale. The editor reads all of them with `HNPLinear`,
# the linear map that commutes with renumbering hidden neurons and tells inputs and outputs apart.
# If the hidden neurons of a SIREN come in another order, the change comes in that order too. The
# first layer ends in a sine, so that it can compute what SIRENs show at places of its own.

# %%
scale = {name: 1 / p[train].std() for name, p in params.items()}
scale |= {name: torch.tensor(OMEGA) for name in params if name.startswith("0.")}

editor = nn.Sequential(
    HNPLinear(spec, 1, 48),
    Map(torch.sin),
    HNPLinear(spec, 48, 48),
    Map(nn.ReLU()),
    HNPLinear(spec, 48, 1),
    LearnedScale(spec, 0.01),
)


def edited(index: Tensor) -> Tensor:
    """What SIRENs show after the change."""
    weights = {name: p[index] for name, p in params.items()}
    read = {name: p * scale[name] for name, p in weights.items()}
    change = editor(WeightSpaceFeatures.from_params(spec, read)).to_params()
    return show({name: p + change[name] for name, p in weights.items()})


optimizer = torch.optim.Adam(editor.parameters(), lr=2e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
for step in range(STEPS):
    index = train[torch.randint(len(train), (32,))]
    loss = nn.functional.mse_loss(edited(index), wanted[index])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    if step % 100 == 0:
        print(f"step {step}, loss {loss.item():.4f}")

# %% [markdown]
# ## On digits that it has not seen
#
# The mean squared error to what we want to see, with and without the change:

# %%
with torch.no_grad():
    result = edited(test)
for name, pictures in {"without": shown[test], "with": result}.items():
    print(f"{name:<8}{float((pictures - wanted[test]).square().mean()):.4f}")

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
# ![Six digits: as SIRENs show them, edited, and as they should be](edit_an_inr.png#as-is)
#
# The paper's task, on larger images and against other networks, is a
# [suite](../suites.md#sirens-of-images-at-small). [Layers](../layers.md) explains what can be
# built.
