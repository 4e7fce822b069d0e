"""A table as tokens and as float blocks, built from its completed schema alone."""
