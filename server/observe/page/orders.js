// Buttons: commands that the observer passes to the master, and what each click cost.

const SIGNALS = ("KILL SEGV ABRT BUS FPE ILL TERM INT QUIT STOP CONT HUP USR1 USR2 PIPE ALRM TRAP SYS STKFLT XCPU XFSZ " +
    "VTALRM PROF IO PWR TSTP TTIN TTOU CHLD URG WINCH").split(" ");
const FAULTS = [["/fault/segv", "crash: null pointer"], ["/fault/stack-overflow", "crash: stack overflow"],
    ["/fault/abort", "crash: abort()"], ["/fault/check", "crash: assertion"], ["/fault/fpe", "crash: division by zero"],
    ["/fault/bus", "crash: SIGBUS"], ["/fault/ill", "crash: SIGILL"], ["/fault/exit?status=3", "exit(3)"],
    ["/fault/hang", "hang: endless loop"], ["/fault/deadlock", "hang: deadlock"],
    ["/fault/segv-holding-lock", "crash while holding a lock"], ["/fault/leak?bytes=16777216", "leak 16 MiB"]];
const HARMLESS_FAULTS = ["/fault/leak?bytes=16777216"];
const ASKED = "asked\u2026";
const TOKEN_KEY = "twinhttpd-token";
const CONFIRM_MS = 4000;
const SAID_MS = 15000;

// The token comes in the fragment of the address, which browsers send to nobody. It is kept for this tab alone.
function ordersToken() {
    const match = /^#token=([\w.~-]+)$/.exec(location.hash);
    try {
        if (match) {
            sessionStorage.setItem(TOKEN_KEY, match[1]);
            history.replaceState(null, "", location.pathname + location.search);
        }
        return sessionStorage.getItem(TOKEN_KEY);
    } catch { // where storage is forbidden, for as long as the page is open
        return match?.[1] ?? null;
    }
}

async function ordersPost(path, token, body) {
    const answer = await fetch(path, {method: "POST", body: body ? JSON.stringify(body) : "", cache: "no-store", signal: AbortSignal.timeout(15e3),
        headers: {"Authorization": `Bearer ${token}`, "Content-Type": "application/json"}});
    const text = await answer.text();
    try {
        return JSON.parse(text);
    } catch {
        return answer.ok ? {ok: true} : {ok: false, error: text.trim().split("\n")[0] || `the answer is ${answer.status}`};
    }
}

// {"ok":true,"wanted":3} is "ok, wanted 3"
function ordersAnswer(answer) {
    if (!answer.ok) return answer.error ?? "refused";
    if (answer.message) return answer.message;
    const rest = Object.entries(answer).filter(([key, value]) => key !== "ok" && typeof value !== "object");
    return ["ok", ...rest.map(([key, value]) => `${key.replaceAll("_", " ")} ${value}`)].join(", ");
}

// Where a click's outcome is told: an output beside the button.
class Spot {
    constructor(output, open) {
        this.output = output;
        this.open = open;
    }

    say(text, is_bad = false) {
        this.output.replaceChildren(text);
        this.output.className = is_bad ? "said bad" : "said";
        clearTimeout(this.timer);
        if (text) this.timer = setTimeout(() => this.say(""), SAID_MS);
    }

    // The incident that the click has caused, as a button that opens its story. It stays.
    tell(incident) {
        const button = makeButton(`${incidentCause(incident)}: ${incidentCost(incident)}`,
            event => this.open(incident, event.currentTarget), {class: "link"});
        clearTimeout(this.timer);
        const had_focus = this.output.contains(document.activeElement);
        this.output.replaceChildren(button);
        this.output.className = "said fresh";
        if (had_focus) button.focus();
    }
}

class Orders {
    constructor(token, open) {
        this.token = token;
        this.open = open;
        this.signals = new Map();
    }

    // Sends a command; its outcome is what `is_mine` says yes to, or the master's answer if there is no is_mine.
    async send(server, command, spot, sent, is_mine) {
        let stop = () => {};
        if (is_mine) stop = this.follow(server, spot, is_mine);
        spot.say(sent);
        try {
            const answer = await ordersPost(`${server.base}api/v1/commands`, this.token, command);
            if (!answer.ok || !is_mine) spot.say(ordersAnswer(answer), !answer.ok);
            if (!answer.ok) stop();
        } catch {
            stop();
            spot.say("no answer: the observer cannot be reached", true);
        }
    }

    // Tells of the first incident that is_mine, and of what becomes of it. One that is late is no longer waited for.
    follow(server, spot, is_mine) {
        let mine = null;
        const unwatch = server.watch((incident, is_new) => {
            if (!mine && is_new && is_mine(incident)) mine = incidentKey(incident);
            if (mine === incidentKey(incident)) spot.tell(incident);
        });
        const stop = () => {
            unwatch();
            clearTimeout(timer);
        };
        const timer = setTimeout(() => {
            if (mine) return unwatch();
            stop();
            spot.say("nobody has died of it so far");
        }, CLICK_PATIENCE_MS);
        return stop;
    }

    signalOf(server) {
        return this.signals.get(server.index)?.value ?? "KILL";
    }

    kill(server, pid, spot) {
        const signal = this.signalOf(server);
        this.send(server, {command: "kill", pid, signal}, spot, `SIG${signal} sent\u2026`,
            incident => incident.kind === "death" && incident.pid === pid);
    }

    // Beside the figures: one of the processes, whichever has most to lose.
    killOne(server) {
        const spot = new Spot(make("output"), this.open);
        const busy = process => process.slots.reduce((sum, number) => sum + server.slot(number).open, 0);
        const click = () => {
            const ready = server.processes.filter(process => process.state === "ready").sort((a, b) => busy(b) - busy(a));
            if (ready.length) this.kill(server, ready[0].pid, spot);
            else spot.say("no process is ready", true);
        };
        const button = makeButton("Kill one", click, {class: "kill", title: "sends the signal to the process with most connections"});
        return make("div", {class: "acts"}, button, spot.output);
    }

    processButtons(server, row, output) {
        const spot = new Spot(output, this.open);
        spot.tell = () => spot.say(""); // the column itself shows it
        return [
            makeButton("Kill", () => this.kill(server, row.row.process.pid, spot), {class: "kill"}),
            makeButton("Recycle", () => this.send(server, {command: "recycle", number: row.row.process.number}, spot, ASKED),
                {title: "replace it without a gap"}),
        ];
    }

    toolbar(server) {
        const spot = new Spot(make("output"), this.open);
        const signals = make("select", {"aria-label": `Signal of the buttons that kill, ${server.name}`},
            ...SIGNALS.map(name => make("option", {value: name, text: `SIG${name}`})));
        this.signals.set(server.index, signals);
        const faults = make("select", {"aria-label": `Fault to ask ${server.name} for`},
            ...FAULTS.map(([path, label]) => make("option", {value: path, text: label})));
        const ask = (command, text) => makeButton(text, () => this.send(server, command, spot, ASKED));
        return make("div", {class: "toolbar acts", role: "group", "aria-label": `Commands to ${server.name}`},
            make("span", {class: "pair"}, make("label", null, "kill with ", signals)),
            make("span", {class: "pair faults"}, make("label", null, "fault ", faults), this.faultButton(server, faults, spot)),
            make("span", {class: "pair"}, ask({command: "add"}, "Add"), ask({command: "remove"}, "Remove"),
                ask({command: "recycle", number: "all"}, "Recycle all"), ask({command: "reload"}, "Reload"), this.drainButton(server, spot)),
            spot.output);
    }

    faultButton(server, faults, spot) {
        return makeButton("Do it", () => {
            const path = faults.value;
            const is_mine = HARMLESS_FAULTS.includes(path) ? null : () => true;
            if (server.facts?.faults === false) spot.say("this server was started without --faults on", true);
            else this.send(server, {command: "fault", path}, spot, `GET ${path}\u2026`, is_mine);
        }, {class: "kill"});
    }

    // Ends the server: it takes two clicks.
    drainButton(server, spot) {
        let timer = null;
        const calm = () => {
            clearTimeout(timer);
            timer = null;
            button.textContent = "Drain";
        };
        const button = makeButton("Drain", () => {
            if (timer) {
                calm();
                this.send(server, {command: "drain"}, spot, ASKED);
                return;
            }
            button.textContent = "Drain: end the server?";
            timer = setTimeout(calm, CONFIRM_MS);
        }, {title: "answers what is under way, then the server ends"});
        return button;
    }

    // What `lab live` can do to all servers at once.
    presets(list) {
        const spot = new Spot(make("output"), this.open);
        const run = async preset => {
            spot.say(ASKED);
            try {
                const answer = await ordersPost(`presets/${encodeURIComponent(preset.id)}`, this.token);
                spot.say(ordersAnswer(answer), !answer.ok);
            } catch {
                spot.say("no answer: the laboratory cannot be reached", true);
            }
        };
        return ["To all:", ...list.map(preset => makeButton(preset.label, () => run(preset))), spot.output];
    }
}
