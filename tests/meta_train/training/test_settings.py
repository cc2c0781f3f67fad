"""Settings: their ranges, their files, and the options of the command line."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from meta_train import (
    FINE_TUNING,
    PES,
    FullES,
    InnerConfig,
    MetaLoss,
    MetaTrainer,
    NoiseReuseES,
    OuterConfig,
    RuleConfig,
    RunConfig,
    TruncatedBPTT,
    ValidationConfig,
)
from meta_train.commands._main import main
from meta_train.commands._settings import read_settings
from meta_train.support import clean
from meta_train.tasks import default_family
from meta_train.training import DEFAULT_TASKS
from meta_train.training._settings import differences, from_plain, to_plain
from nfn_optim import read_card


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (RunConfig, {"outer_steps": 0}, "outer_steps must be at least 1; got 0"),
        (InnerConfig, {"max_horizon": 5}, r"max_horizon \(5\) must not be below min_horizon"),
        (InnerConfig, {"runs": 2, "runs_per_step": 3}, r"runs_per_step \(3\) must not exceed runs"),
        (InnerConfig, {"told": 1.5}, r"told must be in \[0, 1\]; got 1.5"),
        (MetaLoss, {"floor": 0.0}, "floor must be positive"),
        (MetaLoss, {"held_out": -0.1}, r"held_out must be in \[0, 1\]"),
        (RuleConfig, {"hidden": 0}, "hidden must be at least 1"),
        (RuleConfig, {"initial_lr": float("nan")}, "initial_lr must be positive; got nan"),
        (RuleConfig, {"first_share": 2.0}, r"first_share must be in \[0, 1\]; got 2.0"),
        (OuterConfig, {"lr": 0.0}, "lr must be positive"),
        (OuterConfig, {"weight_decay": -1.0}, "weight_decay must not be negative"),
        (OuterConfig, {"ema": 1.0}, "ema must be in"),
        (OuterConfig, {"optimizer": "Adamant"}, "torch.optim has no 'Adamant'"),
        (ValidationConfig, {"runs": 0}, "runs must be at least 1"),
        (ValidationConfig, {"every": -1}, "every must not be negative"),
        (TruncatedBPTT, {"truncation": 0}, "truncation must be at least 1"),
        (FullES, {"pairs": 0}, "pairs must be at least 1"),
        (PES, {"std": 0.0}, "std must be positive"),
        (NoiseReuseES, {"truncation": 0}, "truncation must be at least 1"),
    ],
)
def test_settings_out_of_range_are_named(kind, change, message):
    with pytest.raises(ValueError, match=message):
        kind(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outer": OuterConfig("LBFGS")}, "LBFGS cannot be the outer optimizer"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        (
            {"rule": RuleConfig(parameters=("read.*", "nothing.*"))},
            "'nothing.*' names no meta-parameter",
        ),
        ({"rule": RuleConfig(init="/none.safetensors")}, "no checkpoint"),
    ],
)
def test_unusable_settings_are_refused_before_the_run(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        MetaTrainer(default_family, RunConfig(**change))  # type: ignore[arg-type]


def test_settings_as_plain_values_are_the_settings_again() -> None:
    config = RunConfig(
        seed=3,
        inner=InnerConfig(runs=4, told=0.1),
        meta_loss=MetaLoss(held_out=0.25),
        estimator=PES(std=0.02, truncation=5),
        rule=RuleConfig("default", parameters=("schedule.*",)),
        outer=OuterConfig("AdamW", weight_decay=0.1),
        validation=ValidationConfig(every=5),
    )
    assert from_plain(to_plain(config)) == config
    assert from_plain(json.loads(json.dumps(to_plain(config)))) == config
    assert from_plain({}) == RunConfig()


def test_differences_are_named_with_their_paths() -> None:
    config = RunConfig()
    assert differences(config, config) == []
    other = replace(config, seed=1, outer=OuterConfig(lr=1.0), estimator=FullES())
    assert differences(config, other) == [
        "estimator.FullES.pairs",
        "estimator.FullES.std",
        "estimator.TruncatedBPTT.first_order",
        "estimator.TruncatedBPTT.remat",
        "estimator.TruncatedBPTT.truncation",
        "outer.lr",
        "seed",
    ]


SETTINGS = """
outer: {lr: 3e-3}
rule: {parameters: [schedule.bias], hidden: 8}
estimator: {PES: {std: 0.5, truncation: 2}}
inner: {min_horizon: 4, max_horizon: 8, runs: 1, entries: 2000}
"""


def test_settings_come_from_files_and_options_override_them(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(SETTINGS)
    config = read_settings(file).config
    assert config == RunConfig(
        inner=InnerConfig(min_horizon=4, max_horizon=8, runs=1, entries=2000),
        estimator=PES(std=0.5, truncation=2),
        rule=RuleConfig(parameters=("schedule.bias",), hidden=8),
        outer=OuterConfig(lr=3e-3),
    )
    same = tmp_path / "run.json"
    same.write_text(json.dumps(to_plain(config)))
    assert read_settings(same).config == config
    out, card = tmp_path / "rule.safetensors", tmp_path / "card.json"
    files = ["--out", str(out), "--settings", str(file), "--json", str(card)]
    options = ["--no-table", "--outer-steps", "1", "--lr", "0.5", "estimator:pes", "--pairs", "1"]
    main(["train", *files, *options])
    used = json.loads(card.read_text())["config"]
    assert used["outer"]["lr"] == 0.5
    assert used["rule"]["hidden"] == 8
    assert used["estimator"] == {"PES": {"std": 0.5, "pairs": 1, "truncation": 2}}


SMALL = {"inner": {"runs": 1, "entries": 2000, "min_horizon": 2, "max_horizon": 2}}


@pytest.mark.parametrize(
    ("options", "file", "expected"),
    [
        ((), {}, RunConfig()),
        (("--init", "default"), None, FINE_TUNING),
        (("--init=default",), {}, FINE_TUNING),
        (("--init", "untrained"), None, replace(FINE_TUNING, rule=RuleConfig("untrained"))),
        ((), {"rule": {"init": "default"}}, FINE_TUNING),
        ((), {"rule": {"init": None}}, RunConfig()),
        (
            ("--init", "default", "--lr", "0.5"),
            {"outer": {"warmup": 3}, "outer_steps": 7},
            replace(FINE_TUNING, outer_steps=7, outer=replace(FINE_TUNING.outer, lr=0.5, warmup=3)),
        ),
        (
            ("--init", "default", "--outer-steps", "3200", "--validation.every", "400"),
            None,
            replace(FINE_TUNING, outer_steps=3200, validation=ValidationConfig()),
        ),
    ],
)
def test_runs_that_start_from_a_checkpoint_are_fine_tuning_unless_settings_say_otherwise(
    tmp_path: Path, options: tuple[str, ...], file: dict[str, object] | None, expected: RunConfig
) -> None:
    source, card, out = (tmp_path / name for name in ("run.json", "card.json", "a.safetensors"))
    if file is not None:
        source.write_text(json.dumps({**file, **SMALL}))
        options = (*options, "--settings", str(source))
    small = ("--runs", "1", "--entries", "2000", "--min-horizon", "2", "--max-horizon", "2")
    main(("train", "--out", str(out), "--json", str(card), "--dry-run", *options, *small))
    used = json.loads(card.read_text())["config"]
    wanted = json.loads(json.dumps(clean(to_plain(expected))))
    assert {**used, "inner": wanted["inner"]} == wanted


def test_a_fine_tuned_run_resumes_with_the_options_that_started_it(tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    small = ("--runs", "1", "--entries", "2000", "--min-horizon", "2", "--max-horizon", "2")
    options = ("train", "--out", str(out), "--init", "default", "--no-table", *small)
    main((*options, "--outer-steps", "1"))
    main((*options, "--outer-steps", "2", "--resume"))
    card = read_card(out)
    assert card["outer_steps"] == 2
    assert card["config"]["outer"]["lr"] == FINE_TUNING.outer.lr


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "run.yaml",
            "rate: 1",
            "run.yaml cannot be used: there is no setting rate. There",
        ),
        ("run.yaml", "lr: 1", "there is no setting lr. Is it outer.lr?"),
        ("run.yaml", "runs: 1", "there is no setting runs. Is it inner.runs or validation.runs?"),
        ("run.yaml", "outer: {rate: 1}", "no setting outer.rate. There are outer.optimizer, outer"),
        ("run.yaml", "outer: 1", "outer must be a mapping; got 1"),
        ("run.yaml", "rule: {hidden: many}", "rule.hidden must be a whole number; got 'many'"),
        ("run.yaml", "rule: {hidden: true}", "rule.hidden must be a whole number; got True"),
        ("run.yaml", "rule: {init: 3}", "rule.init must be text or null; got 3"),
        (
            "run.yaml",
            "rule: {parameters: read}",
            "rule.parameters must be a list of text; got 'read'",
        ),
        ("run.yaml", "outer: {lr: [1]}", "outer.lr must be a number; got [1]"),
        (
            "run.yaml",
            "estimator: pes",
            "estimator must be the name of one of TruncatedBPTT",
        ),
        ("run.yaml", "estimator: {ES: {}}", "estimator must be the name of one of TruncatedBPTT"),
        ("run.yaml", "estimator: {PES: {rate: 1}}", "no setting estimator.PES.rate"),
        ("run.yaml", "estimator: {PES: {std: 0}}", "std must be positive"),
        ("run.yaml", "- 1", "they must be a mapping; got [1]"),
        ("run.yaml", "a: [", "it is no YAML"),
        ("run.json", "{", "it is no JSON"),
        ("run.yaml", "outer: {lr: -1}", "lr must be positive"),
    ],
)
def test_unusable_settings_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_settings(tmp_path / name)


def test_options_out_of_range_end_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--lr", "-1"], ["estimator:pes", "--std", "0"], ["--outer-steps", "0"]):
        with pytest.raises(SystemExit, match="2"):
            main(["train", "--out", "rule.safetensors", *options])
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("nfn-optim: error: ")


def test_a_file_of_settings_holds_all_that_a_run_needs(tmp_path: Path) -> None:
    out, card, file = tmp_path / "a.safetensors", tmp_path / "card.json", tmp_path / "run.json"
    tasks = {"tasks": "meta_train.tasks:light_family", "validation_tasks": DEFAULT_TASKS}
    inner = {"runs": 1, "entries": 2000, "min_horizon": 2, "max_horizon": 2}
    content = {"out": str(out), "json": str(card), **tasks, "outer_steps": 1, "inner": inner}
    file.write_text(json.dumps({**content, "wandb": "disabled", "table": False}))
    main(["train", "--settings", str(file)])
    made = json.loads(card.read_text())
    assert (made["family"], made["validation_family"]) == tuple(tasks.values())
    assert out.exists()
    other = tmp_path / "b.safetensors"  # options override the file
    main(["train", "--settings", str(file), "--out", str(other), "--tasks", DEFAULT_TASKS])
    assert read_card(other)["family"] == DEFAULT_TASKS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("out: 3", "out must be text; got 3"),
        ("tasks: [a]", "tasks must be text"),
        ("wandb: sometimes", "wandb must be one of online, offline, disabled"),
        ("tensorboard: 1", "tensorboard must be true or false"),
        ("resume: true", "resume is no setting of a run. Give --resume instead"),
        ("dry_run: true", "Give --dry-run instead"),
    ],
)
def test_unusable_options_of_a_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_settings(tmp_path / "run.yaml")


def leaf_names(values: dict[str, object]) -> list[str]:
    """Names of all settings, without those of groups and estimators."""
    return [
        leaf
        for name, value in values.items()
        for leaf in (leaf_names(value) if isinstance(value, dict) else [name])
    ]


@pytest.mark.parametrize(
    "estimator", [TruncatedBPTT(), FullES(), PES(), NoiseReuseES()], ids=lambda e: type(e).__name__
)
def test_help_explains_every_setting(
    estimator: TruncatedBPTT, capsys: pytest.CaptureFixture[str]
) -> None:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(estimator).__name__).lower()
    with pytest.raises(SystemExit, match="0"):
        main(["train", f"estimator:{name}", "--help"])
    shown = " ".join(re.sub("[│─╭╮╰╯]", " ", capsys.readouterr().out).split())
    for setting in leaf_names(to_plain(RunConfig(estimator=estimator))):
        option = rf" --(no-|validation\.)?{setting.replace('_', '-')}( [A-Z]+| \[STR.*?\]\])?"
        assert re.search(rf"{option} [A-Z]((?! --).)*\(default: ", shown), setting
    assert "tyro" not in shown
    assert "--table, --no-table" in shown
    assert not re.search(r"(?<!, )--(\w+\.)?no-", shown)  # read forwards first
