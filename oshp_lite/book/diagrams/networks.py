"""Drawn counterparts of the papers' architecture figures: both networks and their parts."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from oshp_lite.book.diagrams.board import (
    BANK,
    COARSE,
    COARSE_DEEP,
    FINE,
    FINE_DEEP,
    LINE,
    LOSS,
    MIDDLE,
    MIDDLE_DEEP,
    SHARED,
    Board,
)

_CLASS_COLOURS = ("#8856a7", "#f1b04c", "#d7301f", "#31a354", "#2b8cbe")


def eopnet_overview() -> Figure:
    """Draw EOP-Net: one encoder, two metric spaces trained side by side. Counterpart of the journal's Fig. 2."""
    board = Board(112, 64)
    board.area(34, 40.5, 77, 22.5, r"coarse space  $f_{cgs}$: person against scene", fill=COARSE, indent=5)
    board.area(34, 1, 77, 38, r"fine space  $f_{fgs}$: the classes of the support", fill=FINE, indent=5)
    board.person(1.5, 45, 13, "photo")
    board.person(10.5, 45, 13, "fine")
    board.text(5.5, 43.5, "support", size=8.5)
    board.text(14.5, 43.5, "its mask", size=8.5)
    board.person(6, 17, 13, "photo", pose=1)
    board.text(10, 15.5, "query", size=8.5)
    board.box(20.5, 27.5, 8.2, 11, "encoder\n$g(\\cdot;\\theta)$\nshared", bold=True)
    board.arrow((5.5, 42.4), (5.5, 36), (20.3, 36))
    board.arrow((14.4, 23.5), (17, 23.5), (17, 30), (20.3, 30))
    board.slab(30.0, 34.6, "", fill="#c9ced6")
    board.slab(30.0, 26.0, "", fill="#c9ced6")
    board.text(31.6, 42.0, "$G^s$", size=10)
    board.text(31.6, 24.2, "$G^q$", size=10)
    _coarse_half(board)
    _fine_half(board)
    return board.figure


def _coarse_half(board: Board) -> None:
    y = 50
    board.arrow((34.6, 38.5), (36.5, 38.5), (36.5, y + 2.5), (38.8, y + 2.5))
    board.box(39, y, 13, 5, "average over the\nsupport mask (1)", fill=COARSE_DEEP, size=8.5)
    board.arrow((52, y + 2.5), (55, y + 2.5))
    board.vectors(55.4, y + 2.8, ("#6d6d6d", "#111111"))
    board.text(58.4, y - 0.4, "$p_0$ scene\n$p_1$ person", size=8)
    board.arrow((61.8, y + 2.5), (65, y + 2.5))
    board.box(65.2, y, 10, 5, "cosine,\nattention", fill=COARSE_DEEP, size=8.5)
    board.arrow((75.2, y + 2.5), (78.4, y + 2.5))
    board.box(78.6, y, 9, 5, "AGM\ntrunk", fill=COARSE_DEEP, size=8.5)
    board.arrow((87.6, y + 2.5), (91, y + 2.5))
    board.person(91.3, y - 4.5, 12, "whole", pose=1)
    board.box(104.2, y - 0.2, 6.2, 5.2, r"$\ell^{AGM}_{cgs}$", fill=LOSS, size=10, dashed=True)
    board.arrow((98.8, y + 2.5), (104, y + 2.5), dashed=True)
    board.arrow((37.6, 31), (37.6, 46), (70, 46), (70, 49.8))
    board.axes.plot([34.6, 37.6], [31, 31], color=LINE, lw=1.3, zorder=2)
    board.text(52, 44.7, "query features", size=8)
    board.arrow((95, 45.3), (95, 37.4))
    board.text(96, 43.0, "screening at test:\nnot person, not a class", size=8, ha="left")


def _fine_half(board: Board) -> None:
    y = 29
    board.box(39, y, 13, 5, "average over the\nsupport mask (2)", fill=FINE_DEEP, size=8.5)
    board.arrow((36.5, 38.5), (36.5, y + 2.5), (38.8, y + 2.5))
    board.arrow((52, y + 2.5), (55, y + 2.5))
    board.vectors(55.4, y + 4.6, _CLASS_COLOURS)
    board.text(58.4, y - 2.2, "static $p_c$", size=8.5)
    board.arrow((61.8, y + 2.5), (65, y + 2.5))
    board.box(65.2, y - 1, 10, 7, "momentum\nbank $p^d_c$\n(Eq. 3)", fill=BANK, size=8.5)
    board.arrow((70.2, y - 1), (70.2, 21.3))
    board.box(64.6, 15.2, 11.2, 6, "cosine maps\n$A_c$ (Eq. 4)", fill=FINE_DEEP, size=8.5)
    board.arrow((37.6, 31), (37.6, 18.2), (64.4, 18.2))
    board.text(51, 19.5, "query features", size=8)
    board.arrow((75.8, 19.6), (79.6, 23.4))
    board.box(79.8, 20.8, 11, 6, "AGM, heavy\n(Eqs. 5–7)", fill=FINE_DEEP, size=8.5)
    board.arrow((75.8, 16.8), (79.6, 13.4))
    board.box(79.8, 9.6, 11, 6, "NPM, light\n(Eqs. 8–9)", fill=FINE_DEEP, size=8.5)
    board.box(98.4, 16, 10, 6, "$\\ell^{DML}_{fgs}$ (Eq. 10)\n$\\beta$: $1 \\to 0$", fill=LOSS, size=8.5, dashed=True)
    board.arrow((90.8, 23.8), (98.2, 20.4), dashed=True)
    board.arrow((90.8, 13.2), (98.2, 17.4), dashed=True)
    board.text(96.3, 23.6, r"$\beta$", size=10)
    board.text(96.3, 13.7, r"$1-\beta$", size=10)
    board.person(93.8, 26.2, 11, "fine", pose=1)
    board.arrow((85.3, 9.4), (85.3, 7.2), (109.8, 7.2), (109.8, 31.5), (100.8, 31.5))
    board.text(105.3, 30.0, "prediction", size=8.5)
    board.box(39, 9.2, 13, 5, "average over the\nquery mask (11)", fill=FINE_DEEP, size=8.5, dashed=True)
    board.arrow((37.6, 18.2), (37.6, 11.7), (38.8, 11.7), dashed=True)
    board.text(45.5, 7.9, "training only", size=8)
    board.arrow((52, 11.7), (55, 11.7), dashed=True)
    board.vectors(55.4, 13.4, _CLASS_COLOURS[:4])
    board.text(58.4, 8.0, r"query $\tilde{p}_c$", size=8.5)
    board.box(63.6, 3.0, 10.4, 6, "$\\ell^{NCA}$\n(Eq. 12)", fill=LOSS, size=9, dashed=True)
    board.arrow((61.6, 10.6), (66, 9.2), dashed=True)
    board.arrow((62.9, 31.5), (62.9, 6), (63.4, 6), dashed=True)


def popnet_stages() -> Figure:
    """Draw POPNet's three stages, coarse to fine, each feeding the next. Counterpart of the AAAI paper's Fig. 2 (a)."""
    board = Board(104, 56)
    rows = (
        (39.5, "stage 1: person", COARSE, COARSE_DEEP, "whole", "ordinary supervision\n2 classes"),
        (20.5, "stage 2: main areas", MIDDLE, MIDDLE_DEEP, "areas", "one-shot, Eqs. 1–5\nhead, body, arms, legs"),
        (1.5, "stage 3: fine classes", FINE, FINE_DEEP, "fine", "one-shot, Eqs. 1–5\nhair, face, pants, ..."),
    )
    for index, (y, title, pale, deep, mask, words) in enumerate(rows):
        stage = index + 1
        board.area(14, y, 89, 16, title, fill=pale)
        board.box(17, y + 3.6, 12, 7, f"encoder {stage}", fill=deep, bold=True)
        board.arrow((11.5, 28), (12.7, 28), (12.7, y + 7.1), (16.8, y + 7.1))
        board.slab(33, y + 4.2, f"$g^{{S_{stage}}}$", fill=deep)
        board.arrow((29, y + 7.1), (32.8, y + 7.1))
        if stage == 1:
            board.arrow((37.3, y + 7.1), (70.8, y + 7.1))
        else:
            board.arrow((37.3, y + 7.1), (42.8, y + 7.1))
            board.box(43, y + 3.6, 12, 7, f"KIM\n$\\zeta_{stage}([\\,\\cdot\\,;\\,\\cdot\\,])$", fill=BANK)
            board.arrow((55, y + 7.1), (58.8, y + 7.1))
            board.slab(59, y + 4.2, f"$h^{{S_{stage}}}$", fill=deep, above=True)
            board.arrow((63.3, y + 7.1), (70.8, y + 7.1))
            board.text(79.7, y + 13.6, "support's mask, as " + ("areas" if stage == 2 else "classes"), size=8.5)
            board.arrow((79.7, y + 12.7), (79.7, y + 10.8))
        board.box(71, y + 3.6, 17.5, 7, words, fill="#ffffff", size=8.5)
        board.arrow((88.5, y + 7.1), (92.3, y + 7.1))
        board.person(92.6, y + 1.5, 12.2, mask, pose=1)
    board.arrow((49, 46.6), (49, 31.3))
    board.arrow((61, 24.7), (61, 18.6), (49, 18.6), (49, 12.3))
    board.text(50.2, 37.8, "what stage 1 knows", size=8.5, ha="left", style="italic")
    board.text(62.2, 18.6, "what stages 1 and 2 know", size=8.5, ha="left", style="italic")
    board.person(1.2, 29, 16, "photo", pose=1)
    board.text(6.2, 27.4, "query", size=8.5)
    board.person(1.2, 8.5, 16, "other photo")
    board.text(6.2, 7.2, "support", size=8.5)
    return board.figure


def knowledge_infusion() -> Figure:
    """Draw the knowledge infusion module: concatenate, then two units. Counterpart of the AAAI paper's Fig. 2 (b)."""
    board = Board(86, 22)
    board.slab(3, 12.6, "", fill=COARSE_DEEP)
    board.text(12.2, 16.4, "coarser stage\n256 channels", size=8.5)
    board.slab(3, 3.0, "", fill=FINE_DEEP)
    board.text(12.2, 5.6, "this stage\n256 channels", size=8.5)
    board.arrow((18, 16.2), (21.5, 16.2), (21.5, 12.6), (24.4, 12.6))
    board.arrow((18, 5.6), (21.5, 5.6), (21.5, 9.2), (24.4, 9.2))
    board.box(24.6, 7, 9.4, 7.8, "[ ; ]\n512", fill="#ffffff", bold=True)
    for x, words in ((38, "unit 1\n512 → 256"), (58, "unit 2\n256 → 256")):
        board.arrow((x - 4, 10.9), (x - 0.2, 10.9))
        board.box(x, 7, 16, 7.8, words, fill=BANK, bold=True)
        board.text(x + 8, 4.9, "depthwise 3×3, BN, ReLU,\npointwise 1×1, BN, ReLU", size=7.5)
    board.arrow((74, 10.9), (77.4, 10.9))
    board.slab(77.8, 8.2, "$h$, 256", fill=FINE_DEEP)
    return board.figure


def dual_metric_learning() -> Figure:
    """Draw dual metric learning: one set of cosine maps, read twice. Counterpart of journal Fig. 3, AAAI Fig. 2 (c)."""
    board = Board(100, 36)
    board.slab(3, 21, "query features", fill=FINE_DEEP, size=8.5)
    board.vectors(2.1, 11.4, _CLASS_COLOURS)
    board.text(5.1, 4.2, "prototypes", size=8.5)
    board.box(13, 14.2, 11, 6.4, "cosine\n(Eq. 4)", fill=SHARED)
    board.arrow((7.4, 24), (10.4, 24), (10.4, 18.6), (12.8, 18.6))
    board.arrow((8.2, 9.6), (10.4, 9.6), (10.4, 16.2), (12.8, 16.2))
    board.arrow((24, 17.4), (28, 17.4))
    for k, colour in enumerate(_CLASS_COLOURS):
        look: dict[str, Any] = {"fc": colour, "ec": "white", "lw": 0.8, "alpha": 0.95, "zorder": 4 - 0.1 * k}
        board.axes.add_patch(Rectangle((28.4 + 0.8 * k, 13.2 + 0.8 * k), 5, 6, **look))
    board.text(33, 11.2, "similarity maps $A_c$", size=8.5)
    board.area(44, 19, 34, 16, "NPM: read the maps", fill=FINE)
    board.area(44, 1, 34, 16, "AGM: look again where they point", fill=MIDDLE)
    board.arrow((37.4, 19.5), (41, 19.5), (41, 25), (45.8, 25))
    board.arrow((37.4, 16), (41, 16), (41, 9.4), (45.8, 9.4))
    board.arrow((3, 25), (0.2, 25), (0.2, 2.4), (41, 2.4), (41, 5.8), (45.8, 5.8))
    board.text(27, 3.8, "the features $f(G^q)$ themselves", size=8.5)
    board.box(46, 21.4, 13, 7.2, "background\nmean $(1-A_c)$\n(Eq. 8)", fill="#ffffff", size=8.5)
    board.arrow((59, 25), (62.8, 25))
    board.box(63, 21.4, 13, 7.2, "$\\omega, \\omega_{bg}$\nfew scalars\n(Eq. 9)", fill=FINE_DEEP, size=8.5)
    board.box(46, 4, 13, 7.2, "$A_c \\otimes f + f$\n(Eq. 5)", fill="#ffffff", size=8.5)
    board.arrow((59, 7.6), (62.8, 7.6))
    board.box(63, 4, 13, 7.2, "$\\varphi, \\varphi_{bg}$\nconvolutions\n(Eqs. 6–7)", fill=MIDDLE_DEEP, size=8.5)
    board.box(86, 13.6, 12.5, 8, "$\\ell^{DML}$\n(Eq. 10)", fill=LOSS, size=10, dashed=True)
    board.arrow((76, 25), (92, 25), (92, 21.8), dashed=True)
    board.arrow((76, 7.6), (92, 7.6), (92, 13.4), dashed=True)
    board.text(85, 27.4, r"$1-\beta$: grows", size=9)
    board.text(85, 5.4, r"$\beta$: fades", size=9)
    return board.figure
