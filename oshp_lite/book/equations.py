"""Every numbered equation of both papers, the function that holds it, and the test that checks that function.

`tests/test_equations.py` sees to it that no number is missing, every function can be imported and every test exists.
Where the papers print one form and the released code computes another, `note` says so; the row number of the full
list of such differences (notebook 06) stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

JOURNAL, AAAI = "journal", "aaai"
_TESTS = "tests/test_equations.py"
_POOLING = "oshp_lite.models.modules.prototypes:masked_average"
_BANK = "oshp_lite.models.modules.prototypes:PrototypeBank"
_AGM = "oshp_lite.models.modules.metric:AttentionGuidance"
_NPM = "oshp_lite.models.modules.metric:NearestPrototype"
_PIXELS = "oshp_lite.models.modules.losses:pixel_loss"
_SHIFT = "oshp_lite.models.modules.losses:shift_weights"
_LINEAR = "oshp_lite.study.printed:linear_background_probabilities"


@dataclass(frozen=True)
class Equation:
    """One numbered equation.

    paper     "journal" (EOP-Net) or "aaai" (POPNet); number as printed
    says      what it states, in our words; latex: its formula, without the dollar signs
    function  where it lives, as module:name
    test      the pytest node that checks it against an independent float64 computation
    notebook  the notebook that builds it by hand
    note      where paper and released code differ, else empty
    """

    paper: str
    number: int
    says: str
    latex: str
    function: str
    test: str
    notebook: int
    note: str = ""

    @property
    def module(self) -> str:
        """The module that holds the function."""
        return self.function.partition(":")[0]

    @property
    def name(self) -> str:
        """The function's (or class's) own name."""
        return self.function.partition(":")[2]

    def load(self) -> Callable[..., Any]:
        """Import and return the function; raises ImportError or AttributeError when it has moved."""
        found: Any = import_module(self.module)
        for part in self.name.split("."):
            found = getattr(found, part)
        if not callable(found):
            raise TypeError(f"{self.function} is not callable")
        return found


def _entry(paper: str, number: int, says: str, latex: str, function: str, notebook: int, note: str = "") -> Equation:
    return Equation(paper, number, says, latex, function, f"{_TESTS}::test_{paper}_{number}", notebook, note)


EQUATIONS: tuple[Equation, ...] = (
    _entry(
        JOURNAL,
        1,
        "The coarse prototype of scene (0) and person (1): the mean projected feature over that part of the support.",
        r"p_{cgs,c} = \frac{1}{|\Lambda_c^s|} \sum_{x \in \Lambda_c^s} f_{cgs}(G_x^s),\quad c \in \{0, 1\}",
        _POOLING,
        3,
    ),
    _entry(
        JOURNAL,
        2,
        "The static prototype of each support class in the fine space; the background gets none.",
        r"p_c = \frac{1}{|\Lambda_c^s|} \sum_{x \in \Lambda_c^s} f_{fgs}(G_x^s),\quad c \geq 1",
        _POOLING,
        3,
        "A class is absent when it has no cell in the mask at stride 4 (row 15).",
    ),
    _entry(
        JOURNAL,
        3,
        "The bank keeps a share alpha of itself and takes the rest from the episode's static prototype.",
        r"p_c^d \leftarrow \alpha\, p_c^d + (1 - \alpha)\, p_c",
        _BANK,
        3,
        "Static in the first epochs, whose number differs (row 2); what the bank does meanwhile is not said (row 3).",
    ),
    _entry(
        JOURNAL,
        4,
        "The similarity map of a class: the cosine of every query feature with the prototype.",
        r"A_c = \langle f(G^q), p_c \rangle",
        "oshp_lite.models.modules.metric:cosine_maps",
        3,
    ),
    _entry(
        JOURNAL,
        5,
        "The attended features: the query features times the class's map, plus themselves.",
        r"R_c = A_c \otimes f(G^q) + f(G^q)",
        "oshp_lite.models.modules.metric:attend",
        4,
        "The released 1-way network leaves the residual out (row 12).",
    ),
    _entry(
        JOURNAL,
        6,
        "AGM's scores: one trunk reads each class's attended features; the background averages over the classes.",
        r"l_c = \varphi(R_c),\quad l_0 = \frac{1}{|C_s| - 1} \sum_{c=1}^{|C_s|-1} \varphi_{bg}(R_c)",
        _AGM,
        4,
        "One trunk with two outputs (row 7); the mean runs over all ids and passes a scalar affine map (row 8).",
    ),
    _entry(
        JOURNAL,
        7,
        "AGM's probabilities: a softmax over background and classes.",
        r"\hat{M}_c^{AGM} = \frac{\exp(l_c)}{\sum_{k=1}^{|C_s|-1} \exp(l_k) + \exp(l_0)}",
        _PIXELS,
        4,
        "The released code lets all ids compete, not only the support's (row 11).",
    ),
    _entry(
        JOURNAL,
        8,
        "The background's map: the mean dissimilarity to the classes' prototypes.",
        r"A_0 = \frac{1}{|C_s| - 1} \sum_{c=1}^{|C_s|-1} (1 - A_c)",
        _NPM,
        4,
        "The printed bracket is misplaced; the mean is meant. It runs over all ids in the released code (row 8).",
    ),
    _entry(
        JOURNAL,
        9,
        "NPM's probabilities: two scalar affine maps of the similarity maps, then a softmax.",
        r"\hat{M}_c^{NPM} = \frac{\exp(\omega(A_c))}{\sum_k \exp(\omega(A_k)) + \exp(\omega_{bg}(A_0))}",
        _NPM,
        4,
        "The released code multiplies the scores by a learnable scale that starts at 10 (row 10).",
    ),
    _entry(
        JOURNAL,
        10,
        "Dual metric learning: the weight moves from AGM to NPM as the epochs pass.",
        r"\ell^{DML} = \beta\,\ell^{AGM} + (1 - \beta)\,\ell^{NPM},\quad \beta = 1 - \mathrm{epoch}/\mathrm{epochs}",
        _SHIFT,
        4,
        "In the last of 50 epochs beta is 0.02, not 0 (row 29).",
    ),
    _entry(
        JOURNAL,
        11,
        "The query's own prototypes, pooled with the query's true mask; in training only.",
        r"\tilde{p}_c = \frac{1}{|\Lambda_c^q|} \sum_{x \in \Lambda_c^q} f(G_x^q)",
        _POOLING,
        6,
    ),
    _entry(
        JOURNAL,
        12,
        "The contrastive loss: each query prototype must pick its own class among the support's prototypes.",
        r"\ell^{NCA} = \frac{1}{|C_s|-1} \sum_{c} -\log \frac{\exp(\langle \tilde{p}_c, p_c \rangle / \tau)}"
        r"{\sum_k \exp(\langle \tilde{p}_c, p_k \rangle / \tau)}",
        "oshp_lite.models.modules.losses:prototype_contrast",
        6,
        "The released code adds a background row and counts classes missing in the support as 0 (row 14).",
    ),
    _entry(
        JOURNAL,
        13,
        "The whole objective: contrast, coarse space and dual metric learning, each weighted by 1.",
        r"\ell = \lambda^{NCA}\ell^{NCA} + \lambda_{cgs}^{AGM}\ell_{cgs}^{AGM} + \lambda_{fgs}^{DML}\ell_{fgs}^{DML}",
        "oshp_lite.models.eopnet:EOPNet.losses",
        6,
    ),
    _entry(
        AAAI,
        1,
        "The prototype of a class: the mean infused feature over its pixels in the support.",
        r"p_c = \frac{1}{|\Lambda_c|} \sum_{(x,y) \in \Lambda_c} h_s(x, y)",
        _POOLING,
        5,
    ),
    _entry(
        AAAI,
        2,
        "The dynamic prototype: the bank of the journal's Eq. (3), in the older wording.",
        r"p_c^d = \alpha \times p_c^d + (1 - \alpha) \times p_c",
        _BANK,
        5,
        "With the stated alpha = 0.001 the bank would keep nothing; 0.999 on the old value is what runs (row 1).",
    ),
    _entry(
        AAAI,
        3,
        "AGM's probabilities; the background's mean score enters the denominator without exp.",
        r"Y_c^{AGM} = \frac{\exp(\phi(r_c))}{\sum_k \exp(\phi(r_k)) + r_{bg}},\quad"
        r" r_{bg} = \frac{1}{|C_s| - 1} \sum_k \omega(r_k)",
        _LINEAR,
        5,
        "An ordinary softmax in the released code (row 36), as in the journal's Eq. (7).",
    ),
    _entry(
        AAAI,
        4,
        "NCM's probabilities from the cosine maps themselves; the background term is again without exp.",
        r"Y_c^{NCM} = \frac{\exp(m_c)}{\sum_k \exp(m_k) + m_{bg}},\quad m_{bg} = \frac{1}{|C_s| - 1} \sum_k (1 - m_k)",
        _LINEAR,
        5,
        "An ordinary softmax of scaled maps in the released code (rows 10 and 36).",
    ),
    _entry(
        AAAI,
        5,
        "The pixel-wise cross-entropies of both modules, their weights shifting from AGM to NCM.",
        r"L_{dml} = -\sum_{(x,y)} \sum_{c} \left[\beta\, y_c \log \hat{y}_c^{AGM}"
        r" + (1 - \beta)\, y_c \log \hat{y}_c^{NCM}\right]",
        _PIXELS,
        5,
        "The sum over pixels is a mean in the released code.",
    ),
)


def equation(paper: str, number: int) -> Equation:
    """Return one equation; raises KeyError for a number the paper does not have."""
    for entry in EQUATIONS:
        if (entry.paper, entry.number) == (paper, number):
            return entry
    raise KeyError(f"no equation {number} in {paper!r}")


def equation_table(paper: str | None = None) -> str:
    """Return the table "equation, function, test" as Markdown, of one paper or of both."""
    rows = ["| equation | what it says | function | test | built in |", "|---|---|---|---|---|"]
    for entry in EQUATIONS:
        if paper in (None, entry.paper):
            where, what = f"{entry.paper} ({entry.number})", entry.says
            test = entry.test.partition("::")[2]
            rows.append(f"| {where} | {what} | `{entry.name}` | `{test}` | {entry.notebook:02d} |")
    return "\n".join(rows)
