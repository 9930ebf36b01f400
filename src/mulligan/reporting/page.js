"use strict";
// Draws the page's curves and moves its sliders. Whatever comes from a run is put in as text, never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
  const EDGE = { left: 54, right: 14, top: data.marks.length > 1 ? 34 : 20, bottom: 34 };
  const LINE = 14; // between two rows of the names of what went wrong
  const charts = [];
  const cursors = new Map(); // unit of the horizontal axis → where all figures with it show their values

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const shape = (name, attributes = {}, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const figure = (value) => {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size >= 1e7 || size < 1e-3)) return value.toExponential(1).replace(".0e", "e");
    if (size >= 1000) return Math.round(value).toLocaleString("en-GB");
    return String(Number(value.toPrecision(3)));
  };
  const position = (value) => (value >= 1000 ? Math.round(value).toLocaleString("en-GB") : figure(value));
  const brief = (value) => {
    for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (value >= unit) return `${Number((value / unit).toPrecision(3))}${letter}`;
    }
    return figure(value);
  };

  // Round values between two ends, about so many of them
  const ticks = (low, high, about) => {
    const raw = (high - low) / about;
    if (!(raw > 0)) return [low];
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].find((times) => times * power >= raw) * power;
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
    return found;
  };
  const powers = (low, high) => {
    const found = [];
    const wide = Math.log10(high / low) > 3;
    const every = Math.max(1, Math.ceil(Math.log10(high / low) / 6));
    for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) {
      if (wide && p % every) continue;
      for (const times of wide ? [1] : [1, 2, 5]) {
        const value = times * 10 ** p;
        if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
      }
    }
    return found;
  };

  // The point of a series that is nearest to x; its xs increase
  const nearest = (xs, x) => {
    let low = 0;
    let high = xs.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] < x) low = middle;
      else high = middle;
    }
    return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
  };

  class Chart {
    constructor(holder, panel, widest) {
      this.holder = holder;
      this.panel = panel;
      this.widest = widest || 1;
      this.log = panel.log;
      this.shown = panel.series.map(() => true);
      this.positions = [...new Set(panel.series.flatMap((series) => series.x))].sort((a, b) => a - b);
      this.build();
      new ResizeObserver(() => this.draw()).observe(holder);
    }

    build() {
      const caption = this.holder.querySelector("figcaption");
      this.at = element("span", { class: "at" });
      caption.append(this.at);
      if (this.panel.positive) {
        const scale = element("button", { type: "button", class: "scale", "aria-pressed": this.log }, "log");
        scale.title = "Logarithmic scale";
        scale.addEventListener("click", () => {
          this.log = !this.log;
          scale.setAttribute("aria-pressed", this.log);
          this.draw();
        });
        caption.append(scale);
      }
      this.svg = shape("svg", {
        role: "slider", tabindex: 0, "aria-label": `${caption.firstChild.textContent}, over ${this.panel.unit}`,
        "aria-valuemin": 0, "aria-valuemax": this.widest, "aria-valuenow": this.widest, "aria-valuetext": "",
      });
      this.svg.addEventListener("pointermove", (event) => this.point(event));
      this.svg.addEventListener("pointerdown", (event) => this.point(event));
      this.svg.addEventListener("pointerleave", (event) => {
        if (event.pointerType === "mouse" && document.activeElement !== this.svg) this.move(null);
      });
      this.svg.addEventListener("keydown", (event) => this.key(event));
      this.keys = element("div", { class: "keys" });
      this.values = this.panel.series.map((series, i) => {
        const value = element("span", { class: "value" });
        const swatch = shape("svg", { class: "swatch", viewBox: "0 0 18 6", "aria-hidden": "true" });
        swatch.append(shape("path", { d: "M0 3H18", class: `c${series.colour}`, "stroke-dasharray": DASHES[series.dash] }));
        const key = element("button", { type: "button", class: "key", "aria-pressed": "true" }, swatch, series.name, value);
        key.addEventListener("click", () => {
          this.shown[i] = !this.shown[i];
          key.setAttribute("aria-pressed", this.shown[i]);
          this.draw();
        });
        this.keys.append(key);
        return value;
      });
      this.holder.append(this.svg, this.keys);
    }

    x(value) {
      return EDGE.left + (value / this.widest) * (this.width - EDGE.left - EDGE.right);
    }

    y(value) {
      const [low, high] = this.range;
      const share = this.log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
      return this.height - EDGE.bottom - share * (this.height - EDGE.top - EDGE.bottom);
    }

    limits() {
      let low = Infinity;
      let high = -Infinity;
      this.panel.series.forEach((series, i) => {
        if (!this.shown[i]) return;
        for (const list of [series.y, series.low, series.high]) {
          for (const value of list) {
            if (value === null || (this.log && value <= 0)) continue;
            if (value < low) low = value;
            if (value > high) high = value;
          }
        }
      });
      const floor = this.panel.floor;
      if (floor !== null && (!this.log || floor > 0)) {
        low = Math.min(low, floor);
        high = Math.max(high, floor);
      }
      if (!(low <= high)) [low, high] = this.log ? [0.1, 1] : [0, 1];
      if (low === 0 && high === 0) high = 1;
      if (this.log) return low === high ? [low / 2, high * 2] : [low / 1.1, high * 1.1];
      const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
      return [low >= 0 && low < (high - low) * 0.5 ? 0 : low - room, high + room];
    }

    draw() {
      this.width = Math.floor(this.svg.clientWidth || this.holder.clientWidth);
      if (this.width < 60) return;
      this.height = 230;
      this.range = this.limits();
      this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
      this.svg.replaceChildren();
      this.axes();
      this.panel.series.forEach((series, i) => {
        if (this.shown[i]) this.curve(series);
      });
      this.moments();
      this.pointer = shape("g", { class: "pointer" });
      this.svg.append(this.pointer);
      this.show();
    }

    axes() {
      const [low, high] = this.range;
      const right = this.width - EDGE.right;
      const bottom = this.height - EDGE.bottom;
      let values = this.log ? powers(low, high) : ticks(low, high, 4);
      if (this.log && values.length < 2) values = [low * 1.1, high / 1.1];
      for (const value of values) {
        const y = this.y(value);
        this.svg.append(shape("path", { d: `M${EDGE.left} ${y}H${right}`, class: "grid" }));
        this.svg.append(shape("text", { x: EDGE.left - 7, y: y + 4, class: "tick end" }, figure(value)));
      }
      for (const value of ticks(0, this.widest, this.width < 420 ? 3 : 5)) {
        this.svg.append(shape("text", { x: this.x(value), y: bottom + 17, class: "tick middle" }, brief(value)));
      }
      this.svg.append(shape("text", { x: right, y: this.height - 4, class: "tick end" }, this.panel.unit));
      this.svg.append(shape("path", { d: `M${EDGE.left} ${bottom}H${right}`, class: "axis" }));
      if (this.panel.floor !== null && (!this.log || this.panel.floor > 0)) {
        const y = this.y(this.panel.floor);
        this.svg.append(shape("path", { d: `M${EDGE.left} ${y}H${right}`, class: "floor" }));
        this.svg.append(shape("text", { x: right, y: y - 5, class: "tick end" }, "real images"));
      }
    }

    curve(series) {
      const usable = (value) => value !== null && value !== undefined && (!this.log || value > 0);
      let path = "";
      let alone = 0;
      let before = false;
      const dots = [];
      series.y.forEach((value, i) => {
        if (!usable(value)) {
          before = false;
          return;
        }
        const [x, y] = [this.x(series.x[i]).toFixed(1), this.y(value).toFixed(1)];
        path += `${before ? "L" : "M"}${x} ${y}`;
        if (!before && !usable(series.y[i + 1])) alone += 1;
        dots.push([x, y]);
        before = true;
      });
      const both = series.x.map((_, i) => i).filter((i) => usable(series.low[i]) && usable(series.high[i]));
      if (both.length > 1) {
        const upper = both.map((i) => `${this.x(series.x[i]).toFixed(1)} ${this.y(series.high[i]).toFixed(1)}`);
        const lower = both.map((i) => `${this.x(series.x[i]).toFixed(1)} ${this.y(series.low[i]).toFixed(1)}`).reverse();
        this.svg.append(shape("path", { d: `M${[...upper, ...lower].join("L")}Z`, class: `band c${series.colour}` }));
      }
      const attributes = { d: path, class: `curve c${series.colour}`, "stroke-dasharray": DASHES[series.dash] };
      this.svg.append(shape("path", attributes));
      if (dots.length <= 30 || alone) {
        for (const [x, y] of dots.slice(0, 400)) {
          this.svg.append(shape("circle", { cx: x, cy: y, r: 2.4, class: `dot c${series.colour}` }));
        }
      }
    }

    moments() {
      if (this.panel.unit !== "images seen") return;
      const taken = [];
      for (const mark of data.marks) { // the most important first: it gets the room
        if (mark.x > this.widest) continue;
        const x = this.x(mark.x);
        const group = shape("g", { class: `mark ${mark.severity}` });
        group.append(shape("title", {}, `${mark.name}, from ${position(mark.x)} images on`));
        group.append(shape("path", { d: `M${x} ${EDGE.top - 5}V${this.height - EDGE.bottom}` }));
        const length = mark.name.length * 6.2;
        const start = Math.max(2, Math.min(x + 3, this.width - length - 2));
        const rows = EDGE.top > 2 * LINE ? [0, 1] : [0];
        const row = rows.find((r) => !taken.some((t) => t.row === r && start < t.end && t.start < start + length));
        if (row !== undefined) {
          group.append(shape("text", { x: start, y: EDGE.top - 8 - row * LINE }, mark.name));
          taken.push({ row, start, end: start + length + 8 });
        }
        this.svg.append(group);
      }
    }

    point(event) {
      const box = this.svg.getBoundingClientRect();
      const share = (event.clientX - box.left - EDGE.left) / (this.width - EDGE.left - EDGE.right);
      const x = Math.max(0, Math.min(1, share)) * this.widest;
      if (this.positions.length) this.move(this.positions[nearest(this.positions, x)]);
    }

    key(event) {
      const last = this.positions.length - 1;
      const cursor = cursors.get(this.panel.unit);
      const here = cursor === null || cursor === undefined ? last : nearest(this.positions, cursor);
      const leap = Math.max(1, Math.round(last / 10));
      const to = {
        ArrowRight: here + 1, ArrowUp: here + 1, ArrowLeft: here - 1, ArrowDown: here - 1,
        PageUp: here + leap, PageDown: here - leap, Home: 0, End: last,
      }[event.key];
      if (event.key === "Escape") this.move(null);
      if (to === undefined || last < 0) return;
      event.preventDefault();
      this.move(this.positions[Math.max(0, Math.min(last, to))]);
    }

    move(x) {
      cursors.set(this.panel.unit, x);
      for (const chart of charts) if (chart.panel.unit === this.panel.unit) chart.show();
    }

    // The values at the cursor, or the last ones
    show() {
      if (!this.pointer) return;
      const cursor = cursors.get(this.panel.unit);
      const idle = cursor === null || cursor === undefined;
      this.pointer.replaceChildren();
      this.at.textContent = idle ? "" : `at ${position(cursor)}`;
      if (!idle) {
        const x = this.x(cursor);
        this.pointer.append(shape("path", { d: `M${x} ${EDGE.top}V${this.height - EDGE.bottom}` }));
      }
      const said = this.panel.series.map((series, i) => {
        const at = idle ? series.y.findLastIndex((y) => y !== null) : nearest(series.x, cursor);
        const value = series.y[at];
        const band = series.low.length && series.low[at] !== null && series.high[at] !== null;
        const range = band && !idle ? ` (${figure(series.low[at])} … ${figure(series.high[at])})` : "";
        this.values[i].textContent = this.shown[i] ? figure(value) + range : "";
        if (!idle && this.shown[i] && value !== null && (!this.log || value > 0)) {
          const attributes = { cx: this.x(series.x[at]), cy: this.y(value), r: 4, class: `dot c${series.colour}` };
          this.pointer.append(shape("circle", attributes));
        }
        return this.shown[i] ? `${series.name} ${figure(value)}${range}` : "";
      });
      const where = idle ? this.widest : cursor;
      this.svg.setAttribute("aria-valuenow", where);
      this.svg.setAttribute("aria-valuetext", `${position(where)} ${this.panel.unit}: ${said.filter(Boolean).join(", ")}`);
    }
  }

  const widest = {};
  for (const panel of data.panels) {
    for (const series of panel.series) {
      for (const x of series.x) if (!(x <= widest[panel.unit])) widest[panel.unit] = x;
    }
  }
  for (const holder of document.querySelectorAll("[data-panel]")) {
    const panel = data.panels[Number(holder.dataset.panel)];
    charts.push(new Chart(holder, panel, widest[panel.unit]));
  }

  for (const holder of document.querySelectorAll("[data-slider]")) {
    const frames = data.frames[Number(holder.dataset.slider)];
    const [picture, control, images] = ["img", "input", "output"].map((name) => holder.querySelector(name));
    const turn = () => {
      const frame = frames[Number(control.value)];
      const said = position(frame.images);
      picture.src = frame.src;
      picture.alt = `Samples after ${said} images`;
      images.textContent = said;
      control.setAttribute("aria-valuetext", `${said} images seen`);
    };
    control.addEventListener("input", turn);
    turn(); // a browser that goes back keeps the slider where it was
  }
})();
