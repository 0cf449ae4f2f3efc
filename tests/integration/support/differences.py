"""Compares recorded answers: a case has one answer, whatever model, delivery and llhttp."""

import argparse
import sys
import xml.etree.ElementTree as xml
from collections import defaultdict

from support import answers, conformance_cases as table, models

SHOWN_INPUT_BYTES = 400
SHOWN_MISSING = 20


def expected_keys():
    """What each run of the conformance table must have recorded: (case, model, delivery)."""
    return [(case.id, model.name, delivery) for case in table.CASES
            for model in models.selected(models.PROTOCOL) for delivery in case.deliveries]


def find_missing(recorded, expected):
    """One line for each answer that a run should have recorded and has not."""
    return [f"missing: {case}: {model}, {delivery}, llhttp {version}"
            for version, found in recorded.items()
            for case, model, delivery in expected if (case, model, delivery) not in found]


def find_differences(recorded):
    """Each case with several answers: (case, {answer: who gave it}), the most frequent first."""
    by_case = defaultdict(lambda: defaultdict(list))
    for version, found in recorded.items():
        for (case, model, delivery), answer in found.items():
            by_case[case][answer].append(f"{model}, {delivery}, llhttp {version}")
    for case, given in by_case.items():
        if len(given) > 1:
            yield case, dict(sorted(given.items(), key=lambda item: -len(item[1])))


def _input_of(case_id):
    inputs = [case.input for case in table.CASES if case.id == case_id]
    if not inputs or callable(inputs[0]):
        return "(made in the test)"
    return repr(inputs[0][:SHOWN_INPUT_BYTES])


def compare(recorded, expected):
    """Returns what is wrong, as lines, and the line that sums it up."""
    missing = find_missing(recorded, expected)
    lines = missing[:SHOWN_MISSING]
    if len(missing) > SHOWN_MISSING:
        lines.append(f"missing: {len(missing) - SHOWN_MISSING:,} more")
    different = 0
    for case, given in find_differences(recorded):
        lines.append(f"different: {case}: {_input_of(case)}")
        (most, _), *others = given.items()
        lines.append(f"  most: {most}")
        for answer, who in others:
            different += len(who)
            lines += [f"  other: {answer}", *(f"    {one}" for one in sorted(who))]
    cases, names, deliveries = (len(set(column)) for column in zip(*expected))
    total = sum(len(found) for found in recorded.values())
    summary = (f"{cases:,} cases x {names} models x {deliveries} deliveries"
               f" x {len(recorded)} parsers: {total:,} answers, {different:,} differences")
    return lines, summary + (f", {len(missing):,} missing" if missing else "")


def write_junit(path, failure=None, skipped=None):
    """The comparison as one test case."""
    suite = xml.Element("testsuite", name="differential", tests="1",
                        failures=str(int(bool(failure))), skipped=str(int(bool(skipped))))
    case = xml.SubElement(suite, "testcase", classname="differential", name="comparison")
    if failure:
        xml.SubElement(case, "failure", message=failure[-1]).text = "\n".join(failure)
    if skipped:
        xml.SubElement(case, "skipped", message=skipped)
    xml.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="differences", description=__doc__)
    parser.add_argument("--junitxml", required=True, help="where the result is written")
    parser.add_argument("--skipped", metavar="REASON", help="only write that nothing was compared")
    parser.add_argument("runs", nargs="*", metavar="VERSION=FOLDER",
                        help="the answers with this llhttp; two or more")
    options = parser.parse_args(arguments)
    if options.skipped:
        write_junit(options.junitxml, skipped=options.skipped)
        return 0
    runs = dict(run.split("=", 1) for run in options.runs)
    if len(runs) < 2:
        parser.error("name two versions or more")
    recorded = {version: answers.read(folder) for version, folder in runs.items()}
    lines, summary = compare(recorded, expected_keys())
    print(*lines, summary, sep="\n")
    write_junit(options.junitxml, failure=[*lines, summary] if lines else None)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
