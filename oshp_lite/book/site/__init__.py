"""The rendered book: static HTML from executed notebooks, with glossary, equations, reference and search; no network."""
