"""The laboratory of twinhttpd: runs the servers in turn, loads them with wrk, breaks them, and compares.

One idea a module, in floors: each uses those below it, none uses one above (tests/steps/check-includes). From the top:

    commands/   cli: the commands and their options; compare, peers, scale, observe, attack, open_doors, demo, live: each
                step by step; session: what one run of any of them has; summary: all rounds and their medians;
                compare_table, compare_reading, peers_*: what is printed; live_sides: the servers that stand side by side,
                live_web, live_relay: what a browser gets, live_page, live_record, live_presets, live_summary
    claims/     `lab claims`, `lab report`, `lab diff`: the statements of the notes and the evidence
    demos/      `lab demo`: one behaviour a module
    runs/       one measurement: speed, crash, siege, idle, accepting, observing; windows: those that may be lost;
                journal, identity: the clients' account of lost requests held against the server's
    servers/    server: one under test, from its first line to its end; observer: the process beside it that tells of
                it; account: what that tells, in our words; books: what it says of requests; models and packaged: which
                there are; workloads: what they are asked; memory_limit
    clients/    wrk; wrk_live: its counters while it runs; lab_prober: the open-loop prober of loadtest/prober; lookout: a
                small client beside wrk, for what wrk cannot see; events: server-sent ones; visitor, crowd, holder, kept,
                slowhttptest, http
    machine/    host: the facts that belong beside every number; processes: starting and surely ending programs; procfs;
                setup: packages, the build, limits; scratch
    base/       stats: medians, spread, what counts as a difference; interval: where a median over launches lies; decide: the
                word that follows from it; judged: whether a figure keeps its limits; observed: what a demonstration saw;
                waiting; table, progress, results, errors
"""
