"""`lab claims`: measures the statements about processes and threads, judges them, and reports.

    command      `lab claims`, `lab report`, `lab diff`, step by step
    catalog      claims.yaml: the statements, and what each is judged by
    experiment   experiments/*.yaml: what is started, loaded and broken, for how long
    block        one side of an experiment, measured once on a fresh server
    kept         a connection that stays open between requests
    engine       the order of the blocks, what voids them, and what is tried again
    sources      the micro programs and demonstrations, run once each
    store        a run's folder: every finished block on disk at once, so that a run can be resumed
    evidence     the stored blocks as series of figures and facts
    judge        evidence held against the catalog
    verdict      the decisions; pure
    report       the files of a run: JSON, CSV, Markdown
    page         the HTML page
    charts       its charts
    words        how effects and figures are written
    diff         two runs side by side
"""
