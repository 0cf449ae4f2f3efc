// The page: which servers, live or from a recording, and when to draw.

const DRAW_MS = 100;
const CALM_DRAW_MS = 1000;
const FIGURES_MS = 500;
const LOOK_MS = 250;
const ANNOUNCE_MS = 2000;

class Page {
    constructor(source, recording, given) {
        this.source = source;
        this.servers = given.servers.map((each, index) => new Server(index, each));
        this.player = recording ? new Player(recording, this.servers) : null;
        this.skew_ms = null;
        this.is_paused = false;
        this.is_urgent = false;
        this.is_scheduled = false;
        this.drawn_ms = -Infinity;
        this.figured_ms = -Infinity;
        const token = this.player ? null : ordersToken();
        this.orders = token ? new Orders(token, (incident, opener) => this.story.open(incident, opener)) : null;
        this.streams = this.player ? null : this.servers.map(server => this.stream(server));
        this.recorders = this.servers.map(server => new Recorder(server, 1 / this.servers.length));
        this.build(given.presets ?? []);
    }

    // The time of the servers: theirs and the browser's clock may differ.
    now() {
        if (this.player) return this.player.t;
        return Date.now() - (this.skew_ms ?? 0);
    }

    stream(server) {
        return new Stream(server.base, (kind, data, text) => {
            this.noteTime(data.t ?? data.time_ms);
            server.receive(kind, data);
            this.recorders[server.index].note(kind, data, text);
            if (data.full) this.askState(server);
            if ((kind !== "tick" && kind !== "wrk") || server.has_news) this.is_urgent = true;
            server.has_news = false;
            this.schedule();
        });
    }

    // The least delay is the truest; it is forgotten slowly, in case a clock is set.
    noteTime(t) {
        if (!isKnown(t)) return;
        const delay_ms = Date.now() - t;
        if (this.skew_ms === null || delay_ms < this.skew_ms || delay_ms > this.skew_ms + 5000) this.skew_ms = delay_ms;
        else this.skew_ms += (delay_ms - this.skew_ms) * 0.001;
    }

    async askState(server) {
        try {
            server.receive("hello", await (await fetch(`${server.base}api/v1/state`, {cache: "no-store"})).json());
        } catch {
            // the stream will tell
        }
    }

    build(presets) {
        byId("live").hidden = false;
        this.charts = new Charts(this.servers);
        this.story = new Story(this.servers, this);
        const open = (incident, opener) => this.story.open(incident, opener);
        this.figures = new Figures(this.servers, this.streams, this.orders);
        this.list = new IncidentList(this.servers, open);
        this.lanes = this.servers.map(server => new Lane(server, this.charts, open));
        byId("lanes").append(...this.lanes.map(lane => lane.row));
        this.trees = this.servers.map(server => new Tree(server, this.orders, open));
        byId("trees").append(...this.trees.map(tree => tree.section));
        this.totals = new Totals(this.servers);
        this.announcer = new Announcer(this.servers);
        if (this.orders && presets.length) {
            byId("presets").append(...this.orders.presets(presets));
            byId("presets").hidden = false;
        }
        this.charts.build(this.now());
        this.buildTop();
    }

    buildTop() {
        for (const button of document.querySelectorAll("#range button")) {
            button.addEventListener("click", () => this.chooseRange(button));
        }
        byId("pause").addEventListener("click", () => this.player ? this.play(!this.player.is_playing) : this.pause(!this.is_paused));
        byId("save").addEventListener("click", () => recordingSave(recordingPage(this.source, this.servers, this.recorders)));
        byId("save").hidden = Boolean(this.player);
        matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
            this.charts.build(this.now());
            this.schedule(true);
        });
        document.addEventListener("visibilitychange", () => this.schedule(true));
        this.still = matchMedia("(prefers-reduced-motion: reduce)");
        if (this.player) this.buildReplay();
    }

    buildReplay() {
        const slider = byId("moment");
        byId("replay").hidden = false;
        slider.max = String(this.player.end_t - this.player.begin_t);
        slider.addEventListener("input", () => {
            this.player.seek(this.player.begin_t + Number(slider.value));
            this.is_urgent = true;
            this.schedule(true);
        });
        byId("speed").addEventListener("change", event => this.player.speed = Number(event.target.value));
        byId("made").textContent = `Recorded on ${new Date(this.player.begin_t).toISOString().slice(0, 10)}, ` +
            `${textAge(this.player.end_t - this.player.begin_t)}`;
    }

    chooseRange(chosen) {
        for (const button of document.querySelectorAll("#range button")) {
            putAttribute(button, "aria-pressed", String(button === chosen));
        }
        this.charts.range_ms = Number(chosen.value);
        this.schedule(true);
    }

    pause(is_paused) {
        this.is_paused = is_paused;
        byId("pause").textContent = is_paused ? "Go on" : "Pause";
        if (!is_paused) this.schedule(true);
    }

    play(is_playing) {
        if (is_playing && this.player.t >= this.player.end_t) this.player.seek(this.player.begin_t);
        this.player.turned_ms = performance.now();
        this.player.is_playing = is_playing;
        byId("pause").textContent = is_playing ? "Pause" : "Play";
        this.schedule(true);
    }

    start() {
        if (this.player) {
            this.player.seek(this.player.opening_t);
            this.play(!this.still.matches);
            setInterval(() => this.player.is_playing && this.schedule(), DRAW_MS);
        } else {
            for (const stream of this.streams) stream.open();
            setInterval(() => this.look(), LOOK_MS);
        }
        this.schedule(true);
    }

    look() {
        for (const stream of this.streams) stream.look();
        this.schedule();
    }

    // Draws soon, but not more often than is of use. Nothing is drawn that nobody sees.
    schedule(is_forced = false) {
        if (is_forced) this.is_forced = true;
        if (this.is_scheduled || document.hidden || (this.is_paused && !this.is_forced)) return;
        this.is_scheduled = true;
        const gap_ms = this.still?.matches && !this.is_urgent ? CALM_DRAW_MS : DRAW_MS;
        const wait_ms = this.is_forced ? 0 : Math.max(0, this.drawn_ms + gap_ms - performance.now());
        setTimeout(() => requestAnimationFrame(() => this.draw()), wait_ms);
    }

    draw() {
        if (this.is_paused && !this.is_forced) { // what was scheduled before is not drawn
            this.is_scheduled = false;
            return;
        }
        const now_ms = performance.now();
        const was_playing = this.player?.is_playing;
        this.player?.turn();
        const is_urgent = this.is_urgent || this.is_forced || was_playing !== this.player?.is_playing;
        this.is_scheduled = this.is_forced = this.is_urgent = false;
        this.drawn_ms = now_ms;
        const now = this.now();
        this.charts.draw(now);
        for (const lane of this.lanes) lane.draw(now);
        if (is_urgent || now_ms - this.figured_ms >= FIGURES_MS) {
            this.figured_ms = now_ms;
            this.drawRest(now);
        }
    }

    drawRest(now) {
        this.figures.draw(now);
        this.list.draw(now);
        for (const tree of this.trees) tree.draw(now);
        this.totals.draw();
        const has_control = this.servers.some(server => server.hello?.control);
        document.body.classList.toggle("no-control", !has_control || !this.orders);
        byId("no-token").hidden = !has_control || Boolean(this.orders) || Boolean(this.player);
        if (this.player) this.drawReplay(now);
    }

    drawReplay(now) {
        const slider = byId("moment");
        slider.value = String(now - this.player.begin_t);
        putAttribute(slider, "aria-valuetext", textClock(now));
        show(byId("moment-text"), textClock(now));
        if (!this.player.is_playing) show(byId("pause"), "Play");
    }
}

// Tells those who cannot see the page of deaths, not more often than one can listen.
class Announcer {
    constructor(servers) {
        this.waiting = [];
        for (const server of servers) {
            server.watch((incident, is_new) => {
                if (is_new && incident.t > server.began_t - 1000) this.waiting.push(incident);
            });
        }
        setInterval(() => this.tell(), ANNOUNCE_MS);
    }

    tell() {
        if (!this.waiting.length) return;
        const last = this.waiting.at(-1);
        const more = this.waiting.length > 1 ? `, and ${this.waiting.length - 1} more` : "";
        byId("announce").textContent = `${last.server.name}: ${incidentTitle(last)}, ${incidentCost(last)}${more}`;
        this.waiting = [];
    }
}

async function pageServers() {
    try {
        const answer = await fetch("servers.json", {cache: "no-store"});
        if (answer.ok) return await answer.json();
    } catch {
        // an observer by itself
    }
    return {servers: [{name: "", base: "", wrk: false}], presets: []};
}

async function pageMain() {
    const source = document.documentElement.outerHTML;
    const text = byId("recording").textContent.trim();
    const recording = text ? JSON.parse(text) : null;
    new Page(source, recording, recording ?? await pageServers()).start();
}

pageMain();
