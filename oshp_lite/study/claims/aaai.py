"""The claims of the POPNet paper (AAAI 2021) that numbers can decide, by its own folds and in its three-stage form."""

from __future__ import annotations

from typing import Literal

from oshp_lite.study.claims.phrases import ATR, above, leads, ways
from oshp_lite.study.claims.quantities import Difference, Side
from oshp_lite.study.claims.rule import Claim
from oshp_lite.study.claims.special import NovelConfusion

THREE = "three-stage"
KWAY = ("amp", "sgone", "panet")
ONEWAY = ("finetune", *KWAY)


def p(ablation: str = THREE, way: Literal["k", "1"] = "k") -> Side:
    """Name a form of POPNet under the AAAI protocol."""
    return Side("popnet", ablation, way, protocol="aaai")


def b(method: str, way: Literal["k", "1"] = "k") -> Side:
    """Name a baseline under the AAAI protocol."""
    return Side(method, way=way, protocol="aaai")


AAAI = (
    *(
        Claim(
            f"aaai-lead-{measure}-k",
            "aaai",
            "Table 1",
            f"In k-way POPNet has a higher {words} than every baseline.",
            leads(p(), KWAY, measure),
            "POPNet minus AMP, SG-One and PANet, folds of the AAAI paper.",
            families=ATR,
        )
        for measure, words in (("novel", "novel mIoU"), ("human", "human mIoU"), ("accuracy", "overall accuracy"))
    ),
    *(
        Claim(
            f"aaai-lead-{measure.split('_')[0]}-1",
            "aaai",
            "Table 2",
            f"In 1-way POPNet has a higher {words} than every baseline.",
            leads(p(way="1"), ONEWAY, measure),
            "POPNet minus fine-tuning, AMP, SG-One and PANet, 1-way, folds of the AAAI paper.",
            families=ATR,
        )
        for measure, words in (("novel", "novel mIoU"), ("human", "human mIoU"), ("bi_miou", "Bi-IoU"))
    ),
    Claim(
        "aaai-novel-1way-above-k",
        "aaai",
        "Tables 1 and 2, results",
        "POPNet's novel mIoU is higher in 1-way than in k-way.",
        (ways("popnet", "novel", protocol="aaai", ablation=THREE),),
        "1-way minus k-way, drawn apart.",
        families=ATR,
    ),
    Claim(
        "aaai-human-1way-below-k",
        "aaai",
        "Tables 1 and 2, results",
        "POPNet's human mIoU is lower in 1-way than in k-way (the journal's networks have it the other way round).",
        (ways("popnet", "human", higher="k", protocol="aaai", ablation=THREE),),
        "k-way minus 1-way, drawn apart.",
        families=ATR,
    ),
    Claim(
        "aaai-attention-fits-base",
        "aaai",
        "section on dual-metric learning",
        "Learning from attended features fits the base classes better, predicting from distances transfers better.",
        (above(p("agm"), p("ncm"), "base"), above(p("ncm"), p("agm"), "novel")),
        "AGM alone against NCM alone: base mIoU one way, novel mIoU the other.",
        families=ATR,
    ),
    Claim(
        "aaai-both-beat-either",
        "aaai",
        "Table 3, ablation study",
        "Both modules together are better than either alone, on novel and on all classes.",
        tuple(above(p("dml"), p(alone), measure) for measure in ("novel", "human") for alone in ("agm", "ncm")),
        "DML without weight shifting minus each module alone.",
        families=ATR,
    ),
    Claim(
        "aaai-shifting-adds-novel",
        "aaai",
        "Table 3, ablation study",
        "Weight shifting adds novel mIoU.",
        (above(p("dml-ws"), p("dml"), "novel"),),
        "DML with weight shifting minus without.",
        families=ATR,
    ),
    Claim(
        "aaai-infusion-adds",
        "aaai",
        "Table 3, ablation study",
        "Progressive parsing with knowledge infusion adds human and novel mIoU.",
        tuple(above(p("kim"), p("dml-ws"), measure) for measure in ("novel", "human")),
        "Three stages with infusion minus the single stage.",
        families=ATR,
    ),
    Claim(
        "aaai-dynamic-adds",
        "aaai",
        "Table 3, ablation study",
        "Dynamic prototypes add human and novel mIoU.",
        tuple(above(p(), p("kim"), measure) for measure in ("novel", "human")),
        "The full network minus the one with static prototypes.",
        families=ATR,
    ),
    Claim(
        "aaai-sgone-base-not-novel",
        "aaai",
        "Fig. 4, visual inspection",
        "SG-One fits base classes and cannot find novel ones; POPNet can.",
        (
            above(b("sgone"), b("amp"), "base"),
            above(b("sgone"), b("panet"), "base"),
            above(p(), b("sgone"), "novel"),
            above(b("sgone"), p(), "base-novel"),
        ),
        "SG-One's base mIoU above the other baselines', its novel mIoU below POPNet's, its gap wider.",
        families=ATR,
    ),
    Claim(
        "aaai-novel-below-base",
        "aaai",
        "limitation",
        "A gap between novel and base classes remains.",
        (
            Difference(
                "POPNet: base mIoU above novel mIoU",
                (Side("popnet", THREE, measure="base-novel", protocol="aaai"),),
            ),
        ),
        "Base minus novel mIoU of POPNet, k-way.",
        families=ATR,
    ),
    Claim(
        "aaai-novel-confused",
        "aaai",
        "limitation",
        "That gap comes mainly from confusing novel classes with one another.",
        (NovelConfusion("wrongly named novel pixels go to novel classes more than to base classes", p()),),
        "Shares of POPNet's confusions of novel pixels; folds and seeds are what varies.",
        families=ATR,
    ),
    Claim(
        "aaai-base-near-supervised",
        "aaai",
        "ablation study",
        "On base classes POPNet comes close to full supervision.",
        (
            Difference(
                "base mIoU: POPNet less than 10 points below the same encoder trained with all labels",
                (
                    Side("popnet", THREE, measure="base", protocol="aaai"),
                    Side("popnet", "ceiling", measure="base", weight=-1, protocol="aaai"),
                ),
                above=-10.0,
            ),
        ),
        "POPNet minus a supervised segmenter on the same test photos; close is taken as within 10 points.",
        families=ATR,
    ),
)
