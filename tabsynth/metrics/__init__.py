"""Evidence, estimates with intervals, and the metrics that read them."""

from tabsynth.metrics.estimate import Estimate, NotApplicable, NotMeasured
from tabsynth.metrics.evidence import Evidence, Metric, Tier

__all__ = ["Estimate", "Evidence", "Metric", "NotApplicable", "NotMeasured", "Tier"]
