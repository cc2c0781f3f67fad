"""Recurrent layers: hidden units are one population, gates are maps side by side."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nfn_optim import NetworkSpec, NFNOptimizer

INPUTS, UNITS = 5, 4


class Net(nn.Module):
    """A recurrent layer, a readout, and forward code as a function of module and sequences."""

    def __init__(self, kind, code, **options):
        super().__init__()
        directions = 2 if options.get("bidirectional") else 1
        self.embed = nn.Linear(INPUTS, 6)
        self.inner = kind(6, UNITS, batch_first=True, **options)
        self.layer = kind(INPUTS, UNITS, batch_first=True, **options)
        self.other = kind(INPUTS, UNITS, batch_first=True, **options)
        self.head = nn.Linear(directions * (options.get("proj_size") or UNITS), 3)
        self.start = nn.Parameter(torch.randn(options.get("num_layers", 1), 1, UNITS))
        self.code = code

    def forward(self, x):
        return self.code(self, x)


def last(layer, states):
    """The hidden states among those that a layer returns."""
    return states[0] if isinstance(layer, (nn.LSTM, nn.LSTMCell)) else states


def packed(m, x):
    steps = pack_padded_sequence(m.embed(x), torch.tensor([7, 5, 2]), batch_first=True)
    outputs, states = m.inner(steps)
    outputs, _ = pad_packed_sequence(outputs, batch_first=True)
    return m.head(outputs), m.head(last(m.inner, states)[-1])


def from_a_given_start(m, x):
    start = m.start.expand(-1, x.size(0), -1).contiguous()
    states = (start, start) if isinstance(m.layer, nn.LSTM) else start
    return m.head(m.layer(x, states)[0])


def zeros(m, x):
    start = torch.zeros(m.layer.num_layers, x.size(0), UNITS, dtype=x.dtype).to(x.device)
    states = (start, start) if isinstance(m.layer, nn.LSTM) else start
    return m.head(m.layer(x, states)[0][:, -1, :])


def encoder_and_decoder(m, x):
    _, states = m.layer(x)
    return m.head(m.other(x, states)[0])


CODE = {
    "all steps": (lambda m, x: m.head(m.inner(m.embed(x))[0]), {"embed", "inner"}),
    "last step": (lambda m, x: m.head(m.layer(x)[0][:, -1]), {"layer"}),
    "last state": (lambda m, x: m.head(last(m.layer, m.layer(x)[1])[-1]), {"layer"}),
    "mean of states": (lambda m, x: m.head(last(m.layer, m.layer(x)[1]).mean(0)), {"layer"}),
    "attention over steps": (
        lambda m, x: m.head(
            (lambda h: (h.sum(-1, keepdim=True).softmax(1) * h).sum(1))(m.layer(x)[0])
        ),
        {"layer"},
    ),
    "zeros": (zeros, {"layer"}),
    "learned start": (from_a_given_start, {"start"}),
    "encoder and decoder": (encoder_and_decoder, {"layer"}),
    "packed": (packed, {"embed", "inner"}),
}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("name", CODE)
def test_hidden_units_may_be_renumbered(name, kind, assert_renumbering_keeps_the_function):
    code, free = CODE[name]
    spec = assert_renumbering_keeps_the_function(Net(kind, code), torch.randn(3, 7, INPUTS))
    assert set(spec.populations) == free


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_every_layer_has_units_of_its_own(kind, assert_renumbering_keeps_the_function):
    model = Net(kind, CODE["last state"][0], num_layers=3)
    spec = assert_renumbering_keeps_the_function(model, torch.randn(3, 7, INPUTS))
    assert spec.populations == ("layer", "layer.l1", "layer.l2")
    assert spec.axes["layer.weight_ih_l2"][:2] == ("layer.l2", "layer.l1")


@pytest.mark.parametrize("name", CODE)
def test_states_of_several_layers_keep_their_places(name, assert_renumbering_keeps_the_function):
    model = Net(nn.LSTM, CODE[name][0], num_layers=2)
    spec = assert_renumbering_keeps_the_function(model, torch.randn(3, 7, INPUTS))
    assert spec.populations


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_both_directions_keep_their_order(kind, assert_renumbering_keeps_the_function):
    model = Net(kind, CODE["last step"][0], num_layers=2, bidirectional=True)
    spec = assert_renumbering_keeps_the_function(model, torch.randn(3, 7, INPUTS))
    assert not spec.populations
    assert NFNOptimizer(model).coverage().share > 0.95


def test_gates_are_maps_and_squares_run_over_one_population_twice():
    model = nn.Sequential(nn.Linear(3, 6), nn.LSTM(6, UNITS))
    spec = NetworkSpec.from_module(model)
    assert spec.axes["1.weight_hh_l0"] == ("out", "out", None)
    assert spec.shapes["1.weight_hh_l0"] == (UNITS, UNITS, 4)
    assert spec.axes["1.bias_ih_l0"] == ("out", None)
    assert spec.maps["1.weight_ih_l0"] == 2
    weight = torch.randn(4 * UNITS, UNITS)
    assert torch.equal(spec.view("1.weight_hh_l0", weight)[..., 1], weight[UNITS : 2 * UNITS])


def test_projected_units_are_what_is_fed_back(assert_renumbering_keeps_the_function):
    model = Net(nn.LSTM, CODE["last step"][0], proj_size=3)
    spec = assert_renumbering_keeps_the_function(model, torch.randn(3, 7, INPUTS))
    assert spec.populations == ("layer", "layer.proj")
    assert spec.axes["layer.weight_hh_l0"] == ("layer", "layer.proj", None)
    assert spec.axes["layer.weight_hr_l0"] == ("layer.proj", "layer")


class Cells(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.head = cell, nn.Linear(UNITS, 2)

    def forward(self, x):
        states = None
        for step in range(3):
            states = self.cell(x[:, step], states)
        return self.head(last(self.cell, states))


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells_are_called_step_by_step(kind, assert_renumbering_keeps_the_function):
    model = Cells(kind(INPUTS, UNITS))
    spec = assert_renumbering_keeps_the_function(model, torch.randn(3, 4, INPUTS))
    assert spec.populations == ("cell",)


class Stateful(nn.Module):
    """As character models are written: the state comes from outside and goes back there."""

    def __init__(self):
        super().__init__()
        self.table, self.rnn = nn.Embedding(9, 6), nn.GRU(6, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, 9)

    def forward(self, x, state=None):
        y, state = self.rnn(self.table(x), state)
        return self.head(y), state


def test_a_state_that_is_returned_is_an_output(assert_renumbering_keeps_the_function):
    spec = assert_renumbering_keeps_the_function(Stateful(), torch.arange(6).view(2, 3))
    assert spec.populations == ("table",)
    assert spec.axes["rnn.weight_hh_l0"][0] in spec.io


def test_a_state_from_outside_keeps_its_order(assert_renumbering_keeps_the_function):
    class Given(Stateful):
        def forward(self, x, state):
            return super().forward(x, state)[0]

    state = torch.randn(1, 2, UNITS)
    spec = assert_renumbering_keeps_the_function(Given(), torch.arange(6).view(2, 3), state)
    assert spec.populations == ("table",)
