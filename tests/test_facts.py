"""The door to private rows: every place outside `privacy/` that touches them is listed here, with what it costs.

A new touch fails, until it is written down beside its fact in the table of docs/privacy.md, or as something that stays
inside. What a function does with rows under another name than `private` this cannot see; neighbour replay can.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tabsynth
from tabsynth.charging.charged_gate import ChargedGate, charged_policy
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers import model
from tabsynth.synthesizers.copula import Copula
from tabsynth.synthesizers.ctgan import CTGAN
from tabsynth.synthesizers.independent import Independent
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.synthesizers.vae import VAE
from tabsynth.testing import awkward_table

ROOT = Path(tabsynth.__file__).parent
PAGE = Path(__file__).parent.parent / "docs" / "privacy.md"
PUBLIC_OWNERS = {"ledger", "budget", "fit"}  # whose `private` says whether something is private
ROWS_OF = {"evidence", "self", "drawn", "train", "table"}  # owners of parts that are rows
PARTS = {"train", "holdout", "unseen"}

COUNTS = "how many values are missing; how often each category or bin occurs"
PAIRS = "what pairs and larger sets of columns look like"
CHOICE = "which pairs and larger sets are looked at"
GRADIENTS = "each training step's gradient"
SIZE = "row count; number of units"
SAMPLED = "which rows a batch holds, which rows of a unit are kept, who is held out"
RULES = "that a table breaks a rule of its schema"
DRAFTED = "a drafted schema"
COPIES = "the rows themselves (`bootstrap`, `smote`), leaves of a few of them (`trees`)"
FOREIGN = "whatever another package's model keeps of them (`sdv:`, `ctgan:`)"
INSIDE = "numbers of the gate"
CHOSEN = "which of several synthetic tables is chosen (`compare --choose`)"
GIVEN = "rows with gaps that a user fills or conditions on"
LOOKS = "that a column's values look personal"
LOOKED = "how many of a column's texts have the form of personal data (`--look`)"
CHECKPOINT = "the checkpoint of a fit"

SITES: dict[str, dict[str, str]] = {
    "conversion.py": {"convert: raw": RULES}
    | dict.fromkeys(("salvaged: raw", "_read_in_part: raw", "_with: raw", "_respelled: raw"), INSIDE),
    "drafting/candidates.py": {"Candidate.take: raw": DRAFTED},
    "drafting/draft.py": {"_reading: raw": DRAFTED, "_Telling.take: raw": DRAFTED},
    "drafting/orders.py": {"orders_of: raw": DRAFTED},
    "drafting/facts.py": {"Facts.take: private": DRAFTED},
    "encoding/partial.py": {"partial_rows: read_raw": GIVEN, "partial_rows: raw": GIVEN},
    "synthesizers/scoring.py": {"scored: read_raw": GIVEN, "scored: raw": GIVEN},
    "pii.py": {"personal_columns: private": LOOKS},
    "fitting.py": {"warn_of_personal: table.private": LOOKS, "open_checkpoint: intake.table.private": CHECKPOINT},
    "table.py": {
        "Table.units: self.private": SAMPLED,
        "Table.blocks: self.private": COUNTS,
        "Table.take: self.private": SAMPLED,
        "read: raw": RULES,
        "read: private": RULES,
        "read_foreign: raw": INSIDE,
        "read_foreign: private": INSIDE,
        "_canonical: raw": RULES,
        "_canonical: private": RULES,
        "_Rules.check: private": RULES,
        "_Rules._seen: private": RULES,
        "split: table.units": SAMPLED,
        "split: table.private": SAMPLED,
        "split: table.take": SAMPLED,
    },
    "gate.py": {"Gate.require_room: table.private": SIZE},
    "walk.py": {
        "release_table: train.private": INSIDE,
        "release_table: held.private": INSIDE,
        "audit_tables: read(train, known, delimiter=delimiter, check_domain=schema is not None).private": INSIDE,
        "audit_tables: read(holdout, known, delimiter=delimiter, check_domain=False).private": INSIDE,
        "audit_tables: foreign.private": INSIDE,
    },
    "synthesizers/bootstrap.py": {"Bootstrap.fit: kept.private": COPIES},
    "synthesizers/calibration.py": {"measured: private": PAIRS},
    "synthesizers/simulator.py": {"Simulator._goal: table.private": PAIRS},
    "synthesizers/smote.py": {"Smote.fit: kept.private": COPIES},
    "synthesizers/trees.py": {"Trees.fit: kept.private": COPIES},
    "synthesizers/bridges.py": {"Bridged.fit: kept.private": FOREIGN, "_foreign_frame: private": FOREIGN},
    "synthesizers/independent.py": {"Independent.fit: table.private": COUNTS},
    "synthesizers/hybrid.py": {"Hybrid.fit: table.private": GRADIENTS},
    "synthesizers/copula.py": {
        "Copula.fit: table.private": PAIRS,
        "_Study.axes: private": COUNTS,
        "_Study._ordered: private": PAIRS,
        "_Study.correlations: private": PAIRS,
    },
    "synthesizers/ctgan.py": {
        "CTGAN.fit: table.private": PAIRS,
        "_Training.run: private": GRADIENTS,
        "_Training.critic_step: private": GRADIENTS,
        "_Training.real_inputs: private": GRADIENTS,
    },
    "synthesizers/matching.py": {
        "measure_targets: private": PAIRS,
    },
    "synthesizers/measuring.py": {
        "Measuring.measure: self.private": PAIRS,
        "Measuring.spanning_tree.score: self.private": CHOICE,
    },
    "synthesizers/marginals.py": {
        "Marginals.fit: table.private": PAIRS,
        "Marginals.learn: private": PAIRS,
        "Marginals._told: private": PAIRS,
    },
    "synthesizers/marginals_study.py": {"Study._scores: self.private": CHOICE, "Study._count: self.private": PAIRS},
    "synthesizers/rows.py": {"Rows.fit: table.private": GRADIENTS},
    "synthesizers/row_gradients.py": {"clipped_sums.sums_of: private": GRADIENTS},
    "synthesizers/steps.py": {"charge_steps: table.private": SAMPLED, "charge_steps: table.units": SAMPLED},
    "synthesizers/starting.py": {"measured_start: private": PAIRS},
    "synthesizers/text_rows.py": {
        "Text.fit: table.private": GRADIENTS,
        "_Training.__init__: private": GRADIENTS,
        "_Training.__init__: self.private": GRADIENTS,
        "_Training.charge: self.private": SAMPLED,
        "_Training.run: private": GRADIENTS,
        "_Training.run: self.private": GRADIENTS,
        "_Training.sums_of: private": GRADIENTS,
    },
    "synthesizers/vae.py": {
        "VAE.fit: table.private": PAIRS,
        "_Training.run: private": GRADIENTS,
        "_Training.sums_of: private": GRADIENTS,
    },
}
KEPT_INSIDE: dict[str, str] = {  # whole files, none of whose numbers is in a release
    "metrics/attribute.py": INSIDE,
    "metrics/closest.py": INSIDE,
    "metrics/costs.py": INSIDE,
    "metrics/evidence.py": INSIDE,
    "metrics/fidelity.py": INSIDE,
    "metrics/membership.py": INSIDE,
    "metrics/sides.py": INSIDE,
    "metrics/coverage.py": INSIDE,
    "metrics/distances.py": INSIDE,
    "metrics/fairness.py": INSIDE,
    "metrics/importance.py": INSIDE,
    "metrics/mixing.py": INSIDE,
    "metrics/prediction.py": INSIDE,
    "metrics/queries.py": INSIDE,
    "metrics/replay.py": INSIDE,
    "metrics/shadows.py": INSIDE,
    "metrics/texts.py": INSIDE,
    "policy/clock.py": INSIDE,
    "metrics/support.py": INSIDE,
    "metrics/validity.py": INSIDE,
    "metrics/utility.py": INSIDE,
    "metrics/wp29.py": INSIDE,
    "charging/attacks.py": "numbers of a charged gate",
    "charging/distances.py": "numbers of a charged gate",
    "report/contents.py": INSIDE,
    "comparing.py": INSIDE,
    "charging/selection.py": CHOSEN,
    "audit/attacks.py": "audits and leak scans",
    "audit/canaries.py": "audits and leak scans",
    "audit/one_run.py": "audits and leak scans",
    "policy/shadows.py": "audits and leak scans",
    "audit/synthesizers.py": "audits and leak scans",
    "scan.py": "audits and leak scans",
    "selftest.py": "audits and leak scans",
    "testing/conformance.py": "audits and leak scans",
    "testing/replay.py": "audits and leak scans",
}
CHARGES: dict[str, str] = {  # what a charge is for -> the fact that it pays for
    r"row count|number of privacy units": SIZE,
    r"categories of '.*'": "categories of a column",
    r"bounds of '.*'": "bounds of a number or a date",
    r"decimals of '.*'": "decimals of a number",
    r"(grid|split|anchors) of '.*'": "bins of a number or a date",
    r"rhythm of '.*'": "hours and weekdays of a date (`cycle`)",
    r"personal values of '.*'": LOOKED,
    r"every column's marginal": COUNTS,
    r"marginals? of .*": PAIRS,
    r"edge \d+ of the tree|which columns to measure together": CHOICE,
    r"critic|row transformer|language model|variational autoencoder": GRADIENTS,
    r"gate: .*": "numbers of a charged gate",
    r"choice among \d+ synthetic tables": CHOSEN,
}


def facts() -> list[str]:
    """List the first column of the table of facts."""
    table = PAGE.read_text("utf-8").split("| fact |")[1].split("\n\n")[0]
    return re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)


def touches(tree: ast.AST, where: tuple[str, ...] = ()) -> Iterator[str]:
    """List `function: expression` for everything in a file that reads raw rows."""
    for node in ast.iter_child_nodes(tree):
        inner = (*where, node.name) if isinstance(node, ast.FunctionDef | ast.ClassDef) else where
        if _reads_rows(node):
            yield f"{'.'.join(where)}: {ast.unparse(node)}"
        yield from touches(node, inner)


def _reads_rows(node: ast.AST) -> bool:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return node.id in {"private", "raw", "read_raw", "from_raw"}
    if not isinstance(node, ast.Attribute):
        return False
    owner = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
    if node.attr == "private":
        return owner.lstrip("_") not in PUBLIC_OWNERS
    return owner in ROWS_OF and node.attr in PARTS | ({"units", "take"} if owner == "table" else set())


def undeclared(root: Path) -> list[str]:
    """List every touch of raw rows below `root`, outside `privacy/`, that is not in the tables above."""
    found = []
    for path in sorted(root.rglob("*.py")):
        where = path.relative_to(root).as_posix()
        if not where.startswith("privacy/") and where not in KEPT_INSIDE:
            lines = dict.fromkeys(touches(ast.parse(path.read_text("utf-8"))))
            found += [f"{where}, {line}" for line in lines if line not in SITES.get(where, {}) and not _public(line)]
    return found


def _public(line: str) -> bool:
    """Whether the word stands for a truth value, where a budget is asked for, or for rows that a function simulated."""
    if line == "Simulation._checked: read(frame, _modelled(self.declared)).private":
        return True
    return line in {"CTGAN._dpsgd: private", "_gate_statement: private"}


def test_every_touch_of_raw_rows_is_listed():
    assert undeclared(ROOT) == []


def test_nothing_is_listed_that_is_gone():
    for name, sites in SITES.items():
        if (ROOT / name).exists():
            found = set(touches(ast.parse((ROOT / name).read_text("utf-8"))))
            assert sorted(set(sites) - found) == [], name
    for name in KEPT_INSIDE:
        assert list(touches(ast.parse((ROOT / name).read_text("utf-8")))), f"{name} reads no rows"


@pytest.mark.parametrize(
    ("file", "text", "listed"),
    [
        ("synthesizers/new.py", "def fit(self, table):\n    return table.private.mean()", "fit: table.private"),
        (
            "synthesizers/ctgan.py",
            "class CTGAN:\n def scale(self, private):\n  return private.max()",
            "CTGAN.scale: pri",
        ),
        ("release/card.py", "def card(evidence):\n    return len(evidence.train)", "card: evidence.train"),
        ("console.py", "rows = read_raw('t.csv')", ": read_raw"),
        ("fitting.py", "def split(table):\n    return table.units()", "split: table.units"),
        ("walk.py", "def go(t):\n    def inner():\n        return t._private.private", "go.inner: t._private.private"),
    ],
)
def test_a_new_touch_is_seen(tmp_path, file, text, listed):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    (found,) = undeclared(tmp_path)
    assert found.startswith(f"{file}, {listed}")


def test_asking_whether_something_is_private_is_no_touch(tmp_path):
    (tmp_path / "gate.py").write_text("def f(ledger, budget):\n    return ledger.private or budget.private", "utf-8")
    assert undeclared(tmp_path) == []


def test_the_page_lists_every_fact():
    named = {fact for sites in SITES.values() for fact in sites.values()} | set(KEPT_INSIDE.values())
    assert named | set(CHARGES.values()) <= set(facts())


FITS = {
    "copula": Copula(bins=8),
    "independent": Independent(bins=8),
    "ctgan": CTGAN(critic_steps=4, warm_steps=1, batch=32, generator_width=8, generator_batch=16, critic_widths=(8,)),
    "marginals": Marginals(bins=8),
    "vae": VAE(steps=4, warm_steps=2, dream_steps=2, width=8, latent=4, match_rows=16),
}


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("table", ["groups of up to 3", "undeclared domains"])
def test_every_charge_of_a_fit_pays_for_a_fact_of_the_page(name, table):
    ledger = Ledger(Budget(2.0, 1e-5))
    model.fit(FITS[name], awkward_table(table), ledger, Secret())
    require_known(ledger)


def test_every_charge_of_a_gate_pays_for_a_fact_of_the_page():
    ledger = Ledger(Budget(2.0, 1e-5))
    ChargedGate(charged_policy(), awkward_table("every kind").schema, ledger, Secret())
    require_known(ledger)


def require_known(ledger):
    """Assert that each charge is listed."""
    assert ledger.charges
    strange = [c.why for c in ledger.charges if not any(re.fullmatch(pattern, c.why) for pattern in CHARGES)]
    assert strange == []
