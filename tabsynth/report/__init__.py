"""Verdicts and ledger as HTML and JSON, for inside eyes only."""
