// The events of one server. An EventSource reconnects by itself when its connection ends; it does not when it was
// refused, or when the other end has fallen silent: then this opens it anew.

const SILENT_MS = 2000;
const REOPEN_MS = 500;
const PATIENT_AFTER = 20;
const PATIENT_REOPEN_MS = 2000;
const EVENTS = ["hello", "tick", "processes", "death", "stuck", "recovered", "wrk"];

class Stream {
    // take(kind, data, text) is called for each event.
    constructor(base, take) {
        this.base = base;
        this.take = take;
        this.last_id = "";
        this.opened_ms = -Infinity;
        this.heard_ms = -Infinity;
        this.tries = 0;
        this.source = null;
    }

    open() {
        this.source?.close();
        const resume = this.last_id ? `?last=${encodeURIComponent(this.last_id)}` : "";
        this.source = new EventSource(`${this.base}events${resume}`);
        this.opened_ms = performance.now();
        this.tries++;
        for (const kind of EVENTS) this.source.addEventListener(kind, event => this.hear(kind, event));
    }

    hear(kind, event) {
        if (kind !== "wrk") { // the laboratory's word, which comes when the observer hangs, too
            this.heard_ms = performance.now();
            this.tries = 0;
        }
        if (event.lastEventId) this.last_id = event.lastEventId;
        this.take(kind, JSON.parse(event.data), event.data);
    }

    get silence_ms() {
        return performance.now() - this.heard_ms;
    }

    get is_live() {
        return this.silence_ms < SILENT_MS && this.source?.readyState === EventSource.OPEN;
    }

    // Called several times a second.
    look() {
        const since_open_ms = performance.now() - this.opened_ms;
        const refused = this.source?.readyState === EventSource.CLOSED;
        const silent = this.silence_ms > SILENT_MS && since_open_ms > SILENT_MS;
        const pause_ms = this.tries > PATIENT_AFTER ? PATIENT_REOPEN_MS : REOPEN_MS;
        if (!this.source || (refused && since_open_ms > pause_ms) || silent) this.open();
    }
}
