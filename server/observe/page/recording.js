// A recording is the page with its events inside. A live page keeps what it needs to make one; a page that has one
// plays it.

const RECORDED_CHARACTERS = 1600000;
const SNAPSHOT_MS = 1000;
const DEATHS_BEFORE = 50;

// Of one server, for the last ten minutes: what the rings do not have. Each second the processes and the slots.
class Recorder {
    constructor(server, share) {
        this.server = server;
        this.room = RECORDED_CHARACTERS * share;
        this.snapshots = [];
        this.characters = 0;
        this.slots_t = 0;
    }

    note(kind, data, text) {
        if (kind === "processes") this.keep(data.t, kind, text);
        else if (kind === "wrk") this.keep(data.t, kind, text);
        else if (kind === "tick" && data.t - this.slots_t >= SNAPSHOT_MS) this.noteSlots(data);
    }

    noteSlots(tick) {
        this.slots_t = tick.t;
        const slots = [...this.server.slots.values()].map(slot => [slot.number, slot.state, slot.stuck,
            slot.heartbeat_age_ms, slot.finished, slot.open, slot.busy, slot.p99_us, slot.current]);
        this.keep(tick.t, "slots", JSON.stringify(slots));
    }

    keep(t, kind, text) {
        this.snapshots.push({t, kind, text});
        this.characters += text.length;
        while (this.snapshots[0].t < t - HISTORY_MS) this.characters -= this.snapshots.shift().text.length;
        if (this.characters > this.room) this.thin();
    }

    // Every second snapshot of each kind goes.
    thin() {
        const seen = {};
        this.snapshots = this.snapshots.filter(each => (seen[each.kind] = (seen[each.kind] ?? 0) + 1) % 2 === 0);
        this.characters = this.snapshots.reduce((sum, each) => sum + each.text.length, 0);
    }

    // [t, index, kind, data]... of this server, in the order of time.
    events() {
        const ticks = [...this.server.history.ticks()];
        const begin_t = ticks[0]?.t ?? Date.now();
        const events = [[begin_t, this.server.index, "hello", this.hello(begin_t)]];
        for (const tick of ticks) events.push([tick.t, this.server.index, "tick", tick]);
        for (const each of this.snapshots) {
            const data = JSON.parse(each.text);
            if (each.kind === "slots") events.push([each.t, this.server.index, "tick", {t: each.t, only_slots: true, slots: data}]);
            else events.push([each.t, this.server.index, each.kind, data]);
        }
        for (const incident of this.server.incidents()) {
            const {server, kind, key, t, ...record} = incident;
            if (t >= begin_t) events.push([t, this.server.index, kind, record]);
        }
        return events;
    }

    // The server as it was first, as far as that is known: counters as of the first tick.
    hello(begin_t) {
        const hello = this.server.hello;
        const before = record => Date.parse(record.time) < begin_t;
        return {...hello, time_ms: begin_t, uptime_ms: Math.max(0, hello.uptime_ms - (hello.time_ms - begin_t)),
            control: false, deaths: [...this.server.deaths.values()].filter(before).slice(-DEATHS_BEFORE)
                .map(({server, kind, t, ...record}) => record),
            stuck_processes: []};
    }
}

// The whole page as text, with the recording in its place. `source` is the page as it came.
function recordingPage(source, servers, recorders) {
    const events = recorders.flatMap(recorder => recorder.server.hello ? recorder.events() : []);
    events.sort((a, b) => a[0] - b[0]);
    const recording = {recording: 1, made_ms: Date.now(), servers: servers.map(server => ({...server.given, name: server.name})),
        events};
    const place = "<" + "script type=\"application/json\" id=\"recording\">";
    const json = JSON.stringify(recording).replaceAll("<", "\\u003c");
    const without = source.replace(/<noscript>[^]*?<\/noscript>/, "<noscript><p>A recording needs JavaScript to play.</p></noscript>");
    return `<!doctype html>\n${without}\n`.replace(place, () => place + json);
}

function recordingSave(text) {
    const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "");
    const link = make("a", {href: URL.createObjectURL(new Blob([text], {type: "text/html"})),
        download: `twinhttpd-${stamp}.html`});
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Plays a recording into servers. `t` is the time that is shown.
class Player {
    constructor(recording, servers) {
        this.events = recording.events;
        this.servers = servers;
        this.begin_t = this.events[0]?.[0] ?? 0;
        this.end_t = this.events[this.events.length - 1]?.[0] ?? 0;
        this.next = 0;
        this.t = this.begin_t;
        this.speed = 1;
        this.is_playing = false;
        this.turned_ms = 0;
    }

    // Where it is worth to begin: shortly before the first death, with something to see on the time line.
    get opening_t() {
        const first = this.events.find(event => event[2] === "death" || event[2] === "stuck");
        const filled_t = Math.min(this.begin_t + 20000, this.end_t);
        return first ? Math.max(Math.min(first[0] - 4000, this.end_t), this.begin_t) : filled_t;
    }

    seek(t) {
        t = Math.min(Math.max(t, this.begin_t), this.end_t);
        if (t < this.t) {
            for (const server of this.servers) server.reset();
            this.next = 0;
        }
        this.t = t;
        for (; this.next < this.events.length && this.events[this.next][0] <= t; this.next++) {
            const [, index, kind, data] = this.events[this.next];
            this.servers[index]?.receive(kind, data);
        }
        if (t >= this.end_t) this.is_playing = false;
    }

    // Called at each drawing: goes on by the time that has passed.
    turn() {
        const now_ms = performance.now();
        if (this.is_playing) this.seek(this.t + (now_ms - this.turned_ms) * this.speed);
        this.turned_ms = now_ms;
    }
}
