"""Records what servers answer, in a form that is the same whenever they behave the same.

Without TWINHTTPD_ANSWERS, which names a folder, nothing is recorded. Each process of pytest-xdist
writes a file of its own.
"""

import hashlib
import json
import os
import re
from pathlib import Path

# They depend on the time of a request, or on that of a file.
_VARYING_FIELDS = ("date", "etag", "last-modified")
_BOUNDARY = re.compile(r"boundary=([^;]+)")
_DIGEST_DIGITS = 16


def normal_form(response):
    """All of a response but what varies from run to run, as one line."""
    boundary = _BOUNDARY.search(response.header("Content-Type") or "")
    boundary = boundary[1] if boundary else None
    body = response.body.replace(boundary.encode(), b"B") if boundary else response.body
    parts = [f"{response.version} {response.status} {response.reason}"]
    for name, value in response.headers:
        if name in _VARYING_FIELDS:
            value = "(varies)"
        elif boundary:
            value = value.replace(boundary, "B")
        parts.append(f"{name}: {value}")
    digest = hashlib.sha256(body).hexdigest()[:_DIGEST_DIGITS]
    parts.append(f"{len(response.body)} bytes, SHA-256 {digest}")
    return "; ".join(parts)


def record(case, model, delivery, responses, end):
    """Notes one conversation: the answers in their order, and what became of the connection."""
    folder = os.environ.get("TWINHTTPD_ANSWERS")
    if not folder:
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    answer = " | ".join([*map(normal_form, responses), end])
    line = json.dumps({"case": case, "model": model, "delivery": delivery, "answer": answer})
    process = os.environ.get("PYTEST_XDIST_WORKER", "main")
    with open(Path(folder) / f"{process}.jsonl", "a", encoding="utf-8") as file:
        file.write(line + "\n")


def read(folder):
    """What was recorded in a folder: {(case, model, delivery): answer}."""
    found = {}
    for path in sorted(Path(folder).glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            key = (entry["case"], entry["model"], entry["delivery"])
            assert key not in found, f"{folder}: {key} is recorded twice; remove the folder first"
            found[key] = entry["answer"]
    return found
