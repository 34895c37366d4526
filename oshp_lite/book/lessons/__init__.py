"""Measurements of notebooks 03 to 05 and 13, kept as records: `python -m oshp_lite.book.lessons` makes them."""
