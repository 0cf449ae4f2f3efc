// Two charts over one time: requests a second and latency, all servers on the same axes, deaths as marks on both.

const CHART_STEPS = 600;
const AXIS_WIDTH = 58;

// The smallest of 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15... that is not below the value: an axis that seldom jumps.
function niceCeiling(value) {
    const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
    const step = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find(each => each * power >= value * 0.9999);
    return step * power;
}

function rateRange(u, low, high) {
    return [0, niceCeiling(Math.max(10, (high ?? 0) * 1.04))];
}

// Whole decades, two at least.
function latencyRange(u, low, high) {
    const from = Math.floor(Math.log10(Math.max(1, low ?? 100)));
    const to = Math.max(from + 2, Math.ceil(Math.log10(Math.max(1, high ?? 10000) * 1.02)));
    return [10 ** from, 10 ** to];
}

// Of what is drawn in, without asking the browser, which would have to lay out the page.
function chartWidth(u) {
    return u.bbox.width / devicePixelRatio;
}

// Of the times below a chart, those for whose text there is room.
function axisClear(u, splits) {
    return splits.map(t => u.valToPos(t, "x") > 20 && u.valToPos(t, "x") < chartWidth(u) - 26 ? t : null);
}

function axisMicros(us) {
    return us < 1000 ? `${us} \u00b5s` : us < 1e6 ? `${us / 1000} ms` : `${us / 1e6} s`;
}

// Of the splits of a logarithmic axis, those that are powers of ten.
function axisDecades(u, splits) {
    return splits.map(us => Math.abs(Math.log10(us) - Math.round(Math.log10(us))) < 1e-6 ? us : null);
}

function axisRate(rate, splits) {
    const most = splits.at(-1);
    if (most < 10000 || !rate) return textCount(rate);
    return most < 1e6 ? `${rate / 1000} k` : `${rate / 1e6} M`;
}

function axisColours() {
    const style = getComputedStyle(document.documentElement);
    const colour = name => style.getPropertyValue(name).trim();
    return {text: colour("--muted"), grid: colour("--grid"), bad: colour("--bad"),
        servers: [0, 1, 2, 3, 4, 5].map(index => colour(`--s${index}`))};
}

// The arrays that all draw from, filled anew at each drawing.
class ChartData {
    constructor(servers) {
        const steps = () => new Array(CHART_STEPS + 1).fill(null);
        this.servers = servers;
        this.x = steps();
        this.of = servers.map(() => ({rate: steps(), p50: steps(), p99: steps()}));
        this.rates = [this.x, ...this.of.map(each => each.rate)];
        this.latencies = [this.x, ...this.of.flatMap(each => [each.p50, each.p99])];
    }

    fill(now, range_ms) {
        const step_ms = range_ms / CHART_STEPS;
        const t0 = (Math.floor(now / step_ms) - CHART_STEPS) * step_ms;
        for (let step = 0; step <= CHART_STEPS; step++) this.x[step] = t0 + (step + 1) * step_ms;
        this.servers.forEach((server, index) => {
            const {rate, p50, p99} = this.of[index];
            server.history.sample(t0, step_ms, CHART_STEPS + 1, rate, p50, p99);
        });
    }
}

class Chart {
    // series: of uPlot, {server, thin, fill}, as many for each server; the legend has their values, one entry a server.
    constructor(name, servers, series, look) {
        this.place = byId(`${name}-chart`);
        this.servers = servers;
        this.series = series;
        this.look = look;
        this.entries = servers.map(server => {
            const value = make("b");
            byId(`${name}-legend`).append(make("li", null, makeLine(server), servers.length > 1 ? ` ${server.name} ` : " ", value));
            return value;
        });
    }

    // Made anew when colours change.
    build(data, colours, marks) {
        this.plot?.destroy();
        const line = ({server, thin, fill}) => ({stroke: colours.servers[server.index % 6], width: thin ? 1 : 1.5,
            points: {show: false}, alpha: thin ? 0.6 : 1,
            fill: fill ? `${colours.servers[server.index % 6]}14` : undefined});
        const {filter, label, height, range, scale, space = 30, times} = this.look;
        const axis = {stroke: colours.text, font: "11px system-ui, sans-serif", ticks: {show: false}};
        const grid = {stroke: colours.grid, width: 1};
        this.plot = new uPlot({
            width: Math.max(200, this.place.clientWidth), height,
            legend: {show: false}, ms: 1, padding: [8, 0, 0, 0],
            cursor: {sync: {key: "time"}, drag: {x: false, y: false}, points: {size: 5}, y: false},
            scales: {x: {time: true, auto: false}, y: {range, ...scale}},
            axes: [{...axis, grid, size: times ? 22 : 6, gap: 4, space: 90, filter: axisClear,
                values: (u, splits) => splits.map(t => times && isKnown(t) ? textClock(t) : "")},
            {...axis, grid: {...grid, filter}, size: AXIS_WIDTH, gap: 6, space, filter, values: (u, splits) => splits.map(split => label(split, splits))}],
            series: [{}, ...this.series.map(line)],
            hooks: {drawClear: [plot => marks.draw(plot)]},
        }, data, this.place);
        putAttribute(this.plot.root.querySelector("canvas"), "aria-hidden", "true");
    }

    draw(data, now, range_ms) {
        this.plot.batch(() => {
            this.plot.setData(data, false);
            this.plot.setScale("x", {min: now - range_ms, max: now});
        });
        this.showValues(data);
    }

    // At the cursor, or the last ones.
    showValues(data) {
        const at = this.plot.cursor.idx;
        const text = values => this.look.text(isKnown(at) ? values[at] : values.findLast(value => value !== null));
        const each = this.series.length / this.servers.length;
        this.entries.forEach((entry, index) => show(entry, data.slice(1 + index * each, 1 + index * each + each).map(text).join(" / ")));
    }

    resize() {
        const width = Math.max(200, this.place.clientWidth);
        if (width !== this.plot.width) this.plot.setSize({width, height: this.look.height});
    }
}

// Deaths on the canvas of a chart: a line at the death, a shadow until the successor was ready.
class Marks {
    constructor(servers) {
        this.servers = servers;
        this.colours = null;
    }

    draw(plot) {
        const {ctx, bbox} = plot;
        ctx.save();
        ctx.beginPath();
        ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
        ctx.clip();
        for (const server of this.servers) this.drawServer(plot, server);
        ctx.restore();
    }

    drawServer(plot, server) {
        const {ctx, bbox} = plot;
        const {min, max} = plot.scales.x;
        const colour = this.servers.length > 1 ? this.colours.servers[server.index % 6] : this.colours.bad;
        let last = -Infinity;
        for (const {number, t} of server.death_marks) {
            if (t < min || t > max) continue;
            const x = Math.round(plot.valToPos(t, "x", true));
            if (x - last < 3) continue;
            last = x;
            const back_ms = server.deaths.get(number)?.recovery_ms ?? 0;
            const back_x = plot.valToPos(t + back_ms, "x", true);
            ctx.globalAlpha = 0.12;
            ctx.fillStyle = colour;
            if (back_x - x > 2) ctx.fillRect(x, bbox.top, back_x - x, bbox.height);
            ctx.globalAlpha = 0.5;
            ctx.fillRect(x, bbox.top, Math.max(1, devicePixelRatio), bbox.height);
        }
    }
}

class Charts {
    constructor(servers) {
        this.servers = servers;
        this.range_ms = 60000;
        this.data = new ChartData(servers);
        this.marks = new Marks(servers);
        this.rate = new Chart("rate", servers, servers.map(server => ({server, fill: servers.length === 1})),
            {height: 136, range: rateRange, text: textRate, label: axisRate, filter: (u, splits) => splits});
        this.latency = new Chart("latency", servers, servers.flatMap(server => [{server, thin: true}, {server}]),
            {height: 165, range: latencyRange, text: textMicros, scale: {distr: 3}, space: 16, filter: axisDecades, times: true,
                label: us => us && axisMicros(us)});
        new ResizeObserver(() => this.resize()).observe(byId("rate-chart"));
    }

    get all() {
        return [this.rate, this.latency];
    }

    // At the start, and when the colours of the page have changed.
    build(now) {
        this.marks.colours = axisColours();
        this.data.fill(now, this.range_ms);
        this.rate.build(this.data.rates, this.marks.colours, this.marks);
        this.latency.build(this.data.latencies, this.marks.colours, this.marks);
    }

    resize() {
        for (const chart of this.all) chart.resize();
    }

    draw(now) {
        this.data.fill(now, this.range_ms);
        this.rate.draw(this.data.rates, now, this.range_ms);
        this.latency.draw(this.data.latencies, now, this.range_ms);
    }

    // Where t is, in pixels from the left of the charts.
    position(t, now) {
        return AXIS_WIDTH + chartWidth(this.rate.plot) * (1 - (now - t) / this.range_ms);
    }
}
