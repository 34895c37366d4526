"""The checkers behind the notebooks' exercises: one module per notebook, `nb03` for notebook 03 and so on."""

from oshp_lite.book.exercises.frame import NOT_ATTEMPTED, Verdict

__all__ = ["NOT_ATTEMPTED", "Verdict"]
