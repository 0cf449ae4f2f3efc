// All counters, as tables with a column for each server, and what requests and event loops took.

const TOTALS = [
    ["Requests", [["requests_started", "started"], ["requests_finished", "finished"], ["requests_aborted", "aborted by clients"],
        ["requests_lost", "lost by deaths"], ["in_progress_lost", "lost in progress"], ["requests_handled", "handlers run"],
        ["bytes_sent", "sent", textBytes]]],
    ["Connections", [["connections_accepted", "accepted"], ["connections_adopted", "handed over"],
        ["connections_refused", "refused"], ["connections_open", "open"], ["connections_idle", "idle"]]],
    ["Incidents", [["deaths", "deaths"], ["stuck_incidents", "threads found stuck"], ["faults_recovered", "faults outlived"]]],
    ["Adoption", [["connections", "connections"], ["lost", "lost"], ["repeated", "requests repeated"], ["resumed", "answers resumed"],
        ["skipped", "already answered"], ["refused_500", "given up with 500"], ["refused_502", "given up with 502"]], "adoption"],
];
const CLIENT_ROWS = [["errors", "wrk\u2019s errors"], ["cut", "of them, connections that broke"], ["requests", "wrk\u2019s requests"],
    ["connections", "wrk\u2019s connections"]];
const WINDOWS = ["1s", "10s", "60s"];
const WINDOW_COLUMNS = [["per_second", "per s", textRate], ["mean_us", "mean", textMicros], ["p50_us", "p50", textMicros],
    ["p90_us", "p90", textMicros], ["p99_us", "p99", textMicros], ["p999_us", "p99.9", textMicros], ["max_us", "longest", textMicros]];

class Totals {
    constructor(servers) {
        this.servers = servers;
        this.cells = []; // [cell, text of it]
        const place = byId("totals");
        for (const [title, rows, group] of TOTALS) {
            place.append(this.table(title, rows, server => group ? server.totals?.[group] : server.totals));
        }
        if (servers.some(server => server.given.wrk)) place.append(this.table("Clients", CLIENT_ROWS, server => server.wrk));
        byId("windows").append(this.windowTable("Requests", server => server.latency),
            this.windowTable("Turns of event loops", server => server.stalls));
    }

    head(first, names) {
        return make("thead", null, make("tr", null, make("th", {scope: "col", text: first}), ...names));
    }

    table(title, rows, source) {
        const names = this.servers.map(server => make("th", {scope: "col", class: `s${server.index}`,
            text: this.servers.length > 1 ? server.name : "total"}));
        const body = make("tbody");
        for (const [field, label, text = textCount] of rows) {
            const line = make("tr", null, make("th", {scope: "row", text: label}));
            for (const server of this.servers) line.append(this.cell(() => text(source(server)?.[field])));
            body.append(line);
        }
        return make("table", null, this.head(title, names), body);
    }

    windowTable(title, source) {
        const names = WINDOW_COLUMNS.map(([, label]) => make("th", {scope: "col", text: label}));
        const body = make("tbody");
        for (const server of this.servers) {
            for (const window of WINDOWS) {
                const name = this.servers.length > 1 ? `${server.name}, ` : "";
                const line = make("tr", {class: `s${server.index}`},
                    make("th", {scope: "row", text: `${name}last ${parseInt(window, 10)} s`}));
                for (const [field, , text] of WINDOW_COLUMNS) line.append(this.cell(() => text(source(server)?.[window]?.[field])));
                body.append(line);
            }
        }
        return make("table", null, this.head(title, names), body);
    }

    cell(text) {
        const cell = make("td");
        this.cells.push([cell, text]);
        return cell;
    }

    draw() {
        for (const [cell, text] of this.cells) show(cell, text());
    }
}
