"""Comparing two image folders, or packages: one step in several modules, from bytes to causes.

``blob`` is bytes without memory; ``disk``, ``ext4``, ``fat``, ``erofs``, ``cpio``, ``deb`` and ``portable`` read what
lies within; ``signatures`` takes signatures out; ``within`` compares, ``notes`` collects, ``evidence`` shows;
``causes`` is the table of known causes and ``marks`` how each is recognised; ``images`` puts them together.
"""

from builder.steps.compare.causes import CAUSES, Cause, explain
from builder.steps.compare.images import NOT_COMPARED, compare_images, compare_packages

__all__ = ["CAUSES", "NOT_COMPARED", "Cause", "compare_images", "compare_packages", "explain"]
