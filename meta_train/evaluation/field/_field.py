"""The field: what people train, each problem with its name and its length.

Half of the tasks, by a hash of their names, may be looked at while things are chosen; on the other
half results are only reported.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from . import _fine_tuning, _functions, _generative, _graphs, _images, _signals, _tables, _texts
from . import _transformers as _patches
from ._task import EvaluationTask


def _is_dev(task: EvaluationTask) -> bool:
    return hashlib.sha256(task.name.encode()).digest()[0] % 2 == 0


FIELD = (
    EvaluationTask(name="fashion-mlp-512", problem=_images.wide_mlp),
    EvaluationTask(name="emnist-cnn-flatten", problem=_images.cnn_flatten),
    EvaluationTask(name="farsi-cnn-pool-1000", problem=_images.cnn_pool, num_steps=1_000),
    EvaluationTask(name="emnist-cnn-batchnorm", problem=_images.cnn_batch_norm),
    EvaluationTask(name="pneumonia-cnn-batch-8", problem=_images.cnn_small_batch),
    EvaluationTask(name="emnist-resnet", problem=_images.resnet),
    EvaluationTask(name="fashion-convnext", problem=_images.convnext),
    EvaluationTask(name="emnist-mixer", problem=_patches.mixer),
    EvaluationTask(name="fashion-vit", problem=_patches.vit),
    EvaluationTask(name="code-gpt-64", problem=_texts.gpt_64),
    EvaluationTask(name="code-gpt-256", problem=_texts.gpt_256),
    EvaluationTask(name="genome-lstm", problem=_texts.lstm),
    EvaluationTask(name="vowels-gru", problem=_signals.gru),
    EvaluationTask(name="vowels-transformer", problem=_signals.transformer),
    EvaluationTask(name="devices-cnn-1d", problem=_signals.cnn_1d),
    EvaluationTask(name="sines-8-32-1", problem=_functions.sum_of_sines),
    EvaluationTask(name="sines-8-32-1-1500", problem=_functions.sum_of_sines, num_steps=1_500),
    EvaluationTask(name="forest-mlp-embeddings", problem=_tables.embedded_categories),
    EvaluationTask(name="forest-mlp-batch-1024", problem=_tables.large_batch),
    EvaluationTask(name="satellite-mlp", problem=_tables.land_use),
    EvaluationTask(name="houses-mlp", problem=_tables.house_values),
    EvaluationTask(name="houses-heavy-tails", problem=_tables.heavy_tails),
    EvaluationTask(name="airfoil-mlp-5000", problem=_tables.airfoil, num_steps=5_000),
    EvaluationTask(name="robot-arm-mlp", problem=_tables.robot_arm),
    EvaluationTask(name="fashion-vae", problem=_generative.vae),
    EvaluationTask(name="farsi-conv-autoencoder", problem=_generative.autoencoder),
    EvaluationTask(name="photo-diffusion", problem=_generative.diffusion),
    EvaluationTask(name="photo-siren", problem=_functions.siren),
    EvaluationTask(name="poisson-tanh", problem=_functions.poisson),
    EvaluationTask(name="communities-graph", problem=_graphs.communities),
    EvaluationTask(name="moving-targets", problem=_functions.moving_targets),
    EvaluationTask(name="finetune-autoencoder", problem=_fine_tuning.autoencoder),
    EvaluationTask(name="lora-gpt", problem=_fine_tuning.code_to_genome),
)

DEMO = (  # on data that packages and Python carry
    EvaluationTask(name="digits-mlp", problem=_images.digits_mlp),
    EvaluationTask(name="digits-cnn", problem=_images.digits_cnn),
    EvaluationTask(name="manual-gpt", problem=_texts.gpt_manual, num_steps=500),
)

DEV = tuple(task for task in FIELD if _is_dev(task))
TEST = tuple(task for task in FIELD if not _is_dev(task))

_QUICK = (
    "fashion-mlp-512",
    "emnist-cnn-batchnorm",
    "fashion-convnext",
    "code-gpt-256",
    "vowels-gru",
    "sines-8-32-1",
    "houses-mlp",
    "fashion-vae",
)
QUICK = tuple(task for task in DEV if task.name in _QUICK)

_LASTING = ("pneumonia-cnn-batch-8", "sines-8-32-1", "houses-mlp")  # of those with fast steps
LONG = tuple(
    replace(task, name=f"{task.name}-6000", num_steps=6_000)
    for task in DEV
    if task.name in _LASTING
)
