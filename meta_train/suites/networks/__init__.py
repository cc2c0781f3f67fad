"""Networks that read networks, as methods: values that build one for a suite's interface."""

from ._aligned import Aligned as Aligned
from ._baselines import FlatWeights as FlatWeights
from ._baselines import Renumbered as Renumbered
from ._baselines import Statistics as Statistics
from ._equivariant import Equivariant as Equivariant
from ._equivariant import Transformer as Transformer
from ._heads import Heads as Heads
from ._mask_vae import Autoencode as Autoencode
from ._mask_vae import MaskGenerator as MaskGenerator
from ._mask_vae import MaskVAE as MaskVAE
from ._mask_vae import decoder_interface as decoder_interface
from ._mask_vae import draw_scores as draw_scores
from ._mask_vae import encoder_interface as encoder_interface
from ._mask_vae import join_channels as join_channels
from ._mask_vae import negative_bound as negative_bound
from ._multitask import Multitask as Multitask
from ._neuron_editor import NeuronEditor as NeuronEditor
from ._neuron_masks import NeuronMasks as NeuronMasks
from ._paper import paper_methods as paper_methods
from ._paper import paper_transformer as paper_transformer
from ._probes import Probed as Probed
from ._shown_image import ShownImage as ShownImage
from ._siren_pass import Places as Places
from ._siren_pass import SirenPass as SirenPass
from ._units import InUnits as InUnits
