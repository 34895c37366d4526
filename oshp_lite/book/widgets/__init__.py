"""Interactive figures, each in three layers: a state without widgets, its drawing, and a thin ipywidgets view.

Only the view functions need ipywidgets, and they import it when called. Callbacks draw with `matplotlib.figure.Figure`
into `ipywidgets.Image`; `Output`, `interact` and `interactive` are never used, since batch execution hangs on them.
"""
