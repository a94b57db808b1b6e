"use strict";
// Sorts, filters and pages the table, and selects a part of the timeline. All text goes through
// textContent, so that no text becomes markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const head = data.head;
  const PAGE = 50;
  const PRINTED = 1000;
  const SVG = "http://www.w3.org/2000/svg";
  const keyCount = head.keys.length;
  const COUNT = keyCount;
  const byId = (id) => document.getElementById(id);
  const element = (name, className, text) => {
    const e = document.createElement(name);
    if (className) e.className = className;
    if (text !== undefined) e.textContent = text;
    return e;
  };
  const grouped = (n) => n.toLocaleString("en-US");
  const plural = (n, one, many) => `${grouped(n)} ${n === 1 ? one : many}`;

  // Times: microseconds after the first one.
  const time = (t) => {
    if (t === null) return "";
    if (typeof t === "string") return t;
    const us = head.base + t;
    if (!head.isClock) return `${us < 0 ? "-" : "+"}${Math.abs(us / 1e6).toFixed(1)}s`;
    let offset = 0;
    for (const [from, seconds] of head.offsets) if (from <= us || offset === 0) offset = seconds;
    const date = new Date(us / 1000 + offset * 1000);
    if (isNaN(date)) return "";
    const text = date.toISOString();
    const [day, clock] = [text.slice(0, -14), text.slice(-13)];
    if (head.detail === "time") return clock.slice(0, 8);
    return head.detail === "date" ? day : `${day.slice(-5)} ${clock.slice(0, 5)}`;
  };

  // Addresses in the order of their numbers, IPv4 first: a text that sorts in that order.
  const hex = (n, width) => n.toString(16).padStart(width, "0");
  const address = (text) => {
    const v4 = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
    if (v4) return "4" + v4.slice(1).map((n) => hex(+n, 2)).join("");
    if (!/^[0-9a-f:]*:[0-9a-f:.]*$/i.test(text)) return null;
    const tail = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
    const plain = tail
      ? text.slice(0, tail.index) + hex(+tail[1] * 256 + +tail[2], 1) + ":" + hex(+tail[3] * 256 + +tail[4], 1)
      : text;
    const [left, right] = plain.split("::").map((part) => (part ? part.split(":") : []));
    const groups = right ? [...left, ...Array(Math.max(0, 8 - left.length - right.length)).fill("0"), ...right] : left;
    return groups.length === 8 ? "6" + groups.map((g) => g.padStart(4, "0")).join("").toLowerCase() : null;
  };
  const parts = (text) => {
    const local = /^\[?([^\]]*?)\]?:(\d+)$/.exec(text);
    const net = /^(.*)\/(\d+)$/.exec(text);
    if (net) return [address(net[1]), +net[2]];
    if (address(text)) return [address(text), 0];
    if (local) return [address(local[1]), +local[2]];
    return [null, 0];
  };
  const order = (value, column) => {
    if (value === null) return column < keyCount ? "~" : -Infinity;
    if (Array.isArray(value)) return value[0] === null ? -Infinity : value[0];
    if (typeof value === "number") return value;
    const names = head.keys[column];
    if (names) return names.indexOf(value);
    const [number, rest] = parts(value);
    return number ? `${number} ${hex(rest, 6)}` : `t${value}`;
  };
  const compare = (a, b) => {
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a < b ? -1 : a > b ? 1 : 0;
  };

  // A filter: words that a row contains, or networks that one of its addresses is in.
  const inNetwork = (network) => {
    const [number, length] = parts(network);
    if (!number || !network.includes("/")) return null;
    const digits = Math.min(Math.floor(length / 4), number.length - 1);
    const bits = length - 4 * digits;
    const high = (digit) => (bits > 0 && digit !== undefined ? parseInt(digit, 16) >> (4 - bits) : 0);
    const prefix = number.slice(0, 1 + digits);
    return (text) => {
      const [own, ownLength] = parts(text);
      const longEnough = !text.includes("/") || ownLength >= length;
      return own !== null && longEnough && own.startsWith(prefix)
        && (bits <= 0 || high(own[1 + digits]) === high(number[1 + digits]));
    };
  };
  const matcher = (text) => {
    const words = text.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const tests = words.map((word) => inNetwork(word) || ((value) => value.toLowerCase().includes(word)));
    return (row) => tests.every((test) => row.slice(0, keyCount).some((v) => test(v === null ? "unknown" : String(v))));
  };

  // What is shown.
  const state = { column: null, ascending: false, page: 0, range: null, limit: PAGE };
  const tools = byId("tools");
  const body = document.querySelector("#rows tbody");
  const headings = [...document.querySelectorAll("#rows thead th")];
  const filter = byId("filter");
  const seriesOf = new Map(head.series.map((name, i) => [name, i]));
  const rowName = (row) => row.slice(0, keyCount).map((v) => (v === null ? "unknown" : v)).join(" ");
  let counts = null;
  let rows = [];

  const bar = (share) => {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "bar");
    const rect = document.createElementNS(SVG, "rect");
    rect.setAttribute("width", `${share}%`);
    rect.setAttribute("height", "100%");
    svg.append(rect);
    return svg;
  };
  const line = (index, total, most) => {
    const row = data.rows[index];
    const tr = element("tr");
    for (let k = 0; k < keyCount; k += 1) {
      const td = element("td", "key");
      const series = k === 0 ? seriesOf.get(rowName(row)) : undefined;
      if (series !== undefined) td.append(element("i", `s${series}`));
      td.append(row[k] === null ? "unknown" : String(row[k]));
      tr.append(td);
    }
    const count = counts ? counts.get(index) || 0 : row[COUNT];
    const share = (count * 100) / Math.max(total, 1);
    const cell = element("td", "n share");
    cell.append(bar(((count * 100) / most).toFixed(2)), element("span", "", `${share.toFixed(1)}%`));
    tr.append(element("td", "n", String(count)), cell);
    tr.append(element("td", "n time", time(row[COUNT + 1])), element("td", "n time", time(row[COUNT + 2])));
    for (let s = 0; s < head.statistics; s += 1) tr.append(element("td", "n", row[COUNT + 3 + s][1]));
    return tr;
  };
  const rangeTotal = () => {
    if (!state.range) return head.total;
    const [from, to] = state.range;
    return head.bars.slice(from, to + 1).reduce((sum, b) => sum + b.total, 0);
  };
  const draw = () => {
    const total = rangeTotal();
    const from = state.page * state.limit;
    const page = rows.slice(from, from + state.limit);
    const most = counts ? [...counts.values()].reduce((a, b) => Math.max(a, b), 1) : head.most;
    body.replaceChildren(...page.map((index) => line(index, total, most)));
    const pages = byId("pages");
    pages.hidden = rows.length <= state.limit;
    const last = Math.ceil(rows.length / state.limit) - 1;
    const step = (text, page, enabled) => {
      const button = element("button", "", text);
      button.disabled = !enabled;
      button.addEventListener("click", () => { state.page = page; draw(); });
      return button;
    };
    pages.replaceChildren(
      element("span", "", `${grouped(from + 1)} to ${grouped(from + page.length)} of ${grouped(rows.length)}`),
      step("First", 0, state.page > 0), step("Previous", state.page - 1, state.page > 0),
      step("Next", state.page + 1, state.page < last), step("Last", last, state.page < last));
  };
  // The value of a column in the data: a share is sorted as its count.
  const place = (column) => (column <= COUNT ? column : column - 1);
  const select = () => {
    const matches = matcher(filter.value);
    const inRange = (index) => !counts || counts.has(index);
    rows = data.rows.map((_, index) => index).filter((index) => inRange(index) && matches(data.rows[index]));
    const column = state.column === null && counts ? COUNT : state.column;
    if (column !== null) {
      const at = place(column);
      const value = (index) => (at === COUNT && counts ? counts.get(index) : order(data.rows[index][at], at));
      const sign = state.column === null || !state.ascending ? -1 : 1;
      const values = new Map(rows.map((index) => [index, value(index)]));
      rows.sort((a, b) => sign * compare(values.get(a), values.get(b)) || a - b);
    }
    const sum = rows.reduce((n, index) => n + (counts ? counts.get(index) : data.rows[index][COUNT]), 0);
    const filtered = filter.value.trim() !== "";
    byId("found").textContent = filtered || counts
      ? `${plural(rows.length, "row", "rows")}, ${plural(sum, "connection", "connections")}` : plural(rows.length, "row", "rows");
    const others = byId("others");
    if (others) others.hidden = filtered || Boolean(counts);
    state.page = 0;
    draw();
  };

  headings.forEach((th, column) => {
    const button = element("button", "", th.textContent);
    th.replaceChildren(button);
    button.addEventListener("click", () => {
      const first = column < keyCount || place(column) === COUNT + 1;
      state.ascending = state.column === column ? !state.ascending : first;
      state.column = column;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", state.ascending ? "ascending" : "descending");
      select();
    });
  });
  filter.addEventListener("input", select);
  tools.hidden = false;

  // The timeline.
  const chart = byId("chart");
  const bars = document.querySelector("#chart .bars");
  const tip = element("div");
  tip.id = "tip";
  tip.hidden = true;
  chart.append(tip);
  const rect = (className) => {
    const r = document.createElementNS(SVG, "rect");
    r.setAttribute("class", className);
    r.setAttribute("height", "100%");
    r.setAttribute("width", "0");
    return r;
  };
  const span = (r, x, width) => {
    r.setAttribute("x", String(x));
    r.setAttribute("width", String(Math.max(0, width)));
  };
  const showRange = () => {
    const range = byId("range");
    range.hidden = false;
    if (!state.range) {
      range.textContent = "Drag over the timeline to count a part of it. Keys: arrows, Shift with arrows, Escape.";
      return;
    }
    const [from, to] = state.range;
    const title = (i) => head.bars[i].title;
    const begin = title(from).split(" to ")[0];
    const end = title(to).split(" to ").slice(1).join(" to ").replace(/: [^:]*$/, "");
    range.replaceChildren(`${begin} to ${end}: ${plural(rangeTotal(), "connection", "connections")}.`);
    if (!data.counts) range.append(" The table shows the whole time: this report has too many rows to count them in parts.");
    const reset = element("button", "", "Show all");
    reset.addEventListener("click", () => brush(null));
    range.append(reset);
  };
  let brush = () => {};
  if (bars && head.bars.length > 0) {
    const [left, right, cursor] = [rect("out"), rect("out"), rect("cursor")];
    bars.append(left, right, cursor);
    bars.querySelectorAll("title").forEach((title) => title.remove());
    const n = head.bars.length;
    let at = null;
    let anchor = null;
    const barAt = (event) => {
      const box = bars.getBoundingClientRect();
      return Math.min(n - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * n)));
    };
    const point = (i) => {
      at = i;
      span(cursor, i ?? 0, i === null ? 0 : 1);
      tip.hidden = i === null;
      if (i === null) return;
      const b = head.bars[i];
      const lines = head.series.map((name, s) => [`s${s}`, name, b.counts[s]]).filter((l) => l[2] > 0);
      const rest = b.total - b.counts.reduce((x, y) => x + y, 0);
      if (rest > 0) lines.push(["rest", "others", rest]);
      tip.replaceChildren(element("b", "", b.title), ...lines.map(([className, name, count]) => {
        const div = element("div");
        div.append(element("i", className), name, element("span", "", grouped(count)));
        return div;
      }));
      const x = ((i + 0.5) / n) * chart.clientWidth;
      tip.style.left = x > chart.clientWidth / 2 ? "" : `${x + 14}px`;
      tip.style.right = x > chart.clientWidth / 2 ? `${chart.clientWidth - x + 14}px` : "";
    };
    const shade = (range) => {
      span(left, 0, range ? range[0] : 0);
      span(right, range ? range[1] + 1 : n, range ? n - range[1] - 1 : 0);
    };
    brush = (range) => {
      state.range = range;
      shade(range);
      counts = null;
      if (range && data.counts) {
        counts = new Map();
        for (let i = range[0]; i <= range[1]; i += 1) {
          const [indices, numbers] = data.counts[i];
          indices.forEach((index, k) => counts.set(index, (counts.get(index) || 0) + numbers[k]));
        }
      }
      showRange();
      select();
    };
    const between = (a, b) => [Math.min(a, b), Math.max(a, b)];
    chart.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      anchor = barAt(event);
      chart.setPointerCapture(event.pointerId);
    });
    chart.addEventListener("pointermove", (event) => {
      const i = barAt(event);
      point(i);
      if (anchor !== null && i !== anchor) shade(between(anchor, i));
    });
    chart.addEventListener("pointerup", (event) => {
      if (anchor === null) return;
      const i = barAt(event);
      // A click without a drag shows everything again.
      brush(i === anchor ? null : between(anchor, i));
      anchor = null;
    });
    chart.addEventListener("pointercancel", () => { anchor = null; shade(state.range); });
    chart.addEventListener("pointerleave", () => { if (anchor === null) point(null); });
    chart.tabIndex = 0;
    chart.addEventListener("blur", () => point(null));
    chart.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") {
        point(null);
        brush(null);
      } else if (move) {
        const from = at ?? (move > 0 ? -1 : n);
        const to = Math.min(n - 1, Math.max(0, from + move));
        if (event.shiftKey) brush(state.range ? between(state.range[0] === at ? state.range[1] : state.range[0], to) : between(Math.max(0, Math.min(n - 1, from)), to));
        point(to);
      } else return;
      event.preventDefault();
    });
    showRange();
  }

  // Paper has no pages to turn.
  addEventListener("beforeprint", () => { state.limit = PRINTED; state.page = 0; draw(); });
  addEventListener("afterprint", () => { state.limit = PAGE; draw(); });
  select();
})();
