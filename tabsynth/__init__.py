"""Private tables into synthetic ones: every fact paid for, audited, and stopped at a gate when not good enough."""
