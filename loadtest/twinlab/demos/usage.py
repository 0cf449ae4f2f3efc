"""Which model is for what? Both serve everything, so the usual split is a convention."""

from twinlab import http
from twinlab.demos.stage import Stage
from twinlab.facts import Fact, Tally

TITLE = "what each model can serve"
CLAIMS = (60,)
MEANING = ("Every model answers every kind of request. That web servers take threads and separate applications take "
           "processes is a convention with reasons (isolation, memory, habit), and no limit of either model: "
           "prefork-server is a web server.")

KINDS = {"/plaintext": "text", "/json": "JSON", "/1k.bin": "file", "/1m.bin": "large file", "/cpu?us=1000": "computing",
         "/sleep?ms=1": "waiting", "/counter": "shared state", "/status": "status"}


def run(stage: Stage) -> list[Fact]:
    tally = Tally("both-models-serve-everything", "every model answers every kind of request")
    rows = [" " * 20 + "  ".join(KINDS.values())]
    for key in ("prefork", "threadpool", "threadpool-request", "hybrid"):
        with stage.start(key) as server:
            cells = []
            for path, kind in KINDS.items():
                reply = http.get(server.port, path, 5.0)
                tally.note(reply.status == 200 and len(reply.body) > 0)
                cells.append(f"{'yes' if reply.status == 200 else reply.status:<{len(kind)}}")
        rows.append(f"{key:20}" + "  ".join(cells))
    stage.say("every model, every kind of request")
    stage.show("\n".join(rows))
    return [tally.fact("a demonstration can refute that one of them cannot; which one fits is for the figures to say")]
