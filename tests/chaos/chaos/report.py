"""The summary: for each fault, both sides' losses and the two recovery times, the models beside each other."""

from statistics import median

from chaos.session import MASTER_KILL

HEADER = ("", "faults", "deaths", "journal lost", "clients cut", "agree", "answers ms", "worst",
          "full strength ms", "worst")
LEGEND = """\
deaths: of worker processes. journal lost: requests_lost of their records in the scoreboard, and idle connections cut.
clients cut: requests without a complete answer. agree: faults after which both are the same.
answers: fault to the first good answer on a new connection; full strength: to as many ready workers as
configured (medians, and the worst). A fault that lasts (SIGSTOP, stuck, full, none left) counts from its start
and is over after {hold}."""


def _row(name, outcomes):
    accounts = [outcome.account for outcome in outcomes]
    cut = sum(account.cut for account in accounts)
    if outcomes[0].step.fault == MASTER_KILL:  # the journal ends with it
        books = ("-", "-", str(cut), "-")
    else:
        books = (str(sum(account.deaths for account in accounts)),
                 str(sum(account.lost + account.idle_cut for account in accounts)), str(cut),
                 f"{sum(account.is_exact for account in accounts)} of {len(outcomes)}")
    return (f"  {name}", str(len(outcomes)), *books,
            *_times([outcome.first_answer_ms for outcome in outcomes]),
            *_times([outcome.full_strength_ms for outcome in outcomes]))


def _times(values_ms):
    return tuple(f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
                 for value in (median(values_ms), max(values_ms)))


def table(results, hold):
    """results: {model: [Outcome]}."""
    names = {outcome.step.fault for outcomes in results.values() for outcome in outcomes}
    rows = [HEADER]
    for name in sorted(names):
        rows.append((name,) + ("",) * (len(HEADER) - 1))
        for model, outcomes in results.items():
            chosen = [outcome for outcome in outcomes if outcome.step.fault == name]
            if chosen:
                rows.append(_row(model, chosen))
    rows.append(("all but those of the master",) + ("",) * (len(HEADER) - 1))
    for model, outcomes in results.items():
        rows.append(_row(model, [o for o in outcomes if o.step.fault != MASTER_KILL]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                       for column, (cell, width) in enumerate(zip(row, widths))).rstrip()
             for row in rows]
    return "\n".join([*lines, LEGEND.format(hold=hold)])


def as_dict(seed, results, skipped, complaints):
    return {"seed": seed,
            "models": {model: [outcome.as_dict() for outcome in outcomes]
                       for model, outcomes in results.items()},
            "skipped": skipped, "violations": complaints}
