// Numbers as text, and elements of the page. What a server says is only ever set as text, never as HTML.

const NOTHING = "\u2013";

function isKnown(number) {
    return typeof number === "number" && !Number.isNaN(number);
}

function textCount(number) {
    return isKnown(number) ? String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, ",") : NOTHING;
}

function textRate(number) {
    return isKnown(number) && number > 0 && number < 10 ? number.toFixed(1) : textCount(number);
}

// Three digits, in the unit that suits: 412 µs, 1.32 ms, 12.3 ms, 2.10 s.
function textMicros(us) {
    if (!isKnown(us)) return NOTHING;
    if (us < 1000) return `${Math.round(us)} \u00b5s`;
    const [value, unit] = us < 999500 ? [us / 1000, "ms"] : [us / 1e6, "s"];
    return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${unit}`;
}

function textMillis(ms) {
    return isKnown(ms) ? textMicros(ms * 1000) : NOTHING;
}

// Of what was only measured in whole milliseconds.
function textWholeMillis(ms) {
    return isKnown(ms) && ms < 1000 ? `${Math.round(ms)} ms` : textAge(ms);
}

// How long something has lasted: 0.3 s, 42 s, 3 min, 5 h 12 min, 2 d 3 h.
function textAge(ms) {
    if (!isKnown(ms)) return NOTHING;
    const s = Math.max(0, ms) / 1000;
    if (s < 60) return `${s < 9.95 ? s.toFixed(1) : Math.round(s)} s`;
    const minutes = Math.floor(s / 60);
    if (minutes < 10) return `${minutes} min ${Math.floor(s % 60)} s`;
    if (minutes < 60) return `${minutes} min`;
    const hours = Math.floor(minutes / 60);
    return hours < 24 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function textBytes(bytes) {
    if (!isKnown(bytes)) return NOTHING;
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    while (bytes >= 1000 && unit < units.length - 1) {
        bytes /= 1024;
        unit++;
    }
    return `${unit === 0 || bytes >= 99.95 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
}

function textKib(kib) {
    return isKnown(kib) ? textBytes(kib * 1024) : NOTHING;
}

function textShare(share) {
    if (!isKnown(share)) return NOTHING;
    return `${share > 0 && share < 0.0995 ? (share * 100).toFixed(1) : Math.round(share * 100)} %`;
}

function textClock(t) {
    const time = new Date(t);
    return [time.getHours(), time.getMinutes(), time.getSeconds()].map(each => String(each).padStart(2, "0")).join(":");
}

function textMany(number, one, many = `${one}s`) {
    return `${textCount(number)} ${number === 1 ? one : many}`;
}

// An element: options are its class, its text, listeners ("onclick"...) and attributes.
function make(tag, options, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(options ?? {})) {
        if (value === null || value === undefined || value === false) continue;
        if (key === "text") node.textContent = value;
        else if (key === "class") node.className = value;
        else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
        else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter(each => each !== null && each !== undefined));
    return node;
}

function makeButton(text, onclick, options) {
    return make("button", {type: "button", text, onclick, ...options});
}

// The line that stands for a server in the charts.
function makeLine(server) {
    return make("i", {class: `line s${server.index}`, "aria-hidden": "true"});
}

function byId(id) {
    return document.getElementById(id);
}

// Most of what is drawn ten times a second is as it was: the page is touched only where it changes.
function show(node, text) {
    if (node.shown !== text) {
        node.shown = text;
        node.textContent = text;
    }
}

function putAttribute(node, name, value) {
    if (value === null) node.removeAttribute(name);
    else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// Makes children of parent as many as there are items, the same node for the same key; draw(node, item) fills them.
function keep(parent, items, keyOf, build, draw) {
    const nodes = parent.kept ??= new Map();
    const wanted = new Set(items.map(keyOf));
    for (const [key, node] of nodes) {
        if (!wanted.has(key)) {
            node.remove();
            nodes.delete(key);
        }
    }
    let before = parent.firstChild;
    for (const item of items) {
        const key = keyOf(item);
        let node = nodes.get(key);
        if (!node) {
            node = build(item);
            nodes.set(key, node);
        }
        if (node !== before) parent.insertBefore(node, before);
        else before = before.nextSibling;
        draw(node, item);
    }
}
