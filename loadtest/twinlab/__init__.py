"""The laboratory of twinhttpd: runs the servers in turn, loads them with wrk, breaks them, and compares.

One idea per module. From the outside in:

    cli         the commands and their options
    compare     `lab compare`, step by step
    peers       `lab peers`, step by step
    scale       `lab scale`, step by step
    idle        idle connections beside busy ones: cost, memory, judgement
    crowd       the idle connections, held by processes of holder
    accepting   how fast and how evenly connections are accepted
    claims      `lab claims`, `lab report`, `lab diff`: a package of its own
    setup       missing packages, the build, limits
    speed       one timed run of one model on one workload
    crash       one crash round: a worker dies once a second under load
    contenders  who takes part in `lab peers`, and how each is started
    packaged    servers from Debian's packages, configured from loadtest/peers
    models      the process models that are compared, and their command lines
    workloads   what wrk asks for, and the documents it needs
    server      a server under test, from its first line to its end
    wrk         the load tool
    prober      a small client beside wrk, for what wrk cannot see
    journal     wrk's errors held against the server's own account of lost requests
    http        one GET on a fresh connection
    proc        starting and surely ending programs; CPU time and memory from /proc
    machine     the facts about this machine that belong beside every number
    stats       medians, spread, and what counts as a difference
    table       aligned columns and units
    summary     all rounds of a comparison, and their medians
    report      the table of a comparison
    targets     what `lab peers` judges
    peers_report  the tables of `lab peers`
    chart       its chart
    reading     the plain sentences under the table, computed from it
    progress    the line that shows that work goes on
    results     the JSON file
    errors      the ways in which the laboratory ends early
"""
