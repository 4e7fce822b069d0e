"""The release folder: whole or absent, refused for every reason there is, and free of private numbers."""

import errno
import json
import math
import os
import re
import resource
from dataclasses import dataclass, replace
from datetime import date
from html import unescape
from pathlib import Path

import jsonschema
import markdown
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from dp_accounting import GaussianDpEvent

from tabsynth import atomic
from tabsynth.errors import InputError, Refused
from tabsynth.metrics.estimate import Estimate
from tabsynth.policy import Verdict, default_policy
from tabsynth.privacy.budget import Budget, Spent
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.words import certainty, claim_in_words
from tabsynth.release import (
    check_folder,
    check_release_folder,
    inside_folder,
    json_schema,
    read_release,
    refusals,
    release,
    row_provenance,
    write_inside,
)
from tabsynth.release.card import escape
from tabsynth.release.provenance import policy_fingerprint
from tabsynth.schema import Column, Schema, Unit

HOSTILE = "a|b <script>alert(1)</script> `x` *y* [z](javascript:w)"
CHINESE = "收入, 年"
PRIVATE = 0.7318264519  # a number that must not leave
MARK = "73182"

SCHEMA = Schema(
    (
        Column(HOSTILE, "categorical", categories=("<b>no</b>", "o|k"), nullable=True),
        Column("ill", "boolean", roles=("target",)),
        Column("age", "integer", bounds=(0, 99), nullable=True),
        Column(CHINESE, "float", bounds=(0.0, 9.5), decimals=1),
        Column("day", "datetime", bounds=(0.0, 86_400.0 * 400)),
        Column("moment", "datetime", format="%Y-%m-%d %H:%M", bounds=(0.0, 86_400.0), nullable=True),
    ),
    rows=5000,
)


def synthetic(n: int = 4) -> pd.DataFrame:
    return pd.DataFrame(
        {
            HOSTILE: pd.Categorical(["o|k", None, "<b>no</b>", "o|k"] * (n // 4), categories=["<b>no</b>", "o|k"]),
            "ill": pd.array([True, False, False, True] * (n // 4), dtype="boolean"),
            "age": pd.array([1, None, 99, 0] * (n // 4), dtype="Int64"),
            CHINESE: [0.5, 9.5, 1.0, 2.0] * (n // 4),
            "day": pd.to_datetime(["1970-01-02", "1971-02-01", "1970-01-01", "1970-01-01"] * (n // 4)),
            "moment": pd.to_datetime(["1970-01-01 10:30", None, "1970-01-01 00:00", "1970-01-01 23:59"] * (n // 4)),
        }
    )


@dataclass(frozen=True)
class Plain:
    name = "plain"
    bins: tuple[int, ...] = (2, 3)
    limit: float = math.inf
    seed: int = 7


class Inside:
    """A stand-in for the report, as full of private numbers as the real one."""

    def files(self):
        return {"report.html": f"<p>{PRIVATE}</p>", "report.json": json.dumps({"auc": PRIVATE})}


def verdict(name="tvd1", tier="fidelity", status="passed") -> Verdict:
    numbers = Estimate(PRIVATE, PRIVATE - 0.1, PRIVATE + 0.1, f"seen {PRIVATE}")
    return Verdict(
        name, tier, status, f"it is {PRIVATE}", numbers, numbers, numbers, -math.inf, PRIVATE + 0.5, "zero", PRIVATE
    )


VERDICTS = (verdict(), verdict("membership_auc", "privacy"), verdict("tstr", "utility", "not applicable"))


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    paid = Ledger(Budget(1.0, 1e-6))
    paid.charge(GaussianDpEvent(20.0), why="one-way counts")
    paid.spend_rest(GaussianDpEvent, why="the rest")
    paid.note("column names were taken from the file")
    return paid


def unlimited() -> Ledger:
    free = Ledger(None)
    free.spend_rest(GaussianDpEvent, why="all of it")
    return free


@pytest.fixture
def let_out(tmp_path, ledger):
    """Release into a new folder, with anything replaced."""

    def call(folder=tmp_path / "people", verdicts=VERDICTS, ledger=ledger, rows=None, **options):
        given = {"inside": Inside(), "seeds": {"public": 3}, "policy": default_policy(), "attempts": 2} | options
        rows = synthetic() if rows is None else rows
        return release(rows, SCHEMA, Plain(), ledger, verdicts, folder, **given)

    return call


def outside_text(folder: Path) -> str:
    texts = [path.read_bytes().decode("latin-1") for path in folder.iterdir()]
    table = pa_parquet.read_table(folder / "data.parquet")
    return "\n".join([*texts, str(table.schema), table.to_pandas().to_string()])


def test_a_release_has_exactly_its_files_and_an_inside_folder_beside_it(let_out, tmp_path):
    done = let_out()
    assert done.folder == tmp_path / "people"
    assert sorted(p.name for p in done.folder.iterdir()) == ["README.md", "data.parquet", "provenance.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["people", "people.inside"]
    inside = sorted(p.name for p in inside_folder(done.folder).iterdir())
    assert inside == ["DO-NOT-SHARE.txt", "report.html", "report.json"]
    assert (tmp_path / "people.inside").stat().st_mode & 0o077 == 0
    mask = os.umask(0o022)
    os.umask(mask)
    assert done.folder.stat().st_mode & 0o777 == 0o777 & ~mask


def test_no_private_number_leaves(let_out):
    done = let_out()
    assert MARK not in outside_text(done.folder)
    inside = inside_folder(done.folder)
    assert all(MARK in (inside / name).read_text() for name in ("report.html", "report.json"))  # the search can find it


def test_which_checks_applied_is_said_only_where_it_was_paid_for(let_out, tmp_path):
    """Whether a check passed or did not apply may hang on one private row: without a charge, both look alike."""
    others = tuple(replace(each, status="passed") for each in VERDICTS)
    outside = []
    for number, verdicts in enumerate((VERDICTS, others)):
        folder = let_out(tmp_path / f"case {number}", verdicts, title="people").folder
        gate = json.loads((folder / "provenance.json").read_text())["gate"]
        card = re.sub(r"Release `.*", "", (folder / "README.md").read_text())
        outside.append((gate, card))
    assert outside[0] == outside[1]
    assert {entry["status"] for entry in outside[0][0]["verdicts"]} == {"not failed"}

    paid = Ledger(Budget(1.0, 1e-6))
    paid.charge(GaussianDpEvent(20.0), why="gate: counts")
    paid.spend_rest(GaussianDpEvent, why="the rest")
    charged = let_out(tmp_path / "charged", ledger=paid, mode="charged").folder
    account = json.loads((charged / "provenance.json").read_text())
    jsonschema.validate(account, json_schema())
    assert [entry["status"] for entry in account["gate"]["verdicts"]] == [each.status for each in VERDICTS]
    assert "tstr: not applicable" in (charged / "README.md").read_text()


def test_the_provenance_validates_and_says_what_was_paid(let_out, ledger):
    account = json.loads((let_out().folder / "provenance.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(account, json_schema())
    assert account["schema_fingerprint"] == SCHEMA.fingerprint()
    assert Schema.from_dict(account["schema"]) == SCHEMA
    assert account["privacy"]["private"] is True
    assert account["privacy"]["budget"] == {"epsilon": 1.0, "delta": 1e-6}
    assert account["privacy"]["spent"]["epsilon"] == pytest.approx(ledger.spent.epsilon)
    assert [charge["why"] for charge in account["privacy"]["charges"]] == ["one-way counts", "the rest"]
    assert "column names were taken from the file" in str(account["privacy"]["notes"])
    assert account["generator"]["settings"] == {"bins": [2, 3], "limit": "inf", "seed": 7}
    assert account["gate"]["verdicts"][1] == {"name": "membership_auc", "tier": "privacy", "status": "not failed"}
    assert account["gate"]["policy_fingerprint"] == policy_fingerprint(default_policy())
    assert "Attempts made: 2" in account["gate"]["statement"]
    assert account["seeds"] == {"public": 3}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("privacy", "auc"), 0.5),
        (("gate", "verdicts", 0, "estimate"), 0.5),
        (("gate", "verdicts", 0, "status"), "failed"),
        (("files", "data.parquet", "sha256"), "0"),
        (("release", "rows"), 0),
    ],
)
def test_the_json_schema_rejects_what_a_release_never_writes(let_out, path, value):
    account = json.loads((let_out().folder / "provenance.json").read_text(encoding="utf-8"))
    place = account
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(account, json_schema())


def test_the_policy_fingerprint_follows_every_setting():
    policy = default_policy()
    changed = (replace(policy[0], at_most=0.16), *policy[1:])
    assert policy_fingerprint(policy) == policy_fingerprint(default_policy())
    assert policy_fingerprint(policy) not in {policy_fingerprint(changed), policy_fingerprint(policy[1:])}


def test_the_data_have_real_types_and_come_back(let_out):
    done = let_out()
    table = pa_parquet.read_table(done.folder / "data.parquet")
    assert table.schema.types == [
        pa.dictionary(pa.int32(), pa.string()),
        pa.bool_(),
        pa.int64(),
        pa.float64(),
        pa.date32(),
        pa.timestamp("ms"),
    ]
    assert table["age"].to_pylist() == [1, None, 99, 0]
    assert table["day"].to_pylist()[:2] == [date(1970, 1, 2), date(1971, 2, 1)]
    assert table[HOSTILE].to_pylist() == ["o|k", None, "<b>no</b>", "o|k"]
    assert list(done.rows().columns) == list(SCHEMA.names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": [1.5, 2.0, 3.0, 4.0]}, "'age': the synthetic values are not all integer"),
        ({"day": ["soon"] * 4}, "'day': the synthetic values are not all datetime"),
        ({HOSTILE: ["other"] * 4}, "outside the declared domain"),
        ({CHINESE: [1.0, np.nan, 1.0, 1.0]}, "missing in a column declared not nullable"),
        ({"extra": [1, 2, 3, 4]}, "'extra' is not in the schema"),
    ],
)
def test_rows_that_do_not_fit_are_named_and_nothing_is_written(let_out, tmp_path, change, message):
    with pytest.raises(InputError, match=re.escape(message)):
        let_out(rows=synthetic().assign(**change))
    assert list(tmp_path.iterdir()) == []


def test_rows_must_be_there(let_out):
    with pytest.raises(InputError, match="at least one synthetic row"):
        let_out(rows=synthetic().iloc[:0])
    with pytest.raises(InputError, match="'ill' of the schema is missing"):
        let_out(rows=synthetic().drop(columns="ill"))


def opened() -> Ledger:
    ledger = Ledger(Budget(1.0, 1e-6))
    ledger.charge(GaussianDpEvent(20.0), why="one-way counts")
    return ledger


def seeded() -> Ledger:
    ledger = opened()
    ledger.spend_rest(GaussianDpEvent, why="the rest")
    ledger.mark_not_private("its noise was seeded")
    return ledger


class Faulty(Ledger):
    """A ledger that the real one cannot become, which is no reason for the gate not to look."""

    closed = True


class Overspent(Faulty):
    spent = Spent(1.01, 1e-6)


def uncharged() -> Ledger:
    return Faulty(Budget(1.0, 1e-6))


def overspent() -> Ledger:
    ledger = Overspent(Budget(1.0, 1e-6))
    ledger.charge(GaussianDpEvent(20.0), why="one-way counts")
    return ledger


@pytest.mark.parametrize(
    ("make", "verdicts", "reason"),
    [
        (unlimited, (), "no check was made"),
        (unlimited, (verdict(status="not applicable"),), "no check passed"),
        (unlimited, (*VERDICTS, verdict("ks", status="failed")), "the check ks failed"),
        (opened, VERDICTS, "the ledger is still open"),
        (uncharged, VERDICTS, "nothing was charged"),
        (seeded, VERDICTS, "marked not private"),
        (overspent, VERDICTS, "spent more than its budget"),
    ],
)
def test_refused_leaves_the_inside_report_only(let_out, tmp_path, make, verdicts, reason):
    ledger = make()
    assert any(reason in each for each in refusals(verdicts, ledger))
    with pytest.raises(Refused, match=reason) as refused:
        let_out(ledger=ledger, verdicts=verdicts)
    assert MARK not in str(refused.value)
    assert [p.name for p in tmp_path.iterdir()] == ["people.inside"]
    assert MARK in (tmp_path / "people.inside" / "report.json").read_text()


def test_what_passes_is_not_refused(ledger):
    assert refusals(VERDICTS, ledger) == ()
    assert refusals(VERDICTS, unlimited()) == ()
    assert refusals(VERDICTS, None) == ()


def test_without_a_budget_card_and_provenance_say_so(let_out):
    done = let_out(ledger=unlimited())
    jsonschema.validate(done.provenance, json_schema())
    assert done.provenance["privacy"]["private"] is False
    assert done.provenance["privacy"]["spent"]["epsilon"] is None
    assert "Not differentially private" in done.provenance["privacy"]["meaning"][0]
    assert "**Not differentially private.**" in (done.folder / "README.md").read_text(encoding="utf-8")


FILES = ("data.parquet", "README.md", "provenance.json", "DO-NOT-SHARE.txt", "report.html", "report.json")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("name", FILES)
def test_a_failure_at_any_file_leaves_nothing(let_out, tmp_path, monkeypatch, name, error):
    real = atomic._flush_file

    def failing(path):
        real(path)
        if path.name == name:
            raise error

    monkeypatch.setattr(atomic, "_flush_file", failing)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else InputError
    with pytest.raises(expected, match="No space left" if expected is InputError else None):
        let_out()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert let_out().id  # and the same release can be made once there is room


@pytest.mark.parametrize("step", [1, 2])
def test_a_failure_at_either_rename_leaves_no_release(let_out, tmp_path, monkeypatch, step):
    real, calls = os.rename, []

    def failing(source, target):
        calls.append(target)
        if len(calls) == step:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(InputError, match="Input/output error"):
        let_out()
    assert [p.name for p in tmp_path.iterdir()] == ["people.inside"] * (step - 1)


def test_a_disk_that_really_fills_leaves_nothing(let_out, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).random(40_000)  # does not compress
    rows = synthetic(40_000).assign(**{CHINESE: noise})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InputError, match="File too large"):
            let_out(rows=rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    assert len(let_out(rows=rows).rows()) == 40_000


def test_an_older_inside_report_is_replaced_whole_or_kept(let_out, tmp_path, monkeypatch):
    let_out(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    old = tmp_path / "a.inside" / "report.html"
    old.write_text("old")
    monkeypatch.setattr(atomic, "_swap", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(InputError, match="Input/output error"):
        let_out(tmp_path / "a")
    assert old.read_text() == "old"
    monkeypatch.undo()
    let_out(tmp_path / "a")
    assert old.read_text() != "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.inside", "b"]


def test_a_failed_swap_puts_the_old_folder_back(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotFoundError):
        atomic._swap(tmp_path / "absent", tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_is_checked_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for folder, reason in [
        (tmp_path, "already exists"),
        (tmp_path / "file", "already exists"),
        (tmp_path / "link", "already exists"),
        (tmp_path / "no" / "where", f"the folder {tmp_path / 'no'} does not exist"),
        (tmp_path / "file" / "x", "is not a folder"),
        ("..", "a name of its own"),
    ]:
        with pytest.raises(InputError, match=re.escape(reason)):
            check_folder(folder)
    assert check_folder(tmp_path / "new") == tmp_path / "new"
    assert check_folder(tmp_path / ("收" * 80)).name == "收" * 80  # near the 255 bytes that a name may have
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a filesystem that nobody can write to")
def test_a_folder_that_cannot_be_written_is_named():
    with pytest.raises(InputError, match="/proc/people: cannot be written"):
        check_folder("/proc/people")


def test_something_else_in_the_place_of_the_inside_report_is_left_alone(tmp_path, let_out):
    (tmp_path / "people.inside").mkdir()
    (tmp_path / "people.inside" / "thesis.doc").write_text("years of work")
    for call in (check_release_folder, let_out):
        with pytest.raises(InputError, match="is in the way"):
            call(tmp_path / "people")
    assert (tmp_path / "people.inside" / "thesis.doc").read_text() == "years of work"


def test_an_existing_folder_is_never_written_over(tmp_path, let_out):
    (tmp_path / "people").mkdir()
    with pytest.raises(InputError, match="already exists"):
        let_out()
    assert list((tmp_path / "people").iterdir()) == []
    with pytest.raises(InputError, match="already exists"):
        write_inside(tmp_path / "people", Inside())


def test_a_folder_that_appears_meanwhile_is_not_written_over(tmp_path, let_out, monkeypatch):
    real = atomic._flush_names

    def appearing(folder):
        (tmp_path / "people").mkdir(exist_ok=True)
        real(folder)

    monkeypatch.setattr(atomic, "_flush_names", appearing)
    with pytest.raises(InputError, match="already exists and is not replaced"):
        let_out()
    assert list((tmp_path / "people").iterdir()) == []


def test_a_release_is_read_back_and_every_row_says_where_it_comes_from(let_out):
    done = let_out()
    again = read_release(done.folder)
    assert (again.id, again.schema) == (done.id, SCHEMA)
    found = row_provenance(done.folder, 3)
    assert (found.release_id, found.row, found.generator) == (done.id, 3, "plain")
    assert found.generator_version == done.provenance["generator"]["version"]
    for row in (-1, 4):
        with pytest.raises(InputError, match="numbered 0 to 3"):
            row_provenance(done.folder, row)


@pytest.mark.parametrize("name", ["data.parquet", "README.md"])
def test_an_altered_byte_is_noticed_wherever_it_is(let_out, name):
    folder = let_out().folder
    content = bytearray((folder / name).read_bytes())
    for place in (0, len(content) // 2, len(content) - 1):
        content[place] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match="was altered"):
            read_release(folder)
        content[place] ^= 1
    (folder / name).write_bytes(content)
    assert read_release(folder)


def test_other_damage_is_named(let_out, tmp_path):
    one, other = let_out(tmp_path / "one"), let_out(tmp_path / "other", rows=synthetic(8))
    assert one.id != other.id
    account = json.loads((one.folder / "provenance.json").read_text(encoding="utf-8"))
    account["release"]["id"] = other.id
    (one.folder / "provenance.json").write_text(json.dumps(account), encoding="utf-8")
    with pytest.raises(InputError, match="id of another release"):
        read_release(one.folder)
    (other.folder / "README.md").unlink()
    with pytest.raises(InputError, match=r"README\.md: cannot be read"):
        read_release(other.folder)
    bare = '{"format": "tabsynth release"}'
    for text, reason in [("{", "not JSON"), ("[]", "not the provenance"), (bare, "must name")]:
        (one.folder / "provenance.json").write_text(text)
        with pytest.raises(InputError, match=reason):
            read_release(one.folder)
    with pytest.raises(InputError, match="is this a release folder"):
        read_release(tmp_path / "nowhere")


def test_the_card_shows_hostile_names_and_obeys_none(let_out):
    text = (let_out(title="<script>alert(2)</script>").folder / "README.md").read_text(encoding="utf-8")
    html = markdown.markdown(text, extensions=["tables", "fenced_code"])
    assert not re.search(r"<script|<b>|<a |<em>y", html)
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.S)
    assert len(rows) == 1 + len(SCHEMA.columns)
    assert all(row.count("<td") == 4 for row in rows[1:])
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert CHINESE in html
    for named in ("tvd1", "membership\\_auc", "tstr: not failed", "Synthetic data"):
        assert named in text
    bare = markdown.markdown(text.replace(escape(HOSTILE), HOSTILE), extensions=["tables", "fenced_code"])
    assert re.search(r"<script|<b>|<a |<em>y", bare)  # the same reading finds a name that was not escaped


NAMES = ["- a", "1. a", "+", "=", "# a", "> a", "http://a.example", "a  \n\n# b", "&lt;", "*a*", "![x](y)", "$a$"]
NAMES += ["\\", "~~a~~", "`a`", "a_b_c", "<i>", "12) a", "a@b.example"]


@pytest.mark.parametrize("name", NAMES)
def test_an_escaped_name_reads_as_it_is_written(name):
    html = markdown.markdown(f"- {escape(name)}\n", extensions=["tables"])
    text = unescape(re.sub(r"</?(ul|li|p)>", "", html)).strip()
    assert text == " ".join(name.split())


def test_the_code_on_the_card_runs(let_out, monkeypatch, capsys):
    done = let_out()
    monkeypatch.chdir(done.folder)
    blocks = re.findall(r"```python\n(.*?)```", (done.folder / "README.md").read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {})
    assert done.id in capsys.readouterr().out


def test_the_words_about_epsilon_match_randomised_response():
    # Whoever answers truly with probability e^eps / (1 + e^eps) is believed exactly as much as is allowed.
    for truth in (0.5, 0.6, 0.9):
        epsilon = math.log(truth / (1 - truth))
        assert certainty(epsilon) == pytest.approx(truth)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0, 8.0, 30.0])
def test_every_epsilon_is_put_in_words_without_claiming_certainty(epsilon):
    ledger = Ledger(Budget(epsilon, 1e-6))
    ledger.spend_rest(GaussianDpEvent, why="all of it")
    first, *others = claim_in_words(ledger, Unit("patient", 5))
    assert "at most 5" in first
    assert "100.0%" not in " ".join(others)


def test_a_marked_ledger_promises_nothing_in_words():
    assert claim_in_words(seeded(), Unit())[0] == "Not differentially private: epsilon is infinite."
