// What the page knows of one server: told by its events, and nothing else.

const DEATHS_KEPT = 200;
const MARKS_KEPT = 2000;
const CLICK_PATIENCE_MS = 15000;
const GONE_MS = 10000;
const TRACE_SECONDS = 60;

// Finished requests of one thread: its rate over the last second, and a rate for each second of the last minute.
class Trace {
    constructor() {
        this.t = [];
        this.finished = [];
        this.seconds = new Float32Array(TRACE_SECONDS).fill(NaN);
        this.told = null;
    }

    add(t, finished) {
        if (finished < this.finished.at(-1) || t < this.t.at(-1)) this.t.length = this.finished.length = 0;
        this.t.push(t);
        this.finished.push(finished);
        while (this.t.length > 2 && this.t[1] <= t - 1000) {
            this.t.shift();
            this.finished.shift();
        }
    }

    get rate() {
        const last = this.t.length - 1;
        const passed_ms = last > 0 ? this.t[last] - this.t[0] : 0;
        return passed_ms >= 500 ? (this.finished[last] - this.finished[0]) * 1000 / passed_ms : this.told;
    }

    turnSecond() {
        this.seconds.copyWithin(0, 1);
        this.seconds[TRACE_SECONDS - 1] = this.rate ?? NaN;
    }
}

function addTraces(slots) {
    const sum = new Float32Array(TRACE_SECONDS).fill(NaN);
    for (const slot of slots) {
        slot.trace.seconds.forEach((rate, second) => {
            if (!Number.isNaN(rate)) sum[second] = (Number.isNaN(sum[second]) ? 0 : sum[second]) + rate;
        });
    }
    return sum;
}

function newSlot(number) {
    return {number, tid: null, role: null, state: "starting", stuck: null, heartbeat_age_ms: null, finished: 0,
        open: 0, busy: 0, p99_us: null, current: null, trace: new Trace()};
}

class Server {
    constructor(index, given) {
        this.index = index;
        this.given = given;
        this.base = given.base ? `${given.base}/` : "";
        this.watchers = new Set();
        this.reset();
    }

    // Everything but who it is: to play a recording from its beginning.
    reset() {
        this.facts = null;
        this.hello = null;
        this.master = null;
        this.totals = null;
        this.latency = null;
        this.stalls = null;
        this.observer = null;
        this.tick = null;
        this.wrk = null;
        this.slots = new Map();
        this.processes = [];
        this.gone = new Map();
        this.deaths = new Map();
        this.death_marks = [];
        this.stuck = new Map();
        this.history = new History();
        this.second = 0;
    }

    get name() {
        return this.given.name || this.facts?.name || "server";
    }

    get deaths_total() {
        return this.tick?.deaths ?? this.totals?.deaths ?? null;
    }

    get lost_total() {
        return this.tick?.lost ?? this.totals?.requests_lost ?? null;
    }

    receive(kind, data) {
        const taken = {hello: this.takeHello, tick: this.takeTick, processes: this.takeProcesses,
            death: this.takeDeath, stuck: this.takeStuck, recovered: this.takeRecovered, wrk: this.takeWrk}[kind];
        if (taken) taken.call(this, data);
    }

    takeHello(hello) {
        if (this.hello?.master.pid !== hello.master.pid) { // another server: its deaths are counted anew
            for (const old of [this.deaths, this.stuck, this.gone]) old.clear();
            this.death_marks = [];
            this.tick = null;
        }
        this.began_t ??= hello.time_ms;
        this.hello = hello;
        this.facts = hello.server;
        this.observer = hello.observer;
        this.history.interval_ms = hello.interval_ms ?? 100;
        this.takeNumbers(hello);
        this.takeProcessList(hello.processes, hello.time_ms);
        for (const process of hello.processes) {
            for (const told of process.slots) this.takeWholeSlot(told, hello.time_ms);
        }
        for (const death of hello.deaths) this.takeDeath(death);
        for (const stuck of hello.stuck_processes) this.takeStuck(stuck);
        const totals = hello.totals;
        this.history.add({t: hello.time_ms, finished: totals.requests_finished, lost: totals.requests_lost,
            aborted: totals.requests_aborted, deaths: totals.deaths, open: totals.connections_open});
    }

    takeNumbers(told) {
        this.master = told.master ?? this.master;
        this.totals = told.totals ?? this.totals;
        this.latency = told.latency ?? this.latency;
        this.stalls = told.stalls ?? this.stalls;
    }

    takeWholeSlot(told, t) {
        if (typeof told !== "object" || Array.isArray(told)) return;
        const slot = this.slot(told.slot);
        Object.assign(slot, {tid: told.tid, role: told.role, state: told.state, stuck: told.stuck,
            heartbeat_age_ms: told.heartbeat_age_ms, finished: told.requests_finished, open: told.connections_open,
            busy: told.connections_busy, p99_us: told.p99_us, current: told.current?.line ?? null});
        slot.trace.told = told.per_second ?? null;
        slot.trace.add(t, slot.finished);
    }

    slot(number) {
        if (!this.slots.has(number)) this.slots.set(number, newSlot(number));
        return this.slots.get(number);
    }

    takeTick(tick) {
        for (const told of tick.slots ?? []) {
            const slot = this.slot(told[0]);
            if (slot.state !== told[1] || slot.stuck !== told[2]) this.has_news = true;
            [, slot.state, slot.stuck, slot.heartbeat_age_ms, slot.finished, slot.open, slot.busy, slot.p99_us,
                slot.current] = told;
        }
        for (const slot of this.slots.values()) slot.trace.add(tick.t, slot.finished);
        this.turnSecond(tick.t);
        if (tick.only_slots) return; // of a recording
        this.tick = tick;
        this.history.add(tick);
    }

    turnSecond(t) {
        const second = Math.floor(t / 1000);
        if (second === this.second) return;
        this.second = second;
        for (const slot of this.slots.values()) slot.trace.turnSecond();
    }

    takeProcesses(told) {
        this.takeNumbers(told);
        this.takeProcessList(told.processes, told.t);
    }

    takeProcessList(told, t) {
        const before = this.processes;
        this.processes = told.map(process => this.describeProcess(process, before, t));
        this.processes.sort((a, b) => a.number - b.number || b.generation - a.generation);
        const serving = new Set(this.processes.map(process => process.number));
        for (const process of before) {
            if (!serving.has(process.number)) this.gone.set(process.number, {...process, gone_t: t});
        }
        for (const number of serving) this.gone.delete(number);
        const used = new Set(this.processes.flatMap(process => process.slots));
        for (const number of this.slots.keys()) if (!used.has(number)) this.slots.delete(number);
    }

    // What the kernel counts is told as totals; the page shows it for each second.
    describeProcess(told, before, t) {
        const slots = (told.slots ?? []).map(slot => this.noteSlot(slot));
        const same = before.find(process => process.pid === told.pid);
        const passed_s = same ? (t - same.t) / 1000 : 0;
        const perSecond = field => passed_s > 0.2 && isKnown(told[field]) && isKnown(same[field])
            ? Math.max(0, told[field] - same[field]) / passed_s : same?.[`${field}_rate`] ?? null;
        return {...told, slots, t: same && passed_s <= 0.2 ? same.t : t,
            switches_voluntary_rate: perSecond("switches_voluntary"),
            switches_involuntary_rate: perSecond("switches_involuntary")};
    }

    noteSlot(told) {
        const number = Array.isArray(told) ? told[0] : typeof told === "object" ? told.slot : told;
        const slot = this.slot(number);
        if (Array.isArray(told)) [, slot.tid, slot.role] = told;
        return number;
    }

    // Seats that nobody sits in for the moment: a process has died, its successor is not told of yet.
    emptySeats(t) {
        const wanted = this.master?.processes_wanted ?? 0;
        return [...this.gone.values()].filter(seat => seat.number < wanted && t - seat.gone_t < GONE_MS);
    }

    takeDeath(death) {
        const known = this.deaths.get(death.number);
        const t = Date.parse(death.time);
        this.deaths.set(death.number, {...death, t, kind: "death", server: this});
        if (!known) this.noteMark(death.number, t);
        while (this.deaths.size > DEATHS_KEPT) this.deaths.delete(this.deaths.keys().next().value);
        this.tellWatchers(this.deaths.get(death.number), !known);
    }

    noteMark(number, t) {
        this.death_marks.push({number, t});
        if (this.death_marks.length > MARKS_KEPT) this.death_marks.shift();
    }

    takeStuck(record) {
        const key = `${record.time}/${record.pid}`;
        const known = this.stuck.has(key);
        this.stuck.set(key, {...record, key, t: Date.parse(record.time), kind: "stuck", server: this});
        while (this.stuck.size > DEATHS_KEPT) this.stuck.delete(this.stuck.keys().next().value);
        this.tellWatchers(this.stuck.get(key), !known);
    }

    takeRecovered(told) {
        const death = this.deaths.get(told.number);
        if (!death) return;
        this.deaths.set(told.number, {...death, recovery_ms: told.recovery_ms});
        this.tellWatchers(this.deaths.get(told.number), false);
    }

    takeWrk(told) {
        this.wrk = told;
    }

    // Incidents, the newest first.
    incidents() {
        return [...this.deaths.values(), ...this.stuck.values()].sort((a, b) => b.t - a.t);
    }

    lastDeathOf(number) {
        let last = null;
        for (const death of this.deaths.values()) if (death.process === number) last = death;
        return last;
    }

    // Calls tell(incident, is_new) for each incident until the function that is returned is called.
    watch(tell) {
        this.watchers.add(tell);
        return () => this.watchers.delete(tell);
    }

    tellWatchers(incident, is_new) {
        for (const tell of [...this.watchers]) tell(incident, is_new);
    }
}

// One line for what an incident was and what it cost.
function incidentCause(incident) {
    if (incident.kind === "stuck") {
        const thread = incident.threads?.find(each => each.stuck);
        return thread ? thread.stuck : "stuck";
    }
    return incident.signal ?? `exit ${incident.exit_status}`;
}

function incidentCost(incident) {
    if (incident.kind === "stuck") {
        const request = incident.threads?.find(each => each.stuck && each.request)?.request;
        return request ? `in ${request.line}` : "no request";
    }
    const parts = [`${textCount(incident.requests_lost)} lost`];
    if (incident.adoption?.connections > 0) parts.push(`${textCount(incident.adoption.connections)} adopted`);
    parts.push(isKnown(incident.recovery_ms) ? `back after ${textMillis(incident.recovery_ms)}` : "not back yet");
    return parts.join(", ");
}
