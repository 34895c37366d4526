"""The rendered book: static HTML from executed notebooks with glossary, equations and reference, read offline."""
