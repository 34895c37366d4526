"""The book: exercises, widgets and the drawings that only notebooks use."""
