// Deaths and stuck threads: as marks under the charts, as a list, and one of them told whole.

const MARK_WIDTH = 16;
const LISTED = 40;
const TELLER_PATIENCE_MS = 40000;
const TOLD_SIGNALS = ["SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT"];

function incidentKey(incident) {
    return `${incident.server.index}/${incident.kind}/${incident.kind === "death" ? incident.number : incident.key}`;
}

function incidentTitle(incident) {
    const who = `process ${incident.process}`;
    return incident.kind === "stuck" ? `${who} stuck: ${incidentCause(incident)}` : `${who} died: ${incidentCause(incident)}`;
}

// Marks of one server. Those that would touch are one mark with a number; which ones does not change as they move.
class Lane {
    constructor(server, charts, open) {
        this.server = server;
        this.charts = charts;
        this.open = open;
        this.row = make("div", {class: `lane s${server.index}`, role: "group", onkeydown: event => this.turn(event),
            "aria-label": `Deaths and stuck threads of ${server.name} on the time line`},
            makeLine(server));
    }

    cells(now) {
        const cell_ms = this.charts.range_ms * MARK_WIDTH / chartWidth(this.charts.rate.plot);
        const cells = new Map();
        for (const incident of [...this.server.deaths.values(), ...this.server.stuck.values()]) {
            if (incident.t < now - this.charts.range_ms || incident.t > now) continue;
            const key = `${this.charts.range_ms}/${Math.floor(incident.t / cell_ms)}/${incident.kind}`;
            if (!cells.has(key)) cells.set(key, {key, incidents: []});
            cells.get(key).incidents.push(incident);
        }
        return [...cells.values()].sort((a, b) => a.incidents[0].t - b.incidents[0].t);
    }

    draw(now) {
        const cells = this.cells(now);
        keep(this.row.marks ??= this.row.appendChild(make("div", {class: "marks"})), cells, cell => cell.key,
            () => makeButton("", event => this.open(event.currentTarget.cell.incidents.at(-1), event.currentTarget), {tabindex: "-1"}),
            (button, cell) => this.drawMark(button, cell, now));
        const buttons = [...this.row.marks.children];
        if (buttons.length && !buttons.some(button => button.tabIndex === 0)) buttons.at(-1).tabIndex = 0;
    }

    drawMark(button, cell, now) {
        const {incidents} = cell;
        const last = incidents.at(-1);
        const many = incidents.length > 1;
        button.cell = cell;
        button.style.transform = `translateX(${(this.charts.position(last.t, now) - MARK_WIDTH / 2).toFixed(1)}px)`;
        show(button, many ? (incidents.length > 99 ? "+" : String(incidents.length)) : last.kind === "stuck" ? "\u25a0" : "\u25bc");
        putAttribute(button, "aria-label", `${textClock(last.t)}, ${incidentTitle(last)}${many ? `, and ${incidents.length - 1} more` : ""}`);
        putAttribute(button, "title", `${textClock(last.t)} ${incidentTitle(last)}; ${incidentCost(last)}`);
        button.className = `mark ${last.kind}${many ? " many" : ""}`;
    }

    // One stop for the tab key; arrows lead from mark to mark.
    turn(event) {
        const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
        if (!step) return;
        const buttons = [...this.row.marks.children].sort((a, b) => a.cell.incidents[0].t - b.cell.incidents[0].t);
        const next = buttons[buttons.indexOf(document.activeElement) + step];
        if (!next) return;
        for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
        next.focus();
        event.preventDefault();
    }
}

// The newest first.
class IncidentList {
    constructor(servers, open) {
        this.servers = servers;
        this.open = open;
        this.place = byId("incidents");
        this.count = byId("incident-count");
    }

    draw(now) {
        const all = this.servers.flatMap(server => server.incidents()).sort((a, b) => b.t - a.t);
        keep(this.place, all.slice(0, LISTED), incidentKey, incident => this.build(incident),
            (item, incident) => this.drawItem(item, incident, now));
        byId("no-incidents").hidden = all.length > 0;
        const deaths = this.servers.reduce((sum, server) => sum + (server.deaths_total ?? 0), 0);
        show(this.count, deaths > 0 ? textMany(deaths, "death") : "");
    }

    build(incident) {
        const parts = {when: make("span", {class: "when"}), cause: make("b"), cost: make("span", {class: "cost"})};
        const who = this.servers.length > 1 ? `${incident.server.name} ` : "";
        const button = makeButton("", event => this.open(item.incident, event.currentTarget));
        button.append(make("span", {class: "first"}, parts.when, makeLine(incident.server),
            make("span", {text: `${who}process ${incident.process} `}), parts.cause), parts.cost);
        const item = make("li", {class: incident.kind}, button);
        item.parts = parts;
        return item;
    }

    drawItem(item, incident) {
        item.incident = incident;
        show(item.parts.when, textClock(incident.t));
        show(item.parts.cause, incidentCause(incident));
        show(item.parts.cost, incidentCost(incident));
    }
}

// One incident, told whole, beside the rest of the page, which goes on.
class Story {
    constructor(servers, clock) {
        this.servers = servers;
        this.clock = clock;
        this.box = byId("story");
        this.shown = null;
        byId("story-close").addEventListener("click", () => this.close());
        byId("story-older").addEventListener("click", () => this.step(1));
        byId("story-newer").addEventListener("click", () => this.step(-1));
        document.addEventListener("keydown", event => event.key === "Escape" && !this.box.hidden && this.close());
        for (const server of servers) server.watch(incident => this.renew(incident));
    }

    open(incident, opener) {
        this.opener = opener ?? this.opener;
        this.box.hidden = false;
        this.tell(incident.server.deaths.get(incident.number) ?? incident);
        byId("story-title").focus();
    }

    close() {
        this.box.hidden = true;
        this.shown = null;
        const opener = this.opener?.isConnected ? this.opener : document.querySelector("#incidents button");
        opener?.focus();
    }

    renew(incident) {
        if (this.shown && incidentKey(this.shown) === incidentKey(incident)) this.tell(incident);
    }

    // Other incidents of the same server.
    step(by) {
        const all = this.shown.server.incidents();
        const at = all.findIndex(each => incidentKey(each) === incidentKey(this.shown));
        const next = all[at + by];
        if (next) this.tell(next);
    }

    tell(incident) {
        this.shown = incident;
        const all = incident.server.incidents();
        const at = all.findIndex(each => incidentKey(each) === incidentKey(incident));
        byId("story-newer").disabled = at <= 0;
        byId("story-older").disabled = at < 0 || at >= all.length - 1;
        show(byId("story-title"), incidentTitle(incident));
        byId("story-title").className = `s${incident.server.index}`;
        byId("story-body").replaceChildren(...(incident.kind === "death" ? this.deathParts(incident) : this.stuckParts(incident)));
    }

    deathParts(death) {
        const crash = death.crash;
        return [
            storyFacts([["server", death.server.name], ["when", storyTime(death)],
                ["pid", `${death.pid}, generation ${death.generation}`], ["lived", textWholeMillis(death.lived_ms)]]),
            make("h3", {text: "What it cost"}), storyCost(death),
            make("h3", {text: "Why"}), ...(crash ? storyCrash(crash) : [make("p", {text: this.noStory(death)})]),
            ...storyRequests(death.requests ?? []),
        ];
    }

    noStory(death) {
        if (death.cause === "exit") return `It ended by itself, with exit status ${death.exit_status}.`;
        if (!TOLD_SIGNALS.includes(death.signal)) return `${death.signal} ends a process at once: it leaves no stack. ` +
            "The journal still names the requests that were in progress.";
        return this.clock.now() - death.t < TELLER_PATIENCE_MS ? "The stack is being read\u2026" : "Nothing was written before the end.";
    }

    stuckParts(record) {
        const parts = [storyFacts([["server", record.server.name], ["when", storyTime(record)],
            ["pid", `${record.pid}, generation ${record.generation}`]])];
        for (const thread of record.threads ?? []) {
            parts.push(make("h3", {text: `Thread ${thread.tid}${thread.role ? `, ${thread.role}` : ""}` +
                `${isKnown(thread.slot) ? `, slot ${thread.slot}` : ""}: ${thread.stuck ?? "moves"}`}));
            parts.push(storyFacts([["request", thread.request?.line], ["client", thread.request?.client],
                ["in the kernel", [thread.state, thread.wait_channel].filter(each => each).join(" ")]]));
            parts.push(...storyStack(thread));
        }
        return parts;
    }
}

function storyTime(incident) {
    return `${textClock(incident.t)} (${incident.time})`;
}

// Pairs without a value are left out.
function storyFacts(pairs) {
    const list = make("dl", {class: "facts"});
    for (const [name, value] of pairs) {
        if (value !== null && value !== undefined && value !== "") list.append(make("dt", {text: name}), make("dd", {text: value}));
    }
    return list;
}

function storyCost(death) {
    const parts = [["requests lost", `${textCount(death.requests_lost)}`],
        ["at its death", `${textCount(death.in_progress)} in progress, ${textCount(death.awaited)} awaited on open connections`],
        ["idle connections", death.left_to_successor ? `${textCount(death.idle_cut)} left` : `${textCount(death.idle_cut)} cut`],
        ["successor ready", isKnown(death.recovery_ms) ? `after ${textMillis(death.recovery_ms)}` : "not yet"]];
    const adoption = death.adoption;
    if (adoption) {
        parts.push(["adopted", `${textMany(adoption.connections, "connection")}, ${textCount(adoption.lost)} lost`]);
        const kinds = [["repeated", "repeated"], ["resumed", "resumed"], ["skipped", "already answered"],
            ["refused_500", "given up (500)"], ["refused_502", "given up (502)"]];
        const told = kinds.filter(([key]) => adoption[key] > 0).map(([key, word]) => `${textCount(adoption[key])} ${word}`);
        parts.push(["its requests", told.join(", ")]);
    }
    return storyFacts(parts);
}

function storyCrash(crash) {
    const thread = `${crash.tid}${isKnown(crash.slot) ? `, slot ${crash.slot}` : ""}`;
    const sender = crash.sender ? `sent by pid ${crash.sender.pid}, user ${crash.sender.uid}` : null;
    return [storyFacts([["signal", `${crash.signal} (${crash.code})`], ["sender", sender], ["address", crash.address],
        ["assertion", crash.assertion], ["overflow", crash.stack_overflow ? "of the stack" : null], ["thread", thread],
        ["request", crash.request?.line], ["client", crash.request?.client]]), ...storyStack(crash)];
}

function storyStack(story) {
    if (!story.frames?.length) return [];
    const list = make("ol", {class: "stack"});
    let last = -1;
    for (const frame of story.frames) {
        if (frame.frame > last + 1) list.append(make("li", {class: "left-out", text: `${frame.frame - last - 1} frames left out`}));
        last = frame.frame;
        const where = frame.file ? `${frame.file}${frame.line ? `:${frame.line}` : ""}`
            : [frame.module, frame.offset].filter(each => each).join(" + ");
        list.append(make("li", null, make("span", {class: "frame", text: `#${frame.frame}`}),
            make("b", {text: frame.function ?? "?"}), make("span", {class: "where", text: where})));
    }
    return [make("h3", {text: "Stack"}), list];
}

function storyRequests(requests) {
    if (!requests.length) return [];
    const list = make("ul", {class: "requests"});
    for (const request of requests) {
        list.append(make("li", null, make("code", {text: request.line}),
            make("span", {text: ` from ${request.client}, slot ${request.slot}`})));
    }
    return [make("h3", {text: requests.length === 1 ? "The request in progress" : "Requests in progress"}), list];
}
