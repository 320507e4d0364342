"""The catalogue of reasons (common/status/reasons.h), for tests and checkers."""

import re
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "common" / "status" / "reasons.h"


def catalogue():
    """Reason -> (gRPC code, whether a retry may help, meaning)."""
    text = SOURCE.read_text(encoding="utf-8")
    names = dict(re.findall(r'constexpr char (k\w+)\[\] = "(\w+)"', text))
    rows = re.findall(r'\{(k\w+), absl::StatusCode::k(\w+), Retry::k(\w+),\s+"([^"]+)"\}', text)
    return {
        names[name]: (re.sub(r"(?<!^)(?=[A-Z])", "_", code).upper(), retry == "Later", meaning)
        for name, code, retry, meaning in rows
    }


def rows():
    """The catalogue as rows of a table in Markdown."""
    return [
        f"| `{reason}` | `{code}` | {'later' if later else 'no'} | {meaning} |"
        for reason, (code, later, meaning) in catalogue().items()
    ]
