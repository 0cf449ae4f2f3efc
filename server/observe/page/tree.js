// The process tree of one server as a table: the master, its processes, their threads.

const TREE_COLUMNS = [["name", "process"], ["state", "state"], ["acts", "commands"], ["death", "last death"],
    ["current", "current request"], ["heart", "heartbeat"], ["open", "open"], ["rate", "requests/s"], ["p99", "p99"],
    ["cpu", "CPU"], ["waits", "waits"], ["memory", "memory"], ["switches", "switches/s"]];
const TREE_TITLES = {heart: "since the last turn of its event loop", open: "open connections, and how many are busy",
    p99: "99 of 100 requests of the last 10 seconds took no longer", waits: "share of the time in which it could run and waited for a CPU",
    switches: "context switches: voluntary, then involuntary", rate: "now, and in the last minute"};
const STATE_SIGNS = {ready: "\u25cf", starting: "\u25b2", draining: "\u25c6", dead: "\u2715", ended: "\u2715"};

class Tree {
    constructor(server, orders, open) {
        this.server = server;
        this.orders = orders;
        this.open = open;
        this.second = 0;
        this.body = make("tbody");
        const heads = TREE_COLUMNS.map(([key, label]) => make("th", {scope: "col", class: key, title: TREE_TITLES[key], text: label}));
        this.title = make("h2");
        const table = make("table", {class: "tree"}, make("thead", null, make("tr", null, ...heads)), this.body);
        this.section = make("section", {class: `processes s${server.index}`},
            make("header", null, this.title, orders ? orders.toolbar(server) : null),
            make("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": `Processes and threads of ${server.name}`}, table));
    }

    // One row for each process, and below it one for each thread if there are several.
    rows(now) {
        const rows = [{key: "master", kind: "master"}];
        if (this.server.observer) rows.push({key: "observer", kind: "observer"});
        const seen = new Map();
        const seats = [...this.server.processes, ...this.server.emptySeats(now)].sort((a, b) => a.number - b.number);
        for (const process of seats) {
            const nth = seen.get(process.number) ?? 0;
            seen.set(process.number, nth + 1);
            const key = `p${process.number}/${nth}`;
            const slots = process.gone_t ? [] : process.slots.map(number => this.server.slot(number));
            const only = slots.length === 1 ? slots[0] : null;
            rows.push({key, kind: "process", process, slots, only});
            if (!only) for (const slot of slots) rows.push({key: `${key}/${slot.number}`, kind: "thread", process, slots: [slot], only: slot});
        }
        return rows;
    }

    draw(now) {
        show(this.title, `Processes of ${this.server.name}`);
        const second = Math.floor(now / 1000);
        this.is_new_second = second !== this.second;
        this.second = second;
        keep(this.body, this.rows(now), row => row.key, row => this.build(row), (node, row) => this.drawRow(node, row, now));
    }

    build(row) {
        const cells = {};
        const node = make("tr", {class: row.kind});
        for (const [key] of TREE_COLUMNS) node.append(cells[key] = make(key === "name" ? "th" : "td", {class: key, scope: key === "name" ? "row" : null}));
        cells.name.append(cells.label = make("span"), " ", cells.pid = make("small"));
        cells.state.append(cells.sign = make("i", {"aria-hidden": "true"}), " ", cells.word = make("span"));
        node.cells_by_name = cells;
        if (row.kind === "process" || row.kind === "thread") this.buildBusy(node, cells, row);
        return node;
    }

    buildBusy(node, cells, row) {
        cells.rate.append(cells.spark = make("canvas", {class: "spark", width: "128", height: "36", "aria-hidden": "true"}),
            cells.number = make("span"));
        if (row.kind !== "process") return;
        cells.button = makeButton("", event => this.open(node.death, event.currentTarget), {class: "link", hidden: true});
        cells.death.append(cells.button, cells.said = make("output"));
        if (this.orders) cells.acts.append(...this.orders.processButtons(this.server, node, cells.said));
    }

    drawRow(node, row, now) {
        const cells = node.cells_by_name;
        node.row = row;
        if (row.kind === "master") return this.drawMaster(cells);
        if (row.kind === "observer") return this.drawObserver(cells);
        this.drawNames(cells, row);
        this.drawState(node, cells, row);
        this.drawWork(cells, row, now);
        if (row.kind === "process") {
            for (const button of cells.acts.children) putAttribute(button, "aria-label", `${button.textContent} process ${row.process.number}`);
            this.drawKernel(cells, row.process);
            this.drawDeath(node, cells, row.process, now);
        }
    }

    drawMaster(cells) {
        const master = this.server.master;
        show(cells.label, "master");
        show(cells.pid, master ? String(master.pid) : "");
        this.drawSign(cells, master?.phase ?? NOTHING, master?.phase === "running" ? "good" : "warn", "\u25cf");
        const heard_ms = this.server.tick?.heard_ms ?? master?.heard_ms;
        show(cells.heart, textWholeMillis(heard_ms));
        cells.heart.classList.toggle("bad", heard_ms > 3000);
        if (master) show(cells.current, `${textMany(master.processes_wanted, "process", "processes")} wanted, ` +
            `${textCount(master.restarted)} restarted`);
    }

    drawObserver(cells) {
        const observer = this.server.observer;
        show(cells.label, "observer");
        show(cells.pid, String(observer.pid));
        this.drawSign(cells, "ready", "good", "\u25cf");
        show(cells.current, textMany(observer.viewers, "viewer"));
    }

    drawNames(cells, {kind, process, only}) {
        if (kind === "thread") {
            show(cells.label, `${only.role ?? "thread"} ${only.number}`);
            show(cells.pid, isKnown(only.tid) ? String(only.tid) : "");
        } else {
            show(cells.label, `process ${process.number}`);
            show(cells.pid, `${process.pid} g${process.generation}`);
        }
        putAttribute(cells.label, "title", kind === "thread" ? "thread: role and slot" : "number, pid and generation");
    }

    drawState(node, cells, {kind, process, slots, only}) {
        const stuck = slots.filter(slot => slot.stuck);
        const state = process.gone_t ? "dead" : kind === "process" ? process.state : only.state;
        let word = stuck.length ? stuck[0].stuck : state;
        if (stuck.length && !only) word = `${stuck.length} stuck`;
        const sign = stuck.length ? "\u25a0" : STATE_SIGNS[state] ?? "?";
        const kindOf = stuck.length || state === "dead" ? "bad" : state === "ready" ? "good" : "warn";
        this.drawSign(cells, word, kindOf, sign);
        node.className = `${kind}${process.gone_t ? " gone" : ""}${only ? "" : " several"}`;
    }

    drawSign(cells, word, kind, sign) {
        show(cells.word, word);
        show(cells.sign, sign);
        cells.state.className = `state ${kind}`;
    }

    drawWork(cells, {process, slots, only}, now) {
        const sum = field => slots.reduce((total, slot) => total + (slot[field] ?? 0), 0);
        show(cells.current, only ? only.current ?? "" : process.gone_t ? "its successor is on the way" : textMany(slots.length, "thread"));
        cells.current.classList.toggle("code", Boolean(only?.current));
        putAttribute(cells.current, "title", only?.current ?? null);
        const ages = slots.map(slot => slot.heartbeat_age_ms).filter(isKnown);
        const oldest = ages.length ? Math.max(...ages) : null;
        show(cells.heart, textWholeMillis(oldest));
        cells.heart.classList.toggle("bad", oldest > 2000);
        show(cells.open, slots.length ? `${textCount(sum("open"))} / ${textCount(sum("busy"))}` : NOTHING);
        const rates = slots.map(slot => slot.trace.rate).filter(isKnown);
        show(cells.number, rates.length ? textRate(rates.reduce((a, b) => a + b, 0)) : NOTHING);
        show(cells.p99, only ? textMicros(only.p99_us) : textMicros(Math.max(...slots.map(slot => slot.p99_us ?? 0)) || null));
        if (this.is_new_second) drawSpark(cells.spark, only ? only.trace.seconds : addTraces(slots));
    }

    drawKernel(cells, process) {
        show(cells.cpu, textShare(process.cpu_share));
        show(cells.waits, textShare(process.waiting_share));
        cells.waits.classList.toggle("warn", process.waiting_share > 0.2);
        show(cells.memory, textKib(processMemory(process)));
        putAttribute(cells.memory, "title", isKnown(process.memory?.rss_kib) ? `resident ${textKib(process.memory.rss_kib)}` : null);
        show(cells.switches, `${textRate(process.switches_voluntary_rate)} / ${textRate(process.switches_involuntary_rate)}`);
    }

    drawDeath(node, cells, process, now) {
        const death = isKnown(process.number) ? this.server.lastDeathOf(process.number) : null;
        node.death = death;
        cells.button.hidden = !death || cells.said.textContent !== "";
        if (!death) return;
        show(cells.button, `${incidentCause(death)}, ${textCount(death.requests_lost)} lost`);
        putAttribute(cells.button, "title", `${textAge(now - death.t)} ago; ${incidentCost(death)}`);
    }
}

// A rate for each second of the last minute; a hole is a second without the thread.
function drawSpark(canvas, seconds) {
    const context = canvas.getContext("2d");
    const {width, height} = canvas;
    const most = Math.max(1, ...seconds.filter(rate => !Number.isNaN(rate)));
    context.clearRect(0, 0, width, height);
    context.fillStyle = getComputedStyle(canvas).color;
    const step = width / TRACE_SECONDS;
    seconds.forEach((rate, second) => {
        if (Number.isNaN(rate)) return;
        const tall = Math.max(2, rate / most * height);
        context.fillRect(second * step, height - tall, Math.max(1, step - 0.5), tall);
    });
}
