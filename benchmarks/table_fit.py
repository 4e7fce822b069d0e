"""One fit of one synthesizer, in a process of its own: rows to a file, what it took as one JSON line.

    PYTHON benchmarks/table_fit.py NAME TRAIN ROWS.csv --target NAME [--epsilon 1] [--delta 1e-5] [--seed 0]

NAME is a family of ours or one of the peers below; a peer needs its package in this PYTHON's environment, and not ours.
`benchmarks/table.py` starts this file. All run with their defaults but for what stands after a colon: settings of ours
(`rows:epochs=6,order=schema`), epochs of a peer (`ctgan-package:100`). Peers are told the domains (categories, bounds)
where they take them, as ours are by the schema.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

WARM = 1000  # rows drawn before sampling is timed, so that no compilation is
Draw = Callable[[int], Any]  # a number of rows -> a frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("train", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--epsilon", type=float)
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    name, _, more = options.name.partition(":")
    found = of_peer(name, options, int(more or 0)) if name in PEERS else of_ours(name, options, more)
    print(json.dumps(found))


def of_ours(name: str, options: argparse.Namespace, settings: str) -> dict[str, Any]:
    """Fit a family to a table whose domains and row count are declared, bins not."""
    import numpy as np
    import torch

    from tabsynth.cli_options import settings_of
    from tabsynth.drafting import draft
    from tabsynth.fitting import make_budget, make_secret, make_synthesizer
    from tabsynth.privacy.ledger import Ledger
    from tabsynth.table import read, write_rows

    torch.set_num_threads(1)
    table = read(options.train, draft(options.train).schema.with_target(options.target))
    budget = make_budget(options.epsilon, options.delta)
    ledger, own = Ledger(budget), settings_of(settings.split(",") if settings else None)
    synthesizer = make_synthesizer(name, options.seed, **own)
    start = time.process_time()
    sampler = synthesizer.fit(table, ledger, make_secret(budget, options.seed))
    fitted = time.process_time() - start

    def draw(rows: int) -> Any:
        return sampler.sample(rows, np.random.default_rng(options.seed))

    rows, speed = sampled(draw, len(table.private))
    write_rows(rows, sampler.schema, options.rows)
    spent = ledger.spent.epsilon if budget is not None else None
    return {"fit": fitted, "sampling": speed, "spent": spent, "version": version("tabsynth")}


def of_peer(name: str, options: argparse.Namespace, epochs: int) -> dict[str, Any]:
    """Fit a peer to the table as pandas reads it."""
    import pandas as pd

    train = pd.read_csv(options.train, skipinitialspace=True)
    fit, package, _ = PEERS[name]
    start = time.process_time()
    draw = fit(train, options, epochs)
    fitted = time.process_time() - start
    rows, speed = sampled(draw, len(train))
    rows[list(train)].to_csv(options.rows, index=False)
    return {"fit": fitted, "sampling": speed, "version": version(package)}


def sampled(draw: Draw, rows: int) -> tuple[Any, float]:
    """Return sampled rows and how many a processor's second gives."""
    draw(min(WARM, rows))
    start = time.process_time()
    drawn = draw(rows)
    return drawn, rows / max(time.process_time() - start, 1e-9)


def texts(train: Any) -> list[str]:
    """Name the columns that hold no numbers."""
    return [name for name in train if train[name].dtype.kind not in "iuf"]


def ctgan(model: str) -> Callable[..., Draw]:
    """Return the fit of a model of the `ctgan` package."""

    def fit(train: Any, options: argparse.Namespace, epochs: int) -> Draw:
        import ctgan
        import torch

        torch.set_num_threads(1)
        synthesizer = getattr(ctgan, model)(**({"epochs": epochs} if epochs else {}))
        synthesizer.set_random_state(options.seed)
        names = texts(train)
        synthesizer.fit(train.astype(dict.fromkeys(names, str)), names)
        return synthesizer.sample

    return fit


def sdv(model: str) -> Callable[..., Draw]:
    """Return the fit of a single-table synthesizer of SDV, its metadata as SDV detects them."""

    def fit(train: Any, options: argparse.Namespace, epochs: int) -> Draw:
        import numpy as np
        import sdv.single_table
        import torch
        from sdv.metadata import Metadata

        torch.set_num_threads(1)
        torch.manual_seed(options.seed)
        np.random.seed(options.seed)  # noqa: NPY002
        by_table = int(version("sdv").split(".")[0]) >= 2
        metadata = Metadata.detect_from_dataframes({"table": train})
        synthesizer = getattr(sdv.single_table, model)(metadata, **({"epochs": epochs} if epochs else {}))
        synthesizer.fit({"table": train} if by_table else train)

        def draw(rows: int) -> Any:
            drawn = synthesizer.sample(rows)
            return drawn["table"] if isinstance(drawn, dict) else drawn

        return draw

    return fit


def dpmm(pipeline: str, free_bins: bool = False) -> Callable[..., Draw]:
    """Return the fit of a pipeline of dpmm; domains are public, as ours are.

    It charges a tenth of epsilon more for bins of its own, or gets quantile bins and the numbers in them for nothing.
    """

    def fit(train: Any, options: argparse.Namespace, epochs: int) -> Draw:
        import dpmm.pipelines

        cut, back = quantile_bins(train) if free_bins else (train, lambda rows: rows)
        names = texts(cut)
        cut = cut.astype(dict.fromkeys(names, str)).astype(dict.fromkeys(names, "category"))
        domain = {
            name: {"categories": list(cut[name].cat.categories)}
            if name in names
            else {"lower": float(cut[name].min()), "upper": float(cut[name].max())}
            for name in cut
        }
        fitted = getattr(dpmm.pipelines, pipeline)(epsilon=options.epsilon, delta=options.delta, n_jobs=1)
        fitted.fit(cut, domain=domain, random_state=options.seed)
        return lambda rows: back(fitted.generate(n_records=rows, random_state=options.seed))

    return fit


def marginals_free_bins(train: Any, options: argparse.Namespace, epochs: int) -> Draw:
    """Fit our `marginals` to what a peer with free bins is given: not ours to have, but to compare the models."""
    import numpy as np

    from tabsynth.fitting import make_budget, make_secret, make_synthesizer
    from tabsynth.privacy.ledger import Ledger
    from tabsynth.schema import Column, Schema
    from tabsynth.table import read

    cut, back = quantile_bins(train)
    numbers = set(train.columns.difference(texts(train)))
    levels = {name: sorted(set(cut[name].astype(str)), key=int if name in numbers else None) for name in cut}
    columns = [Column(n, "categorical", categories=tuple(c), ordered=n in numbers) for n, c in levels.items()]
    table = read(cut.astype(str), Schema(tuple(columns), rows=len(cut)).with_target(options.target))
    budget = make_budget(options.epsilon, options.delta)
    synthesizer = make_synthesizer("marginals", options.seed)
    sampler = synthesizer.fit(table, Ledger(budget), make_secret(budget, options.seed))
    return lambda rows: back(sampler.sample(rows, np.random.default_rng(options.seed)).astype(str))


def quantile_bins(train: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Cut every number at up to 32 quantiles, and return what draws a training row's number from a bin again."""
    import numpy as np

    rng = np.random.default_rng(0)
    bins, numbers = {}, {}
    for name in train.columns.difference(texts(train)):
        edges = np.unique(np.quantile(train[name], np.linspace(0, 1, 33)[1:-1], method="lower"))
        bins[name] = np.searchsorted(edges, train[name]).astype(str).astype(object)
        numbers[name] = {bin_: rows.to_numpy() for bin_, rows in train[name].groupby(bins[name])}

    def back(rows: Any) -> Any:
        for name, of_bin in numbers.items():
            drawn = [rng.choice(of_bin[bin_]) for bin_ in rows[name]]
            rows = rows.assign(**{name: drawn})
        return rows

    return train.assign(**bins), back


def mostlyai(train: Any, options: argparse.Namespace, epochs: int) -> Draw:
    """Fit the autoregressive engine; under a budget a tenth of it protects values."""
    import torch
    from mostlyai.engine import TabularARGN
    from mostlyai.engine.domain import DifferentialPrivacyConfig

    torch.set_num_threads(1)
    epsilon, limits = options.epsilon, {"max_epochs": float(epochs)} if epochs else {}
    private = None
    if epsilon is not None:
        shares = {"max_epsilon": 0.9 * epsilon, "value_protection_epsilon": 0.1 * epsilon}
        private = DifferentialPrivacyConfig(delta=options.delta, **shares)
    engine = TabularARGN(differential_privacy=private, random_state=options.seed, **limits)
    engine.fit(train)
    return lambda rows: engine.sample(n_samples=rows)


# name -> how it is fitted, the package it is in, whether it is fitted under a budget (True), without (False) or both
PEERS: dict[str, tuple[Callable[..., Draw], str, bool | None]] = {
    "ctgan-package": (ctgan("CTGAN"), "ctgan", False),
    "ctgan-package-tvae": (ctgan("TVAE"), "ctgan", False),
    "sdv-copula": (sdv("GaussianCopulaSynthesizer"), "sdv", False),
    "sdv-ctgan": (sdv("CTGANSynthesizer"), "sdv", False),
    "sdv-tvae": (sdv("TVAESynthesizer"), "sdv", False),
    "dpmm-aim": (dpmm("AIMPipeline"), "dpmm", True),
    "dpmm-aim-free-bins": (dpmm("AIMPipeline", free_bins=True), "dpmm", True),
    "dpmm-mst": (dpmm("MSTPipeline"), "dpmm", True),
    "dpmm-mst-free-bins": (dpmm("MSTPipeline", free_bins=True), "dpmm", True),
    "marginals-free-bins": (marginals_free_bins, "tabsynth", True),
    "mostlyai": (mostlyai, "mostlyai-engine", None),
}


if __name__ == "__main__":
    main()
