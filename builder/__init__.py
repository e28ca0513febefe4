"""Lichen: reproducible AI Linux images from a short YAML profile.

Layers, imports only go down: ``cli`` > ``verbs`` > ``steps`` > ``data`` > ``foundation``.
``tests/layers`` walks the imports and fails otherwise.
"""

__version__ = "0.1.0"
