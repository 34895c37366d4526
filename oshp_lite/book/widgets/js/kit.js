// Shared by all explorers: numbers out of text, elements with labels, photos and maps on canvases, the pointer.
// Everything is drawn here; nothing is fetched.

const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
const signed = (text) => new Int8Array(bytes(text).buffer);

// (id, length) pairs of bytes -> one id a pixel
function unrolled(text, size) {
  const pairs = bytes(text), full = new Uint8Array(size);
  for (let at = 0, place = 0; at < pairs.length; at += 2) {
    full.fill(pairs[at], place, place + pairs[at + 1]);
    place += pairs[at + 1];
  }
  return full;
}

// Tables on the same page may have styles for div.oshp; those of an explorer are stronger.
const STYLE = `
div.oshp.explorer{background:none;container-type:normal;overflow:visible;padding:0}
.oshp{font:13px/1.35 system-ui,sans-serif;color:var(--jp-ui-font-color1,var(--color-foreground-primary,inherit));max-width:58rem}
.oshp *{box-sizing:border-box}
.oshp .row{display:flex;flex-wrap:wrap;gap:10px;align-items:flex-start}
.oshp figure{margin:0;flex:1 1 150px;min-width:140px;max-width:330px}
.oshp figcaption{min-height:2.75em;font-size:12px;overflow-wrap:anywhere;display:flex;align-items:flex-end;padding-bottom:2px}
.oshp canvas{width:100%;display:block;border-radius:2px;image-rendering:auto}
.oshp canvas[tabindex]{cursor:crosshair;touch-action:none}
.oshp canvas:focus-visible,.oshp button:focus-visible,.oshp input:focus-visible,.oshp select:focus-visible{outline:3px solid #0a84ff;outline-offset:1px}
.oshp .tools{display:flex;flex-wrap:wrap;gap:4px 16px;margin:0 0 8px;align-items:center}
.oshp label{display:inline-flex;gap:6px;align-items:center;white-space:nowrap}
.oshp label.off{opacity:.45}
.oshp select,.oshp button{font:inherit;max-width:100%}
.oshp input[type=range]{width:110px}
.oshp output{min-width:3.2em;font-variant-numeric:tabular-nums}
.oshp .bars{flex:1 1 215px;min-width:205px;max-width:330px}
.oshp .bar{display:grid;grid-template-columns:8.9em 1fr 2.6em;gap:5px;align-items:center;width:100%;border:0;background:none;color:inherit;padding:1px 2px;text-align:left;cursor:pointer;border-radius:3px}
.oshp .bar[aria-pressed=true]{background:rgba(128,128,128,.22)}
.oshp .bar.best b{font-weight:700}
.oshp .bar b{font-weight:400;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.oshp .bar.best b::after{content:" ◀"}
.oshp .track{position:relative;height:11px;background:rgba(128,128,128,.22)}
.oshp .track i{position:absolute;top:0;bottom:0;border:1px solid rgba(128,128,128,.7)}
.oshp .num{text-align:right;font-variant-numeric:tabular-nums}
.oshp .say{margin:6px 0 0;min-height:2.7em}
.oshp .key{display:flex;flex-wrap:wrap;gap:2px 12px;font-size:12px;margin-top:4px}
.oshp .key span{display:inline-flex;align-items:center;gap:4px}
.oshp .key canvas{width:15px;height:15px;border:1px solid rgba(128,128,128,.8)}
`;

const KEYED = /^(input|select|button|canvas)$/;

function make(tag, settings = {}, ...inside) {
  const node = document.createElement(tag);
  if (KEYED.test(tag)) node.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take their keys for its own
  for (const [name, value] of Object.entries(settings)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list" && name !== "style") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...inside);
  return node;
}

function start(root) {
  root.classList.add("oshp", "explorer");
  root.replaceChildren(make("style", {}, STYLE));
  return root;
}

// A control beside its words; `set(value)` is called when it moves. The control has `.show(value, off)`.
function choice(words, options, set) {
  const box = make("select", { onchange: () => set(options[box.selectedIndex][0]) });
  box.append(...options.map(([value, text]) => make("option", { value: String(value) }, text)));
  return labelled(words, box, (value) => { box.value = String(value); });
}
function slider(words, low, high, step, set, text = (value) => value) {
  const said = make("output");
  const bar = make("input", { type: "range", min: low, max: high, step, oninput: () => set(Number(bar.value)) });
  return labelled(words, bar, (value) => { bar.value = value; said.textContent = text(value); }, said);
}
function tick(words, set) {
  const box = make("input", { type: "checkbox", onchange: () => set(box.checked) });
  return labelled(words, box, (value) => { box.checked = value; });
}
function labelled(words, control, show, ...after) {
  const label = make("label", {}, words, control, ...after);
  label.show = (value, off = false) => {
    show(value);
    control.disabled = off;
    label.classList.toggle("off", off);
    label.title = off ? "has no effect in this mode" : "";
  };
  return label;
}

// A figure with a canvas as wide as high cells allow; the caption is set by `.say`.
function panel(name, ratio, side = 330) {
  const canvas = make("canvas", { width: side, height: Math.round(side * ratio), "aria-label": name, role: "img" });
  const caption = make("figcaption", {}, name);
  const figure = make("figure", {}, caption, canvas);
  return { figure, canvas, say: (text) => { caption.textContent = text; }, pen: canvas.getContext("2d") };
}

function picture(source, then) {
  const image = new Image();
  image.onload = then;
  image.src = source;
  return image;
}

// Values -> a small canvas of one pixel a cell; `paint(index)` returns [red, green, blue, alpha].
function cells(rows, columns, paint) {
  const small = make("canvas", { width: columns, height: rows });
  const pen = small.getContext("2d"), image = pen.createImageData(columns, rows);
  for (let at = 0; at < rows * columns; at++) image.data.set(paint(at), 4 * at);
  pen.putImageData(image, 0, 0);
  return small;
}

function lay(place, photo, small, { grey = true, alpha = 0.75, smooth = false } = {}) {
  const { pen, canvas } = place;
  pen.save();
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (photo && photo.complete) {
    if (grey) pen.filter = "grayscale(1)";
    pen.drawImage(photo, 0, 0, canvas.width, canvas.height);
    pen.filter = "none";
  }
  if (small) {
    pen.globalAlpha = alpha;
    pen.imageSmoothingEnabled = smooth;
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
  }
  pen.restore();
}

// The colour of a value between low and high, out of the 64 of a packed map.
function shade(colours, value, low = 0, high = 1) {
  const step = 3 * Math.min(63, Math.max(0, Math.round(63 * (value - low) / (high - low))));
  return [colours[step], colours[step + 1], colours[step + 2], 255];
}

// A bar of these colours below a panel; `.show(low, high)` writes its ends, `.hide()` takes it away.
function colourBar(colours, words) {
  const bar = make("canvas", { width: 256, height: 8, style: "height:8px", role: "img", "aria-label": words });
  const ends = make("div", { style: "display:flex;justify-content:space-between;font-size:11px" }, make("span"), make("span"));
  const pen = bar.getContext("2d"), node = make("div", {}, bar, ends);
  for (let at = 0; at < 64; at++) {
    pen.fillStyle = `rgb(${shade(colours, at, 0, 63).slice(0, 3)})`;
    pen.fillRect(4 * at, 0, 4, 8);
  }
  return {
    node,
    hide: () => { node.style.visibility = "hidden"; },
    show: (low, high) => {
      node.style.visibility = "visible";
      ends.firstChild.textContent = low;
      ends.lastChild.textContent = high;
    },
  };
}

// The border of the cells that `inside(index)` names, white over black.
function outline(place, rows, columns, inside) {
  const { pen, canvas } = place, high = canvas.height / rows, wide = canvas.width / columns;
  const path = new Path2D();
  for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
    const here = inside(row * columns + column);
    const right = column + 1 < columns ? inside(row * columns + column + 1) : false;
    const below = row + 1 < rows ? inside((row + 1) * columns + column) : false;
    if (here !== right) { path.moveTo((column + 1) * wide, row * high); path.lineTo((column + 1) * wide, (row + 1) * high); }
    if (here !== below) { path.moveTo(column * wide, (row + 1) * high); path.lineTo((column + 1) * wide, (row + 1) * high); }
  }
  pen.lineWidth = 3; pen.strokeStyle = "rgba(0,0,0,.8)"; pen.stroke(path);
  pen.lineWidth = 1.2; pen.strokeStyle = "white"; pen.stroke(path);
}

// Stripes of class number `place` over its pixels, so that colour is not needed.
function stripes(place, row, column, step = 8) {
  const field = [row + column, row - column + 4096, row, column][place % 4];
  return field % (place % 8 < 4 ? step : 2 * step) < Math.max(1, step / 5);
}

// The same stripes as a CSS background over a colour.
function striped(place, colour) {
  const angle = [135, 45, 180, 90][place % 4], step = place % 8 < 4 ? 6 : 12;
  return `repeating-linear-gradient(${angle}deg,#141414 0 2px,transparent 2px ${step}px),${colour}`;
}

function pin(place, row, column, rows, columns, dashed = false) {
  const { pen, canvas } = place;
  const x = (column + 0.5) * canvas.width / columns, y = (row + 0.5) * canvas.height / rows;
  const reach = Math.max(6, 0.75 * canvas.width / columns);
  pen.save();
  for (const [width, colour] of [[4.5, "black"], [2, "white"]]) {
    pen.beginPath();
    pen.setLineDash(dashed ? [3, 3] : []);
    pen.lineWidth = width; pen.strokeStyle = colour;
    pen.arc(x, y, reach, 0, 7);
    pen.stroke();
  }
  pen.restore();
}

// Pointer and keys over a canvas: move(row, column), leave(), click(row, column), keys(rows down, columns right).
function points(place, rows, columns, { move, leave, click, keys }) {
  const at = (event, then) => {
    const box = place.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / box.width * columns());
    const row = Math.floor((event.clientY - box.top) / box.height * rows());
    if (row >= 0 && column >= 0 && row < rows() && column < columns()) then(row, column);
  };
  place.canvas.addEventListener("pointermove", (event) => at(event, move));
  place.canvas.addEventListener("pointerleave", () => leave && leave());
  place.canvas.addEventListener("pointerdown", (event) => at(event, click || move));
  if (!keys) return;
  place.canvas.tabIndex = 0;
  place.canvas.addEventListener("keydown", (event) => {
    const far = event.shiftKey ? 5 : 1;
    const way = { ArrowUp: [-far, 0], ArrowDown: [far, 0], ArrowLeft: [0, -far], ArrowRight: [0, far] }[event.key];
    if (!way) return;
    event.preventDefault();
    event.stopPropagation();
    keys(...way);
  });
}

// Colours with their words; an entry is [colour, text, its place among the stripes].
function legend(words, entries, hatched = false) {
  return make("div", { className: "key" }, `${words}:`, ...entries.map(([colour, text, place]) => {
    const mark = (at) => (hatched && stripes(place, Math.floor(at / 15), at % 15, 5) ? [15, 15, 15, 255] : [...channels(colour), 255]);
    const swatch = cells(15, 15, mark);
    swatch.setAttribute("aria-hidden", "true");
    return make("span", {}, swatch, text);
  }));
}

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

// In a page without a kernel: fields in a plain object.
function plain(values) {
  const heard = {};
  return {
    get: (name) => values[name],
    set: (name, value) => { values[name] = value; },
    save_changes: () => {},
    on: (name, then) => { heard[name] = then; },
  };
}

function launch(key, explore) {
  const places = document.querySelectorAll(`[data-explorer="${key}"]:not([data-live])`);
  if (!places.length) { setTimeout(() => launch(key, explore), 100); return; }
  for (const place of places) {
    const { data, values } = JSON.parse(place.querySelector("script").textContent);
    place.dataset.live = "yes";
    explore(start(place), data, plain(values));
  }
}

// As an anywidget: fields are traits, and another payload starts anew.
function widget(explore) {
  return {
    render({ model, el }) {
      const begin = () => {
        const box = make("div");
        el.replaceChildren(box);
        box.setAttribute("aria-label", model.get("title"));
        explore(start(box), JSON.parse(model.get("payload")), model);
      };
      model.on("change:payload", begin);
      begin();
    },
  };
}
