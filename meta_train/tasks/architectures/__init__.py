"""Architectures, each drawn by dice for a sample's shape and a number of outputs."""

from ._budget import USUAL as USUAL
from ._budget import Budget as Budget
from ._budget import measure as measure
from ._convolutional import draw_cnn as draw_cnn
from ._convolutional import draw_cnn_1d as draw_cnn_1d
from ._convolutional import draw_depthwise as draw_depthwise
from ._convolutional import draw_resnet as draw_resnet
from ._fields import draw_field as draw_field
from ._fields import draw_smooth as draw_smooth
from ._generative import SIDE_MULTIPLE as SIDE_MULTIPLE
from ._generative import draw_autoencoder as draw_autoencoder
from ._generative import draw_denoiser as draw_denoiser
from ._generative import draw_vae as draw_vae
from ._initial import draw_initial as draw_initial
from ._layers import Builder as Builder
from ._mlps import draw_mlp as draw_mlp
from ._recurrent import draw_character_rnn as draw_character_rnn
from ._recurrent import draw_recurrent as draw_recurrent
from ._tokens import draw_encoder as draw_encoder
from ._tokens import draw_gpt as draw_gpt
from ._tokens import draw_mixer as draw_mixer
from ._tokens import draw_vit as draw_vit
