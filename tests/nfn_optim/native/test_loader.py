"""Native code is compiled once; a fault in it is told from a missing compiler."""

import shutil
import warnings

import pytest
import torch
from torch import nn

from nfn_optim import NFNOptimizer
from nfn_optim.native import (
    CompileFailed,
    Library,
    NoCompiler,
    TurnedOff,
    chain,
    convolution,
    packed,
    population,
    step,
    taped,
)

LIBRARIES = {
    "step": step.LIBRARY,
    "population": population.LIBRARY,
    "taped": taped.LIBRARY,
    "convolution": convolution.LIBRARY,
    "chain": chain.LIBRARY,
    "packed": packed.LIBRARY,
}


@pytest.fixture
def nothing_built(monkeypatch, tmp_path):
    """A machine on which nothing was compiled yet, and a process that has not tried to."""
    monkeypatch.delenv("NFN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("NFN_NATIVE", raising=False)
    fresh = Library(step.LIBRARY.source, step.LIBRARY.definitions)
    monkeypatch.setattr(step, "LIBRARY", fresh)
    return tmp_path


def compiler(folder, monkeypatch, script):
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))


def broken(library, folder):
    """A copy of the source with a syntax error in it."""
    copy = folder / "copy"
    shutil.copytree(library.source.parent, copy)
    source = copy / library.source.name
    source.write_text(source.read_text() + "\nint nonsense = ;\n")
    return Library(source, library.definitions)


def take_a_step(**options):
    model = nn.Linear(4, 2)
    before = model.weight.detach().clone()
    optimizer = NFNOptimizer(model, **options)
    model(torch.ones(3, 4)).square().mean().backward()
    optimizer.step()
    assert not torch.equal(model.weight, before)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_syntax_error_is_warned_of_once_and_fails_the_tests(
    name, nothing_built, native_step, need
):
    library = broken(LIBRARIES[name], nothing_built)
    with pytest.warns(UserWarning, match=r"(?s)does not compile:.*error: .*Mend .*NFN_NATIVE=0"):
        assert not library.can_load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not library.can_load()
    assert library.status().startswith("failed: ")
    assert "error: expected" in library.status()
    with pytest.raises(CompileFailed, match="expected primary-expression"):
        need(library)


def test_after_a_syntax_error_steps_are_taken_by_torch(nothing_built, native_step, monkeypatch):
    monkeypatch.setattr(step, "LIBRARY", broken(step.LIBRARY, nothing_built))
    with pytest.warns(UserWarning, match="PyTorch's operations do the same"):
        take_a_step()
    take_a_step()
    with pytest.raises(CompileFailed, match="expected primary-expression"):
        take_a_step(fused=True)


def test_without_a_compiler_steps_are_taken_by_torch_in_silence(nothing_built, monkeypatch, need):
    monkeypatch.setenv("CXX", "no-such-compiler")
    take_a_step()
    with pytest.raises(NoCompiler, match=r"no \$CXX .* Install one"):
        take_a_step(fused=True)
    assert step.LIBRARY.status() == "no compiler"
    with pytest.raises(pytest.skip.Exception, match="Install one"):
        need(step.LIBRARY)


def test_native_code_can_be_turned_off(nothing_built, monkeypatch, need):
    monkeypatch.setenv("NFN_NATIVE", "0")
    take_a_step()
    with pytest.raises(TurnedOff, match="NFN_NATIVE=0"):
        take_a_step(fused=True)
    assert step.LIBRARY.status() == "turned off by NFN_NATIVE=0"
    with pytest.raises(pytest.skip.Exception, match="turned off"):
        need(step.LIBRARY)


def test_what_the_compiler_says_is_passed_on(nothing_built, monkeypatch):
    compiler(nothing_built, monkeypatch, "echo 'the disk is full' >&2\nexit 1")
    with pytest.raises(CompileFailed, match="the disk is full"):
        take_a_step(fused=True)
    assert not (nothing_built / "nfn_optim").exists()


@pytest.mark.parametrize(
    ("script", "match"),
    [
        ('for last; do :; done\necho "no library" > "$last"', "cannot be loaded"),
        ("exit 0", "cannot be loaded"),
    ],
    ids=["what it makes is no library", "it makes nothing"],
)
def test_what_cannot_be_loaded_is_a_failure(nothing_built, monkeypatch, script, match):
    compiler(nothing_built, monkeypatch, script)
    with pytest.warns(UserWarning, match=match):
        take_a_step()
    assert step.LIBRARY.status().startswith("failed: ")


def test_a_folder_that_cannot_be_written_is_named_and_done_without(nothing_built, native_step):
    (nothing_built / "nfn_optim").write_text("a file where the folder would be")
    with pytest.warns(UserWarning, match=r"cannot be kept in .* NFN_CACHE names another folder"):
        take_a_step(fused=True)
    take_a_step(fused=True)


@pytest.mark.parametrize("kept", [0, 100, 5_000, -40], ids=lambda n: f"{n} bytes")
def test_code_that_is_cut_off_is_compiled_again(nothing_built, native_step, kept):
    source = nothing_built / "one.cpp"
    source.write_text('extern "C" int one() { return 1; }\n')
    Library(source).load()
    (built,) = (nothing_built / "nfn_optim").iterdir()
    whole = built.read_bytes()
    built.write_bytes(whole[:kept])
    assert Library(source).load().one() == 1
    assert len(built.read_bytes()) == len(whole)


def test_native_code_is_compiled_once(nothing_built, native_step):
    source = nothing_built / "one.cpp"
    source.write_text('extern "C" int one() { return 1; }\n')
    library = Library(source)
    assert library.load().one() == 1
    assert library.status() == "compiled"
    (built,) = (nothing_built / "nfn_optim").iterdir()
    changed = built.stat().st_mtime_ns
    assert Library(source).load().one() == 1
    assert built.stat().st_mtime_ns == changed


def test_more_options_of_the_compiler_make_other_code(nothing_built, native_step, monkeypatch):
    source = nothing_built / "number.cpp"
    source.write_text('extern "C" int number() { return NUMBER; }\n')
    for number in (1, 2):
        monkeypatch.setenv("NFN_CXXFLAGS", f"-DNUMBER={number} -DTEXT='two words'")
        assert Library(source).load().number() == number
    assert len(list((nothing_built / "nfn_optim").iterdir())) == 2
