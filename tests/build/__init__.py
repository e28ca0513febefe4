"""Building with the real mkosi: what an image holds, the same bytes again, and every way in which a build can end."""
