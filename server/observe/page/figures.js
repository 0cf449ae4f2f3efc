// Each server in one line of figures: what matters when a process is killed.

// [key, label, what it means, the figure of a server as text]
const FIGURES = [
    ["rate", "requests/s", "finished, in the last second", (server, now) => textRate(server.history.rate(now, 1000))],
    ["p50", "p50", "half of the requests took no longer, in the last second", server => textMicros(server.latency?.["1s"]?.p50_us)],
    ["p99", "p99", "99 of 100 requests took no longer, in the last second", server => textMicros(server.latency?.["1s"]?.p99_us)],
    ["max", "longest", "the slowest request of the last 10 seconds", server => textMicros(server.latency?.["10s"]?.max_us)],
    ["stall", "loop stall", "the longest turn of an event loop in the last 10 seconds", server => textMicros(server.stalls?.["10s"]?.max_us)],
    ["open", "open", "connections that are open now", server => textCount(server.tick?.open ?? server.totals?.connections_open)],
    ["cpu", "CPU", "of all processes; 100 % is one CPU", server => textShare(figureSum(server, process => process.cpu_share))],
    ["memory", "memory", "of all processes: proportional set size where it is known, else resident", server => textKib(figureSum(server, processMemory))],
    ["deaths", "deaths", "of processes, since the start", server => textCount(server.deaths_total)],
    ["lost", "lost", "requests that deaths have cost, by the server's journal", server => textCount(server.lost_total)],
];
const WRK_FIGURE = ["wrk", "wrk\u2019s errors", "connections that broke, as wrk counts them: to compare with lost",
    server => textCount(server.wrk?.cut ?? server.wrk?.errors)];

function figureSum(server, of) {
    const known = server.processes.map(of).filter(isKnown);
    return known.length ? known.reduce((sum, each) => sum + each, 0) : null;
}

function processMemory(process) {
    return process.memory?.pss_kib ?? process.memory?.rss_kib ?? null;
}

class Figures {
    // streams: of each server, or null in a recording
    constructor(servers, streams, orders) {
        this.servers = servers;
        this.streams = streams;
        const with_wrk = servers.some(server => server.given.wrk);
        this.wanted = with_wrk ? [...FIGURES, WRK_FIGURE] : FIGURES;
        this.rows = servers.map(server => this.build(server, orders));
        byId("servers").className = servers.length > 1 ? "several" : "one";
        byId("servers").append(...this.rows.map(row => row.section));
    }

    build(server, orders) {
        const row = {server, name: make("h2"), about: make("p", {class: "about"}), state: make("span", {class: "phase"}), cells: {}};
        const list = make("dl", {class: "figures"});
        for (const [key, label, meaning] of this.wanted) {
            row.cells[key] = make("dd");
            list.append(make("div", {class: key, title: meaning}, make("dt", {text: label}), row.cells[key]));
        }
        row.section = make("section", {class: `server s${server.index}`},
            make("div", {class: "who"}, make("div", {class: "name"}, row.name, row.state), row.about),
            list, orders ? orders.killOne(server) : null);
        return row;
    }

    draw(now) {
        for (const row of this.rows) {
            this.drawName(row, now);
            for (const [key, , , figure] of this.wanted) show(row.cells[key], row.server.facts ? figure(row.server, now) : NOTHING);
        }
        if (this.servers.length > 1) this.compare(now);
    }

    drawName({server, name, about, state}, now) {
        show(name, server.name);
        const [word, kind] = this.phase(server);
        show(state, word);
        state.className = `phase ${kind}`;
        if (!server.facts) return;
        const facts = server.facts;
        const uptime_ms = server.hello.uptime_ms + Math.max(0, now - server.hello.time_ms);
        const model = facts.dispatch ? `${facts.model}, ${facts.dispatch} dispatch` : facts.model;
        show(about, [model, this.servers.length > 1 ? null : facts.listen, `on death ${facts.on_death}`, `up ${textAge(uptime_ms)}`,
            `master heard ${textWholeMillis(server.tick?.heard_ms ?? server.master?.heard_ms)} ago`].filter(each => each).join(" \u00b7 "));
    }

    // [word, class]
    phase(server) {
        const stream = this.streams?.[server.index];
        if (stream && !stream.is_live) {
            return server.facts ? [`observer silent for ${textAge(stream.silence_ms)}`, "bad"] : ["connecting\u2026", "quiet"];
        }
        if ((server.tick?.heard_ms ?? 0) > 3000) return ["master is silent", "bad"];
        const phase = server.master?.phase ?? "unknown";
        return [phase, phase === "running" ? "good" : "warn"];
    }

    // Requests a second as a multiple of the first server's.
    compare(now) {
        const first = this.servers[0].history.rate(now, 5000);
        this.rows.slice(1).forEach(row => {
            const own = row.server.history.rate(now, 5000);
            const cell = row.cells.rate;
            putAttribute(cell, "data-ratio", first > 0 && own !== null ? `${(own / first).toFixed(2)} \u00d7` : null);
        });
    }
}
