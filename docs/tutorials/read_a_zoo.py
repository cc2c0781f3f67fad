# %% [markdown]
# # Read a zoo of networks, and predict how good they are
#
# How well does a network classify? Usually one runs it on test data. Here another network looks
# at its *weights* only. We train a zoo of small CNNs on digits, each with other hyperparameters,
# and learn to predict test accuracy from weights. The reader is built of NF-Layers, so it does
# not care how neurons are numbered. The whole script takes about a minute and a half on one core.

# %%
import os

import matplotlib.pyplot as plt
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

from meta_train import load_data
from meta_train.zoo import ClassifierConfig, small_cnn, train_classifiers
from nfn_optim import WeightSpaceFeatures
from nfn_optim.layers import HNPLinear
from nfn_optim.networks import EquivariantConfig, HeadConfig, InvariantConfig, InvariantNFN
from nfn_optim.testing import renumbered

IS_QUICK = "TUTORIAL_QUICK" in os.environ  # a few steps, for tests
NETWORKS, STEPS = (40, 3) if IS_QUICK else (1_000, 600)

# %% [markdown]
# ## The zoo
#
# All networks are trained at once. Learning rate, initial scale, weight decay, dropout, the share
# of the data and the optimizer differ from network to network.

# %%
torch.manual_seed(0)
config = ClassifierConfig(checkpoints=(20 if IS_QUICK else 400,))
zoo = train_classifiers(
    lambda activation: small_cnn(activation, padding=1), load_data("digits"), NETWORKS, config
)
accuracy = zoo.labels["test_accuracy"].float()
print(f"{len(zoo)} networks, test accuracy {accuracy.min():.2f} to {accuracy.max():.2f}")
print(zoo.features)

# %% [markdown]
# A `WeightSpaceFeatures` maps the name of a parameter to a tensor: networks first, then the
# parameter's own axes, then channels. There is one channel here, the weight itself. Weights
# differ in size from layer to layer, so each parameter is brought to the same scale.

# %%
order = torch.randperm(len(zoo), generator=torch.Generator().manual_seed(1))
train, test = order[: len(zoo) * 4 // 5], order[len(zoo) * 4 // 5 :]
features = zoo.features.map(lambda t: t / t[train].std())


def take(index: Tensor) -> WeightSpaceFeatures:
    return features.map(lambda t: t[index])


# %% [markdown]
# ## The reader
#
# Two NF-Layers, a mean over neurons, a small MLP. It is an ordinary `nn.Module`, and is trained
# like one.

# %%
layers = EquivariantConfig(layer=HNPLinear, hidden=(16, 16))
reader = InvariantNFN(features.spec, InvariantConfig(layers, head=HeadConfig(hidden=(64,))))
optimizer = torch.optim.Adam(reader.parameters(), lr=2e-3)
for step in range(STEPS):
    index = train[torch.randint(len(train), (32,))]
    predicted = reader(take(index)).squeeze(-1).sigmoid()
    loss = nn.functional.binary_cross_entropy(predicted, accuracy[index])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        print(f"step {step}, loss {loss.item():.4f}")

# %% [markdown]
# ## Does it work on networks that it has not seen?
#
# Kendall's tau is 1 where the predicted order is the true order, and 0 for a guess.

# %%
with torch.no_grad():
    guess = reader(take(test)).squeeze(-1).sigmoid()
    twins = renumbered(take(test), torch.Generator().manual_seed(2))
    again = reader(twins).squeeze(-1).sigmoid()
tau = kendalltau(guess, accuracy[test]).statistic
print(f"Kendall's tau on {len(test)} other networks: {tau:.2f}")
print(f"largest change when channels are renumbered: {(guess - again).abs().max():.1e}")

# %%
figure, ax = plt.subplots(figsize=(5.5, 5), layout="constrained")
ax.plot([0, 1], [0, 1], color="0.7", linewidth=1)
ax.scatter(accuracy[test], guess, s=14)
ax.set(xlabel="test accuracy", ylabel="predicted from weights", title=f"Kendall's tau {tau:.2f}")
figure.savefig("read_a_zoo.png", dpi=110)

# %% [markdown]
# ![Predicted against true test accuracy: one point a network, near the diagonal](read_a_zoo.png)
#
# To predict for networks of your own, see [the guide](../guides/networks-folder.md). The paper's
# version of this task, with more networks and other readers, is a
# [suite](../suites.md#generalization-from-weights).
