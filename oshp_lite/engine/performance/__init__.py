"""How far each path is from its floor: what `oshp-lite bench` measures, as ratios within one run.

plain    EOP-Net with one loop per loop of the released code: the reference, on the weights of a network of ours
clock    works timed in turn, multiply-accumulates counted, peak memory of a work in a process of its own
paths    what is compared: parsing, a stream of queries, training steps
scores   the shipped network's scores in float32 and bf16
page     the page of the project's targets and of all figures
"""
