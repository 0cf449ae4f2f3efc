// The ticks of the last ten minutes of one server, in rings: what the page keeps does not grow.

const HISTORY_MS = 600000;
const HISTORY_TICKS = 6400;
const HISTORY_TOTALS = ["finished", "lost", "aborted", "deaths"];
const HISTORY_FIELDS = [...HISTORY_TOTALS, "open", "busy", "p50_us", "p99_us", "p999_us", "stall_max_us"];

class History {
    constructor() {
        this.t = new Float64Array(HISTORY_TICKS);
        for (const field of HISTORY_FIELDS) {
            const Ring = HISTORY_TOTALS.includes(field) ? Float64Array : Float32Array;
            this[field] = new Ring(HISTORY_TICKS);
        }
        this.added = 0;
        this.interval_ms = 100;
    }

    get first() {
        return Math.max(0, this.added - HISTORY_TICKS);
    }

    get last_t() {
        return this.added > 0 ? this.t[(this.added - 1) % HISTORY_TICKS] : 0;
    }

    // A tick that came before (after a reconnection) is left out. What is a minute old is never told
    // again: the clock has been set back.
    add(tick) {
        if (tick.t < this.last_t - 6e4) this.added = 0;
        if (tick.t <= this.last_t) return;
        const at = this.added % HISTORY_TICKS;
        this.t[at] = tick.t;
        for (const field of HISTORY_FIELDS) this[field][at] = tick[field] ?? NaN;
        this.added++;
    }

    // The number of the first tick at or after t.
    find(t) {
        let low = this.first;
        let high = this.added;
        while (low < high) {
            const middle = (low + high) >> 1;
            if (this.t[middle % HISTORY_TICKS] < t) low = middle + 1;
            else high = middle;
        }
        return low;
    }

    // Two ticks further apart than this have a silence between them.
    get silence_ms() {
        return Math.max(350, this.interval_ms * 3.5);
    }

    // Requests finished a second between t - span_ms and t; null where nothing is known.
    rate(t, span_ms) {
        const end = this.find(t + 1) - 1;
        const begin = Math.max(this.first, this.find(t - span_ms) - 1);
        if (end <= begin || t - this.t[end % HISTORY_TICKS] > span_ms + this.silence_ms) return null;
        const from = begin % HISTORY_TICKS;
        const to = end % HISTORY_TICKS;
        const done = this.finished[to] - this.finished[from];
        const passed_ms = this.t[to] - this.t[from];
        return done >= 0 && passed_ms <= span_ms * 3 + this.silence_ms ? done * 1000 / passed_ms : null;
    }

    // Fills rate, p50 and p99 for `count` steps from t0 on. A step has the mean of its ticks, for p99 the worst.
    // A step without a tick of its own, in no silence, has what the next one has.
    sample(t0, step_ms, count, rate, p50, p99) {
        rate.fill(null);
        p50.fill(null);
        p99.fill(null);
        let done = 0, passed_ms = 0, sum = 0, known = 0, step = -1;
        for (let number = Math.max(this.first + 1, this.find(t0)); number < this.added; number++) {
            const at = number % HISTORY_TICKS;
            const before = (number - 1) % HISTORY_TICKS;
            const here = Math.floor((this.t[at] - t0) / step_ms);
            if (here >= count) break;
            const gap_ms = this.t[at] - this.t[before];
            const joined = gap_ms <= this.silence_ms && this.finished[at] >= this.finished[before];
            if (here !== step) {
                const from = joined && step >= 0 ? step + 1 : here;
                done = passed_ms = sum = known = 0;
                for (let fill = from; fill < here; fill++) {
                    rate[fill] = (this.finished[at] - this.finished[before]) * 1000 / gap_ms;
                    p50[fill] = isKnown(this.p50_us[at]) ? this.p50_us[at] : null;
                    p99[fill] = isKnown(this.p99_us[at]) ? this.p99_us[at] : null;
                }
                step = here;
            }
            if (joined) {
                done += this.finished[at] - this.finished[before];
                passed_ms += gap_ms;
                rate[here] = done * 1000 / passed_ms;
            }
            if (isKnown(this.p99_us[at])) {
                known++;
                sum += this.p50_us[at];
                p50[here] = Math.max(1, sum / known);
                p99[here] = Math.max(1, p99[here] ?? 0, this.p99_us[at]);
            }
        }
    }

    // As events again, for a recording.
    *ticks() {
        for (let number = this.first; number < this.added; number++) {
            const at = number % HISTORY_TICKS;
            const tick = {t: this.t[at]};
            for (const field of HISTORY_FIELDS) if (isKnown(this[field][at])) tick[field] = Math.round(this[field][at]);
            yield tick;
        }
    }
}
