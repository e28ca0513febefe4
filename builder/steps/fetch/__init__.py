"""Bring locked files into the store: in parallel, resumable, from the first mirror that has the right bytes.

Mirrors are not trusted: a file enters the store only with the size and SHA-256 of the lock. Whatever a mirror does
wrong (down, silent, cut off, other bytes) leads to the next one; only when none has a file is that an error.

``sources`` says where this machine finds files, ``places`` turns that into URLs for each file, ``transfer`` takes one
file from one place, ``downloads`` runs many of them beside one another, ``absence`` tells what could not be had.
"""

from builder.steps.fetch.absence import Absent, AbsentError
from builder.steps.fetch.downloads import fetch, missing_files
from builder.steps.fetch.sources import Sources, title

__all__ = ["Absent", "AbsentError", "Sources", "fetch", "missing_files", "title"]
