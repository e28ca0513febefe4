"""The HTML report of an image: what the image folder and the files beside it say, on one page without a server.

:func:`gather` reads, :func:`page` renders; the same inputs give the same bytes.
"""

from builder.steps.report.gather import Facts, gather
from builder.steps.report.page import page

__all__ = ["Facts", "gather", "page"]
