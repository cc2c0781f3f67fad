import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nfn_optim import NFNOptimizer, NFNRule, load_rule, save_rule
from nfn_optim.optimizer._checkpoint import FORMAT, VERSION, checkpoint_path, read_card, rule_hash
from nfn_optim.rules import Limits, NFNRuleConfig
from nfn_optim.rules.constants import SCHEDULE_CHANNELS


def test_round_trip_keeps_weights_config_and_card(tmp_path):
    rule = NFNRule(NFNRuleConfig(hidden=4))
    save_rule(rule, tmp_path / "rule.safetensors", {"seed": 3})
    loaded = load_rule(tmp_path / "rule.safetensors")
    assert loaded.config == rule.config
    assert rule_hash(loaded) == rule_hash(rule) != rule_hash(NFNRule(NFNRuleConfig(hidden=4)))
    assert read_card(tmp_path / "rule.safetensors") == {"seed": 3}


@pytest.mark.parametrize("name", ["default", "small"])
def test_bundled_weights_have_a_card(name):
    assert isinstance(load_rule(name), NFNRule)
    assert {"family", "command", "outer_steps", "wall_seconds"} <= set(read_card(name))


@pytest.mark.parametrize("name", ["default", "small", "untrained"])
def test_names_may_be_paths(name):
    assert rule_hash(load_rule(Path(name))) == rule_hash(load_rule(name))


def test_the_default_has_passed_the_gate_or_learned_nothing():
    assert "learned nothing" in read_card("untrained")["family"]
    gate = read_card("default")["gate"]
    has_passed = all(condition["holds"] for condition in gate["conditions"])
    assert has_passed or rule_hash(load_rule()) == rule_hash(load_rule("untrained"))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint .*none.safetensors"):
        load_rule(tmp_path / "none.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 200, -4])
def test_truncated_file_is_named(tmp_path, kept):
    path = tmp_path / "short.safetensors"
    path.write_bytes(checkpoint_path("default").read_bytes()[:kept])
    with pytest.raises(ValueError, match="short.safetensors is truncated or no safetensors file"):
        load_rule(path)


def test_foreign_safetensors_file_is_named(tmp_path):
    save_file({"w": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="foreign.safetensors .* not one written by save_rule"):
        load_rule(tmp_path / "foreign.safetensors")


def test_other_version_is_named(tmp_path):
    save_file({}, tmp_path / "old.safetensors", {"format": FORMAT, "version": "0"})
    with pytest.raises(ValueError, match="old.safetensors has version '0' of nfn_optim.rule"):
        load_rule(tmp_path / "old.safetensors")


def test_wrong_tensors_are_named(tmp_path):
    path = tmp_path / "wrong.safetensors"
    save_rule(NFNRule(), path)
    tensors = load_file(path)
    tensors.pop("schedule.bias")
    header = {"format": FORMAT, "version": VERSION, "card": "{}"}
    save_file(tensors, path, header | {"rule": json.dumps(NFNRule().get_config())})
    with pytest.raises(ValueError, match=r"(?s)wrong.safetensors does not hold .*schedule.bias"):
        load_rule(path)


@pytest.mark.parametrize(
    "config",
    [
        '{"hidden": 16}',
        '{"hidden": 16, "limits": {"depth": 3}}',
        '{"hidden": 16, "limits": {"horizon": 0}}',
        '{"hidden": 16',
    ],
)
def test_wrong_configurations_are_named(tmp_path, config):
    path = tmp_path / "wrong.safetensors"
    header = {"format": FORMAT, "version": VERSION, "card": "{}", "rule": config}
    save_file(dict(NFNRule().state_dict()), path, header)
    with pytest.raises(ValueError, match=r"wrong.safetensors does not hold the configuration"):
        load_rule(path)


def test_limits_travel_with_the_weights(tmp_path):
    limits = Limits(horizon=5_000.0, memory=10_000.0, fan_in=300.0, weight_size=3.0)
    save_rule(NFNRule(NFNRuleConfig(limits=limits)), tmp_path / "rule.safetensors")
    assert load_rule(tmp_path / "rule.safetensors").config.limits == limits


def test_files_of_version_3_have_the_limits_that_were_common_to_all(tmp_path):
    path = tmp_path / "old.safetensors"
    header = {"format": FORMAT, "version": "3", "card": "{}", "rule": '{"hidden": 16}'}
    tensors = dict(NFNRule().state_dict())
    tensors["schedule.weight"] = torch.zeros(2, SCHEDULE_CHANNELS)
    save_file(tensors, path, header)
    assert load_rule(path).config.limits == Limits(1_000.0, 2_000.0, 1_024.0, 2.0)


def old_file(path, version, rule):
    """The file of a version before 6."""
    config, tensors = rule.get_config(), dict(rule.state_dict())
    del config["first_share"], config["centred"], config["careful"], config["limits"]["fan_out"]
    tensors["schedule.weight"] = tensors["schedule.weight"][:, :SCHEDULE_CHANNELS].contiguous()
    header = {"format": FORMAT, "version": version, "card": "{}", "rule": json.dumps(config)}
    save_file(tensors, path, header)


@pytest.mark.parametrize("version", ["3", "4", "5"])
def test_files_of_before_version_6_read_no_trend_and_write_whole_sizes(tmp_path, version):
    rule = NFNRule()
    nn.init.ones_(rule.schedule.weight)
    old_file(tmp_path / "old.safetensors", version, rule)
    loaded = load_rule(tmp_path / "old.safetensors")
    assert (loaded.config.centred, loaded.config.careful) == (False, True)
    assert loaded.config.first_share == 1
    weight = loaded.schedule.weight
    assert weight.shape == rule.schedule.weight.shape
    assert (weight[:, :SCHEDULE_CHANNELS] == 1).all()
    assert not weight[:, SCHEDULE_CHANNELS:].any()
    save_rule(loaded, tmp_path / "new.safetensors")
    again = load_rule(tmp_path / "new.safetensors")
    assert again.config == loaded.config
    assert rule_hash(again) == rule_hash(loaded)


@pytest.mark.parametrize(("version", "steep"), [("6", 0), ("7", 0), ("8", 4)])
def test_files_of_before_version_9_scale_nothing_and_of_before_8_remember_nothing(
    tmp_path, version, steep
):
    config = NFNRule(NFNRuleConfig(steep=4)).get_config()
    del config["scaling"]
    header = {"format": FORMAT, "version": version, "card": "{}", "rule": json.dumps(config)}
    save_file(dict(NFNRule().state_dict()), tmp_path / "old.safetensors", header)
    loaded = load_rule(tmp_path / "old.safetensors").config
    assert (loaded.scaling, loaded.steep) == (0, steep)


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "rule.safetensors"
    save_rule(NFNRule(), path, {"run": 1})

    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nfn_optim.optimizer._checkpoint.serialize", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_rule(NFNRule(), path, {"run": 2})
    assert read_card(path) == {"run": 1}


def test_rules_of_the_same_weights_and_other_configurations_are_not_the_same():
    rule = load_rule("untrained")
    other = NFNRule(replace(rule.config, scaling=0.0))
    other.load_state_dict(rule.state_dict())
    assert rule_hash(rule) != rule_hash(other)
    states = [NFNOptimizer(nn.Linear(3, 2), checkpoint=each).state_dict() for each in (rule, other)]
    with pytest.raises(ValueError, match="rule"):
        NFNOptimizer(nn.Linear(3, 2), checkpoint=rule).load_state_dict(states[1])


def test_the_untrained_rule_is_the_same_every_time():
    torch.manual_seed(1)
    first = load_rule("untrained")
    state = torch.get_rng_state()
    second = load_rule("untrained")
    assert torch.equal(torch.get_rng_state(), state)
    assert rule_hash(first) == rule_hash(second)
    assert not any(weight.any() for weight in first.write.parameters())
    assert rule_hash(first) != rule_hash(load_rule("small"))
