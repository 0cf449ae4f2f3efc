"""The laboratory of twinhttpd: runs the servers in turn, loads them with wrk, breaks them, and compares.

One idea a module, in floors: each uses those below it, none uses one above (tests/steps/check-includes). From the top:

    commands/   cli: the commands and their options; compare, peers, scale, attack, open_doors, demo: each command step
                by step; session: what one run of any of them has; summary: all rounds and their medians;
                compare_table, compare_reading, peers_*: what is printed
    claims/     `lab claims`, `lab report`, `lab diff`: the statements of the notes and the evidence
    demos/      `lab demo`: one behaviour a module
    runs/       one measurement: speed, crash, siege, idle, accepting; windows: measurements that may be lost;
                journal, identity: the clients' account of lost requests held against the server's
    servers/    server: one under test, from its first line to its end; books: its own account; models and packaged:
                which there are; workloads: what they are asked; memory_limit
    clients/    wrk; lab_prober: the open-loop prober of loadtest/prober; lookout: a small client beside wrk, for what
                wrk cannot see; visitor, crowd, holder, kept, slowhttptest, http
    machine/    host: the facts that belong beside every number; processes: starting and surely ending programs; procfs;
                setup: packages, the build, limits; scratch
    base/       stats: medians, spread, what counts as a difference; observed: what a demonstration saw; judged: whether a
                figure keeps its limit; waiting; table, progress, results, errors
"""
