"""Explorers, each in three layers: a state without widgets, its drawing, and a thin view; one explorer a module.

    episodes, lens, feature_space, replay, comparison, stability, run_browser     the explorers of notebook 11
    source, heads                 photos with a network, and what it compares there
    canvas, colours               figures quick enough to follow a slider; colours for colour-blind readers
    explorer, controls, browser   what a notebook holds: the widget, and a picture or page without a kernel
    js/                           the drawing in the browser, as a widget (anywidget) and in a page alike
    dual_metric, relations        the explorers of notebooks 04 and 13
    people                        the explorer of notebook 14
    latency                       how long an explorer takes to follow

Only views need ipywidgets and anywidget, and they import them when called. Callbacks draw with
`matplotlib.figure.Figure` into `ipywidgets.Image`; `Output`, `interact` and `interactive` are never used, since batch
execution hangs on them.
"""
