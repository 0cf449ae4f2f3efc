"""claims.yaml: the statements, and what each is judged by. Mistakes in it are told before anything runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Collection, Sequence

from twinlab.base.errors import LabError, understood
from twinlab.claims import quotes, verdict
from twinlab.claims.claim_id import ClaimId
from twinlab.claims.quotes import Quote

DEFAULT_MARGIN = 1.03
EXPERIMENT, MICRO, DEMO, FIELD = "experiment", "micro", "demo", "field"
KINDS = (EXPERIMENT, MICRO, DEMO, FIELD)
FINDING_KEYS = {"role", "says", "series", "fact", "ratio", "expect", "margin", *KINDS}
NEEDED_KEYS = {"id", "section", "notes", "claim"}
CLAIM_KEYS = NEEDED_KEYS | {"quotes", "slip", "judged_by", "open"}


@dataclass(frozen=True)
class Finding:
    """Where one piece of evidence comes from, and what is expected of it."""

    role: str
    says: str
    kind: str
    name: str
    key: str  # of the series or fact; for an experiment, the metric
    ratio: tuple[str, str] | None = None  # sides or variants; None: a fact
    side: str = ""  # of a fact that an experiment observes
    expect: str | None = None
    margin: float | None = None

    @property
    def source(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class Claim:
    """One statement of the study notes, in words of our own.

    still_open: what has to be measured before it can be judged; then it has no findings. slip: what the notes mean,
    where they are misprinted.
    """

    id: ClaimId
    section: str
    notes: tuple[str, ...]
    text: str
    findings: tuple[Finding, ...]
    still_open: str
    quotes: tuple[Quote, ...] = ()
    slip: str = ""


def load(path: Path) -> list[Claim]:
    """All claims, by number and letter."""
    with understood(str(path)):
        content = read_yaml(path)
        notes = tuple(map(str, content.get("notes", ())))
        claims = sorted((_claim(entry, notes) for entry in content["claims"]), key=lambda claim: claim.id)
    ids = [claim.id for claim in claims]
    if len(set(ids)) != len(ids):
        raise LabError(f"{path.name}: an id occurs twice")
    return claims


def choose(claims: Sequence[Claim], ids: Sequence[ClaimId]) -> list[Claim]:
    """These claims, a number for all its letters; all when none is named."""
    unknown = sorted(each for each in set(ids) if not any(each.chooses(claim.id) for claim in claims))
    if unknown:
        raise LabError(f"there is no claim {', '.join(map(str, unknown))}; see lab claims --list")
    return [claim for claim in claims if not ids or any(each.chooses(claim.id) for each in ids)]


def sources(claims: Sequence[Claim]) -> list[tuple[str, str]]:
    """What has to run for these claims: kind and name, each once, in the order of first use."""
    return list(dict.fromkeys((finding.kind, finding.name) for claim in claims for finding in claim.findings))


def read_yaml(path: Path) -> Any:
    import yaml  # only here: the other commands need none

    try:
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise LabError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise LabError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def _claim(entry: dict[str, Any], notes: Collection[str]) -> Claim:
    where = f"claims.yaml, claim {entry.get('id')}"
    if not NEEDED_KEYS <= set(entry) <= CLAIM_KEYS:
        raise LabError(f"{where}: keys are id, section, notes, quotes, claim, slip, judged_by and open")
    findings = tuple(_finding(found, where) for found in entry.get("judged_by") or ())
    still_open = _in_one_line(entry.get("open", ""))
    if bool(findings) == bool(still_open):
        raise LabError(f"{where}: needs either judged_by, or open with what has to be measured")
    return Claim(ClaimId.parse(entry["id"]), entry["section"], tuple(map(str, entry["notes"])),
                 _in_one_line(entry["claim"]), findings, still_open, quotes.read(entry.get("quotes", ()), notes, where),
                 _in_one_line(entry.get("slip", "")))


def _in_one_line(text: object) -> str:
    return " ".join(str(text).split())


def _finding(entry: dict[str, Any], where: str) -> Finding:
    unknown = set(entry) - FINDING_KEYS
    kinds = [kind for kind in KINDS if kind in entry]
    if unknown or len(kinds) != 1 or entry.get("role") not in verdict.ROLES or "says" not in entry:
        raise LabError(f"{where}: a finding needs says, a role of {'|'.join(verdict.ROLES)} and one of "
                       f"{'|'.join(KINDS)}; unknown: {', '.join(sorted(unknown)) or 'none'}")
    common = {"role": entry["role"], "says": entry["says"], "kind": kinds[0], "name": entry[kinds[0]]}
    if "fact" in entry:
        return _fact(entry, common, where)
    return _figure(entry, common, where)


def _fact(entry: dict[str, Any], common: dict[str, Any], where: str) -> Finding:
    if {"series", "ratio", "expect", "margin"} & set(entry):
        raise LabError(f"{where}: a fact has no series, ratio, expect or margin")
    # An experiment observes a fact on one of its sides: `fact: others_answer on threadpool-1`
    key, _, side = entry["fact"].partition(" on ")
    return Finding(**common, key=key, side=side)


def _figure(entry: dict[str, Any], common: dict[str, Any], where: str) -> Finding:
    parts = [part.strip() for part in str(entry.get("ratio", "")).split("/")]
    expect, margin = entry.get("expect"), float(entry.get("margin", DEFAULT_MARGIN))
    if "series" not in entry or len(parts) != 2 or expect not in verdict.EXPECTATIONS or margin <= 1:
        raise LabError(f"{where}: a figure needs a series, a ratio a/b, expect "
                       f"({'|'.join(verdict.EXPECTATIONS)}) and a margin above 1")
    return Finding(**common, key=entry["series"], ratio=(parts[0], parts[1]), expect=expect, margin=margin)
