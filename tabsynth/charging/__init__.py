"""A gate inside the budget: every number that it decides by is a noisy count, charged before the fit."""

from tabsynth.charging.charged_gate import SHARE, ChargedGate, charged_policy, check_form
from tabsynth.charging.form import Form, form_of

__all__ = ["SHARE", "ChargedGate", "Form", "charged_policy", "check_form", "form_of"]
