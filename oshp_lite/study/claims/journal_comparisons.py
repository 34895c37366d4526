"""The claims of the EOP-Net paper (journal version) that numbers can decide: comparisons with the other methods."""

from __future__ import annotations

from oshp_lite.study.claims.phrases import WORDS, above, e, gap, leads, m, screened, ways
from oshp_lite.study.claims.quantities import Difference, Side
from oshp_lite.study.claims.rule import Claim
from oshp_lite.study.experiments import METHODS

KWAY = tuple(name for name, method in METHODS.items() if method.kway_in_papers and name != "eopnet")
# PerSAM has a claim of its own: without its weights the others can still be decided
ONEWAY = tuple(name for name, method in METHODS.items() if not method.ours and name not in ("eopnet", "persam"))
OWN_KWAY = tuple(name for name, method in METHODS.items() if not method.kway_in_papers)
FULL, POP = e(), m("popnet")
_FOLDS = "All folds and seeds that both rows have; contenders as they answer, without EOP-Net's person mask"

COMPARISON = (
    *(
        Claim(
            f"lead-{measure.split('_')[0]}-k",
            "journal",
            "Tables 2-4, section 6.4",
            f"In k-way EOP-Net has the highest {WORDS[measure]} of the methods compared, on every dataset.",
            leads(FULL, KWAY, measure),
            f"EOP-Net minus every k-way method of the paper. {_FOLDS}.",
            also=(*leads(FULL, OWN_KWAY, measure), *screened(FULL, (*KWAY, *OWN_KWAY), measure)),
        )
        for measure in ("novel", "human", "accuracy")
    ),
    Claim(
        "popnet-second-k",
        "journal",
        "Tables 2-4, section 6.4",
        "In k-way POPNet comes next after EOP-Net, in novel and in human mIoU.",
        leads(POP, [name for name in KWAY if name != "popnet"], "novel", "human"),
        "POPNet minus PANet, SG-One and AMP, both measures.",
    ),
    Claim(
        "sgone-base-not-novel",
        "journal",
        "Tables 2-4; POPNet paper, Fig. 4",
        "SG-One keeps the base classes and loses the novel ones.",
        (
            above(m("sgone"), m("amp"), "base"),
            above(m("sgone"), m("panet"), "base"),
            above(m("amp"), m("sgone"), "novel"),
            above(m("sgone"), FULL, "base-novel"),
        ),
        "Base mIoU above the other two baselines, novel mIoU below AMP's, and a wider gap between base and novel than "
        "EOP-Net has.",
    ),
    Claim(
        "amp-best-novel-baseline",
        "journal",
        "Tables 2-4, section 6.5.2",
        "AMP has the best novel mIoU of the k-way baselines.",
        leads(m("amp"), ("sgone", "panet"), "novel"),
        "AMP minus SG-One and PANet.",
    ),
    Claim(
        "amp-low-human",
        "journal",
        "Tables 2-4",
        "AMP's human mIoU is low: below SG-One, POPNet and EOP-Net.",
        tuple(above(other, m("amp"), "human") for other in (m("sgone"), POP, FULL)),
        "SG-One, POPNet and EOP-Net minus AMP, k-way.",
    ),
    *(
        Claim(
            f"lead-{measure}-1",
            "journal",
            "Tables 2 and 3",
            f"In 1-way EOP-Net has the highest {WORDS[measure]} on ATR-OS and LIP-OS.",
            leads(e(way="1"), ONEWAY, measure),
            f"EOP-Net minus every other method of the paper, 1-way; PerSAM is a claim of its own. {_FOLDS}.",
            families=("atr", "lip", "ccp"),
            also=(*leads(e(way="1"), ("persam", "label_transfer"), measure), *screened(e(way="1"), ONEWAY, measure)),
        )
        for measure in ("novel", "human")
    ),
    Claim(
        "lead-bi-1",
        "journal",
        "Tables 2-4",
        "In 1-way EOP-Net has the highest Bi-mIoU on every dataset.",
        leads(e(way="1"), ONEWAY, "bi_miou"),
        f"EOP-Net minus every other method of the paper, 1-way; PerSAM is a claim of its own. {_FOLDS}.",
        also=leads(e(way="1"), ("persam", "label_transfer"), "bi_miou"),
    ),
    Claim(
        "cihp-1way-exception",
        "journal",
        "Table 4, section 6.4",
        "CIHP-OS in 1-way is the exception: there POPNet is better than EOP-Net in novel and human mIoU.",
        leads(m("popnet", "1"), ("eopnet",), "novel", "human"),
        "POPNet minus EOP-Net, 1-way.",
        families=("cihp",),
    ),
    Claim(
        "persam-behind",
        "journal",
        "Tables 2-4, section 6.4",
        "PerSAM stays far behind EOP-Net in 1-way.",
        tuple(
            Difference(f"{WORDS[measure]}: EOP-Net more than 10 points above PerSAM (1-way)", one.sides, above=10.0)
            for measure in ("novel", "human")
            for one in leads(e(way="1"), ("persam",), measure)
        ),
        "EOP-Net minus PerSAM; far is taken as more than 10 points (the paper's smallest distance is 21.8).",
    ),
    Claim(
        "persam-whole-person",
        "journal",
        "section 6.4, Fig. 5",
        "PerSAM covers the whole person instead of the part asked for.",
        (
            Difference(
                "novel parts: recall of PerSAM above its precision (1-way)",
                (
                    Side("persam", way="1", measure="novel_accuracy"),
                    Side("persam", way="1", measure="novel_precision", weight=-1),
                ),
            ),
        ),
        "Recall minus precision of PerSAM on the novel classes.",
    ),
    Claim(
        "novel-1way-above-k",
        "journal",
        "Tables 2-4, section 6.4",
        "Novel mIoU is higher in 1-way than in k-way, since no base class competes.",
        (ways("eopnet", "novel"), ways("popnet", "novel")),
        "1-way minus k-way of EOP-Net and POPNet; the two settings are drawn apart.",
    ),
    Claim(
        "human-1way-above-k",
        "journal",
        "Tables 2-4, section 6.4",
        "Human mIoU too is higher in 1-way than in k-way.",
        (ways("eopnet", "human"), ways("popnet", "human")),
        "1-way minus k-way of EOP-Net and POPNet.",
    ),
    Claim(
        "gap-larger-novel",
        "journal",
        "section 6.4",
        "The step from k-way to 1-way helps novel classes more than the mean over all classes.",
        (gap("eopnet"),),
        "Difference of the two differences for EOP-Net. POPNet stands beside it, since the paper's own figures for it "
        "say the contrary on two of three datasets.",
        also=(gap("popnet"),),
    ),
)
