"""Evidence, estimates with intervals, and the metrics that read them."""
