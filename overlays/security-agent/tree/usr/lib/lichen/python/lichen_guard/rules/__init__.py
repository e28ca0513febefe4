"""The rule engine: Falco's rule language over the sensor's events.

``load_rules`` reads rule files and compiles them once. What the fields and events mean here is said in
:mod:`.kinds` and :mod:`.fields`. Unlike Falco, every rule that matches tells its alert, not only the first.
"""

from __future__ import annotations

from .names import Names
from .problems import Place, Problem, RulesError
from .ruleset import Rule, RuleSet, Unbounded, Unfilled, Unsupported, load_rules

__all__ = [
    "Names",
    "Place",
    "Problem",
    "Rule",
    "RuleSet",
    "RulesError",
    "Unbounded",
    "Unfilled",
    "Unsupported",
    "load_rules",
]
