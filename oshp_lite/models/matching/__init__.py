"""A plain parser with one class for whatever has no name, and a head that matches it with a marked support."""
