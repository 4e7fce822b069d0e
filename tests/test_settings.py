"""Settings and budgets of the wrong type are refused by name, whichever family they are of, before a ledger is."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest

from tabsynth import TabularSynthesizer, __version__, registry
from tabsynth.cli import run
from tabsynth.cli_options import settings_of
from tabsynth.errors import InputError
from tabsynth.fitting import make_budget, make_synthesizer


@pytest.mark.parametrize("name", registry.names(registry.SYNTHESIZERS))
def test_every_setting_of_every_family_has_a_type_that_is_checked(name: str) -> None:
    family = registry.load(registry.SYNTHESIZERS, name)
    for field in fields(family):
        wrong: Any = 1 if get_type_hints(family)[field.name] is str else "abc"
        with pytest.raises(InputError, match=rf"^{name}: {field.name} must be .*; got {wrong!r}, a value of type"):
            make_synthesizer(name, **{field.name: wrong})
        make_synthesizer(name, **{field.name: getattr(family(), field.name)})


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("marginals", {"pairs": 2.5}, "pairs must be a whole number; got 2.5, a value of type float"),
        ("marginals", {"pairs": True}, "pairs must be a whole number; got True, a value of type bool"),
        ("marginals", {"codes": [24, "x"]}, "codes must be a list, each item a whole number; got .24, 'x'."),
        ("ctgan", {"batch": "x"}, "batch must be a whole number or null; got 'x'"),
        ("simulator", {"parameters": [["a", 1.0]]}, "parameters must be a list, each item a list of 3 items"),
        ("vae", {"shares": {"pairs": "x"}}, "shares must be a mapping of one_way, .*pairs; got {'pairs': 'x'}"),
        ("vae", {"shares": {"pear": 0.1}}, "shares must be a mapping of one_way, "),
        ("marginals", {"codes": {24: 10}}, "codes must be a list"),
        ("vae", {"device": 0}, "device must be a text; got 0"),
    ],
)
def test_what_is_wrong_is_said(model: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_synthesizer(model, **settings)


def test_what_means_the_same_is_taken() -> None:
    assert make_synthesizer("ctgan", critic_widths=[64, 64]).critic_widths == (64, 64)  # type: ignore[attr-defined]
    assert make_synthesizer("marginals", pairs=np.int64(3), target_bonus=2).target_bonus == 2  # type: ignore[attr-defined]
    ranges = make_synthesizer("simulator", parameters={"a": [0, 1]})
    assert ranges.parameters == (("a", 0.0, 1.0),)  # type: ignore[attr-defined]
    assert make_synthesizer("vae", shares={"pairs": 0.2}).shares.pairs == 0.2  # type: ignore[attr-defined]
    assert settings_of(["rate=4e-3", "batch=null", "order=few", "codes=[3, 2]"]) == {
        "rate": 0.004,
        "batch": None,
        "order": "few",
        "codes": [3, 2],
    }


@pytest.mark.parametrize("pair", ["pairs=abc", "pairs=[1"])
def test_the_command_line_refuses_them_before_there_is_a_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pair: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"age": [1, 2, 3] * 9}).to_csv("t.csv", index=False)
    assert run(["fit", "t.csv", "--set", pair, "-o", "model"]) == 2
    assert "pairs" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_what_is_never_private_is_refused_before_there_is_a_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"age": [1, 2, 3] * 9}).to_csv("t.csv", index=False)
    asked = ["--discover", "--model", "trees", "--epsilon", "1"]
    for command in (["fit", "t.csv", "-o", "out"], ["release", "t.csv", "-o", "out"], ["canary", "t.csv", "-o", "out"]):
        assert run([*command, *asked]) == 2
        assert "trees is never private" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"tabsynth {__version__}\n"


def test_a_file_that_is_missing_is_told_before_slow_imports(tmp_path: Path) -> None:
    asked = ["audit", "--train", "gone.csv", "--synthetic", "gone.csv", "-o", str(tmp_path / "out")]
    run_it = f"code = run({asked!r}); sys.exit(code + 100 * ('torch' in sys.modules))"
    code = f"import sys; from tabsynth.cli import run; {run_it}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "gone.csv: no such file" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("epsilon", ["1", [1.0], True])
def test_an_epsilon_that_is_no_number_is_named(epsilon: Any) -> None:
    with pytest.raises(InputError, match="epsilon must be a number; got"):
        make_budget(epsilon, 1e-6)
    with pytest.raises(InputError, match="epsilon must be a number; got"):
        TabularSynthesizer("independent", epsilon=epsilon).fit(pd.DataFrame({"age": [1, 2, 3]}))
