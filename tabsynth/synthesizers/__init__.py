"""One file per family of synthesizers."""
