"""The claims of the two papers that numbers can decide, and the rule that decides them."""

from oshp_lite.study.claims.ledger import (
    CLAIMS,
    COLUMNS,
    findings,
    ledger,
    missing_findings,
    rows,
    summary,
    summary_line,
    to_csv,
    to_html,
    to_markdown,
)
from oshp_lite.study.claims.rule import VERDICTS, Claim, Part, Verdict, decide, judge, together

__all__ = [
    "CLAIMS",
    "COLUMNS",
    "VERDICTS",
    "Claim",
    "Part",
    "Verdict",
    "decide",
    "findings",
    "judge",
    "ledger",
    "missing_findings",
    "rows",
    "summary",
    "summary_line",
    "to_csv",
    "to_html",
    "to_markdown",
    "together",
]
