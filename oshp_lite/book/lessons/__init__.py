"""Measurements of notebooks 03 to 05: made from trained runs by `python -m oshp_lite.book.lessons`, kept as records."""
