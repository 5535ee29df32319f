"""The identity of resolved values."""

import hashlib
import json
from typing import Any


def digest(values: Any) -> str:
    """SHA-256 (hex) of plain values as canonical JSON: sorted keys, no spaces, no NaN.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    text = json.dumps(
        values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()
