"""A plain parser with one class for whatever has no name, whose pixels are matched with what a support marks."""
