"""Graphical models of tokens: estimated from noisy marginals, turned into conditional tables, sampled exactly."""
