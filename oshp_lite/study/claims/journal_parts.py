"""The claims of the EOP-Net paper (journal version) that numbers can decide: parts, costs, stability, sizes."""

from __future__ import annotations

from oshp_lite.study.claims.phrases import ATR, above, e, m
from oshp_lite.study.claims.quantities import Cost, Difference, Side, Similar
from oshp_lite.study.claims.rule import Claim
from oshp_lite.study.claims.special import LateTrend, SizeRank, Stability
from oshp_lite.study.experiments import METHODS

FULL, POP = e(), m("popnet")

ABLATIONS = (
    Claim(
        "agm-overfits-base",
        "journal",
        "Table 5, section 6.6.1",
        "The AGM alone overfits the base classes: acceptable on all classes together, almost nothing on novel ones.",
        (
            above(e("npm"), e("agm"), "novel"),
            above(e("agm"), e("npm"), "human"),
            above(e("agm"), FULL, "base-novel"),
        ),
        "AGM alone against NPM alone, and its gap between base and novel against the full network's.",
        families=ATR,
    ),
    Claim(
        "npm-low-on-both",
        "journal",
        "Table 5, section 6.6.1",
        "The NPM alone is low on novel and on all classes.",
        (
            above(e("dml-no-ws"), e("npm"), "novel"),
            above(e("dml-no-ws"), e("npm"), "human"),
            above(e("agm"), e("npm"), "human"),
        ),
        "NPM alone against both modules without weight shifting, and against the AGM alone on all classes.",
        families=ATR,
    ),
    Claim(
        "dml-without-shift-between",
        "journal",
        "Table 5, section 6.6.1",
        "Both modules without weight shifting lie between: better on novel classes than either alone, on all classes "
        "between the NPM and the AGM, and below the shifted form.",
        (
            above(e("dml-no-ws"), e("agm"), "novel"),
            above(e("dml-no-ws"), e("npm"), "novel"),
            above(e("dml-no-ws"), e("npm"), "human"),
            above(e("agm"), e("dml-no-ws"), "human"),
            above(e("dml"), e("dml-no-ws"), "novel"),
            above(e("dml"), e("dml-no-ws"), "human"),
        ),
        "DML with a constant weight of one half against each module alone and against weight shifting.",
        families=ATR,
    ),
    Claim(
        "shifting-adds",
        "journal",
        "Table 5, section 6.6.1",
        "Weight shifting adds novel and human mIoU.",
        tuple(above(e("dml"), e("dml-no-ws"), measure) for measure in ("novel", "human")),
        "DML with weight shifting minus DML without.",
        families=ATR,
    ),
    Claim(
        "coarse-adds",
        "journal",
        "Table 5, section 6.6.2",
        "Parsing coarse and fine classes together adds novel and human mIoU.",
        tuple(above(e("dml-coarse"), e("dml"), measure) for measure in ("novel", "human")),
        "DML with both spaces minus DML in the fine space alone (which has no person mask to screen with).",
        families=ATR,
    ),
    Claim(
        "contrast-adds",
        "journal",
        "Table 5, section 6.6.3",
        "The prototype-level contrastive loss adds novel and human mIoU.",
        tuple(above(FULL, e("dml-coarse"), measure) for measure in ("novel", "human")),
        "The full network minus the one without contrastive loss.",
        families=ATR,
    ),
    Claim(
        "contrast-separates-base",
        "journal",
        "section 6.6.3",
        "The contrastive loss separates the base classes better.",
        (above(FULL, e("dml-coarse"), "base"),),
        "Base mIoU of the full network minus that without contrastive loss.",
        families=ATR,
    ),
    Claim(
        "base-near-supervised",
        "journal",
        "section 6.6.3",
        "On base classes EOP-Net comes close to full supervision.",
        (
            Difference(
                "base mIoU: EOP-Net less than 10 points below the same encoder trained with all labels",
                (Side("eopnet", measure="base"), Side("eopnet", "ceiling", measure="base", weight=-1)),
                above=-10.0,
            ),
        ),
        "EOP-Net minus a supervised segmenter on the same test photos; close is taken as within 10 points.",
        families=ATR,
    ),
    Claim(
        "end-to-end-beats-progressive",
        "journal",
        "section 6.6.2",
        "The end-to-end network beats the progressive one before the contrastive loss is added.",
        tuple(above(e("dml-coarse"), POP, measure) for measure in ("novel", "human")),
        "EOP-Net without contrastive loss minus POPNet in its two-stage form.",
        families=ATR,
    ),
    Claim(
        "momentum-high-beats-low",
        "journal",
        "Table 6, section 6.6.4",
        "A momentum near 0.999 is better than 0.8.",
        tuple(above(FULL, e("momentum-0.8"), measure) for measure in ("novel", "human")),
        "Momentum 0.999 minus momentum 0.8.",
        families=ATR,
    ),
    Claim(
        "momentum-best",
        "journal",
        "Table 6, section 6.6.4",
        "Momentum 0.999 gives the best novel and human mIoU of the five values.",
        tuple(
            above(FULL, e(f"momentum-{value}"), measure)
            for measure in ("novel", "human")
            for value in ("0.8", "0.9", "0.99", "0.9999")
        ),
        "Momentum 0.999 minus each other value.",
        families=ATR,
    ),
    Claim(
        "momentum-helps-novel",
        "journal",
        "Fig. 8, section 6.6.4",
        "Momentum prototypes end with a better accuracy on novel classes.",
        (above(FULL, e("static"), "novel_accuracy"),),
        "Mean novel accuracy with momentum prototypes minus with static ones, at the end of training.",
        families=ATR,
    ),
    Claim(
        "momentum-late-trend",
        "journal",
        "Fig. 8, section 6.6.4",
        "Late in training the novel accuracy rises with momentum prototypes and does not without.",
        (
            LateTrend(
                "slope of the novel score in the second half of training: with momentum above without",
                FULL,
                e("static"),
            ),
        ),
        "Difference of two fitted lines; its interval tells how unsteady the curves are, not how much seeds differ.",
        families=ATR,
    ),
    Claim(
        "momentum-base-alike",
        "journal",
        "Fig. 8, section 6.6.4",
        "With and without momentum prototypes the accuracy on base classes ends alike.",
        (
            Similar(
                "mean base accuracy with and without momentum prototypes less than 2 points apart",
                (Side("eopnet", measure="base_accuracy"), Side("eopnet", "static", measure="base_accuracy", weight=-1)),
                2.0,
            ),
        ),
        "Two points minus the size of the difference; alike is taken as within 2 points.",
        families=ATR,
    ),
    Claim(
        "shallow-transfers",
        "journal",
        "Table 7, section 6.6.5",
        "A shallower encoder transfers better to novel classes.",
        (above(FULL, e("depth-3"), "novel"), above(FULL, e("depth-4"), "novel")),
        "The shallowest encoder minus the two deeper ones.",
        families=ATR,
    ),
)

COSTS = (
    Claim(
        "half-parameters",
        "journal",
        "Table 8, section 6.7",
        "EOP-Net needs half of POPNet's parameters.",
        (
            Cost(
                "parameters: EOP-Net at most 0.55 of POPNet's", "params_m", FULL, POP, lambda one, two: 0.55 - one / two
            ),
        ),
        "0.55 minus the ratio of the counted parameters; a count has no interval.",
        families=ATR,
    ),
    Claim(
        "half-macs",
        "journal",
        "Table 8, section 6.7",
        "EOP-Net needs half of POPNet's computation.",
        (Cost("MACs: EOP-Net at most 0.55 of POPNet's", "macs_g", FULL, POP, lambda one, two: 0.55 - one / two),),
        "0.55 minus the ratio of the counted MACs.",
        families=ATR,
    ),
    Claim(
        "faster-than-popnet",
        "journal",
        "Table 8, section 6.7",
        "EOP-Net is faster than POPNet.",
        (Cost("frames per second: EOP-Net above POPNet", "fps", FULL, POP, lambda one, two: one / two - 1, 0.05),),
        "Ratio of the frames per second, minus one; each clock reading is taken as good to 5 %.",
        families=ATR,
    ),
    Claim(
        "small-but-slow",
        "journal",
        "Table 8, section 6.7",
        "PANet and PPNet have fewer parameters than EOP-Net, yet need more computation and time.",
        tuple(
            part
            for other in ("panet", "ppnet")
            for part in (
                Cost(
                    f"parameters: {METHODS[other].label} below EOP-Net",
                    "params_m",
                    m(other),
                    FULL,
                    lambda a, b: 1 - a / b,
                ),
                Cost(f"MACs: {METHODS[other].label} above EOP-Net", "macs_g", m(other), FULL, lambda a, b: a / b - 1),
                Cost(
                    f"frames per second: {METHODS[other].label} below EOP-Net",
                    "fps",
                    m(other),
                    FULL,
                    lambda a, b: 1 - a / b,
                    0.05,
                ),
            )
        ),
        "Ratios of costs. The papers feed PANet and PPNet one support photo per class; ours share one.",
        families=ATR,
    ),
)

OTHERS = (
    Claim(
        "stable-over-supports",
        "journal",
        "section 6.5.3, Fig. 7",
        "Answers on a novel class stay stable when the support photo changes.",
        (Stability("IoU of a novel class varies less over supports than over queries", FULL),),
        "Deviation of EOP-Net's IoU over queries minus that over the supports of one query, k-way.",
    ),
    Claim(
        "momentum-stabilises",
        "journal",
        "section 6.5.3",
        "Momentum prototypes are what makes answers stable over supports.",
        (
            Stability(
                "IoU of a novel class varies less over supports with momentum prototypes than without",
                FULL,
                e("static"),
            ),
        ),
        "Deviation over supports with static prototypes minus that with momentum prototypes.",
        families=ATR,
    ),
    Claim(
        "small-parts-hard",
        "journal",
        "section 1",
        "Small parts are a main difficulty of the task.",
        (SizeRank("IoU rises with the true area of the part", FULL),),
        "Rank correlation of true area and IoU over all pairs and classes of EOP-Net, k-way.",
    ),
)

PARTS = (*ABLATIONS, *COSTS, *OTHERS)
