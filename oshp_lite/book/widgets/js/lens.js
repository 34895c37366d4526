// The prototype lens: bars of cosines under the pointer, one class's map, the support's cells. See lens.py.

function explore(root, data, model) {
  const [rows, columns] = data.cells, [tall, broad] = data.support_cells, size = rows * columns;
  const own = signed(data.static), old = signed(data.bank), truth = bytes(data.truth), ids = bytes(data.support_ids);
  const count = data.ids.length, head = data.head, colours = bytes(data.ramp);
  const places = data.ids.map((id) => data.order.indexOf(id));
  const known = data.known.some((one) => one);
  const get = (name) => model.get(name);
  const give = (values) => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
    draw();
  };
  let hover = null;

  // weights of both cosines in that with the blend of Eq. (3)
  function weights(k) {
    if (!get("memory") || !data.known[k]) return [1, 0];
    const alpha = get("momentum"), [a, b, both] = data.lengths[k], x = (1 - alpha) * a, y = alpha * b;
    const length = Math.max(1e-8, Math.sqrt(x * x + y * y + 2 * x * y * both));
    return [x / length, y / length];
  }
  function scores(mix, cell) {
    return mix.map(([x, y], k) => (x * own[k * size + cell] + y * old[k * size + cell]) / 127);
  }
  // background first; without a head there is none
  function shares(cosines) {
    let logits;
    if (get("nearest") && head) {
      const far = cosines.reduce((sum, c) => sum + head.background[0] * (1 - c) + head.background[1], 0);
      const rest = head.idle * (head.background[0] + head.background[1]);
      const mean = (far + rest) / (count + head.idle);
      logits = [head.fusion[0] * mean + head.fusion[1], ...cosines.map((c) => head.foreground[0] * c + head.foreground[1])];
      logits = logits.map((value) => value * get("scale"));
    } else logits = [-Infinity, ...cosines.map((c) => c / get("temperature"))];
    const top = Math.max(...logits), powers = logits.map((value) => Math.exp(value - top));
    const all = powers.reduce((sum, value) => sum + value, 0);
    return powers.map((value) => value / all);
  }
  const winner = (values) => values.indexOf(Math.max(...values));
  const nameOf = (id) => data.all_names[id];

  const tools = {
    class_id: choice("class", data.ids.map((id, k) => [id, data.names[k]]), (id) => give({ class_id: Number(id) })),
    show: choice("map", [["cosine", "cosine"], ["probability", "probability"], ["parse", "parse"]], (v) => give({ show: v })),
    memory: choice("prototypes", [[false, "static: this support"], [true, "momentum: with memory"]], (v) => give({ memory: v })),
    momentum: slider("momentum α", 0, 0.999, 0.001, (v) => give({ momentum: v }), (v) => Number(v).toFixed(3)),
    nearest: choice("scores", [[true, "NPM of the network"], [false, "softmax of cosines"]], (v) => give({ nearest: v })),
    scale: slider("NPM scale", 1, 40, 0.5, (v) => give({ scale: v }), (v) => Number(v).toFixed(1)),
    temperature: slider("temperature", 0.01, 1, 0.01, (v) => give({ temperature: v }), (v) => Number(v).toFixed(2)),
    hatched: tick("hatching", (v) => give({ hatched: v })),
  };
  function idle() {
    const off = new Set();
    if (!known) off.add("memory");
    if (!known || !get("memory")) off.add("momentum");
    if (!head) off.add("nearest");
    off.add(get("nearest") ? "temperature" : "scale");
    if (get("show") === "cosine") { off.add("scale"); off.add("temperature"); }
    if (get("show") !== "parse") off.add("hatched");
    return off;
  }

  const photo = picture(data.photo, () => draw()), support = picture(data.support, () => draw());
  const query = panel("query: point at it; a click or the arrow keys pin a cell", rows / columns);
  const map = panel("map of the chosen class", rows / columns);
  const source = panel("support photo with the prototype's cells", tall / broad);
  const scale = colourBar(colours, "colour scale of the map");
  map.figure.append(scale.node);
  const bars = data.ids.map((id, k) => {
    const fill = make("i"), number = make("span", { className: "num" });
    const bar = make("button", { className: "bar", type: "button", onclick: () => give({ class_id: id }) },
      make("b", {}, data.names[k]), make("span", { className: "track" }, fill), number);
    return { bar, fill, number };
  });
  const where = make("div", { style: "font-size:12px;min-height:2.75em;display:flex;align-items:flex-end" });
  const say = make("p", { className: "say", "aria-live": "polite" });
  root.append(
    make("div", { className: "tools" }, ...Object.values(tools)),
    make("div", { className: "row" }, query.figure, map.figure, source.figure,
      make("div", { className: "bars" }, where, ...bars.map((one) => one.bar))),
    say,
  );

  function draw() {
    const off = idle();
    for (const [name, tool] of Object.entries(tools)) tool.show(get(name), off.has(name));
    const k = Math.max(0, data.ids.indexOf(get("class_id"))), mix = data.ids.map((_, at) => weights(at));
    const kind = get("show"), low = kind === "cosine" ? data.lowest : 0, truthful = (at) => truth[at] === data.ids[k];
    lay(query, photo, null, { grey: false });
    if (kind === "parse") {
      const factor = Math.max(1, Math.floor(map.canvas.width / columns)), ids = new Int16Array(size);
      for (let at = 0; at < size; at++) ids[at] = winner(shares(scores(mix, at))) - 1;
      const paints = data.colours.map(channels);
      lay(map, photo, cells(rows * factor, columns * factor, (at) => {
        const y = Math.floor(at / (columns * factor)), x = at % (columns * factor);
        const id = ids[Math.floor(y / factor) * columns + Math.floor(x / factor)];
        if (id < 0) return [0, 0, 0, 0];
        const dark = get("hatched") && stripes(places[id], y, x, 10);
        return [...(dark ? [20, 20, 20] : paints[id]), 255];
      }), { grey: false, alpha: 0.62 });
      map.say("parse of the cells" + (get("nearest") ? "" : " (no background)"));
    } else {
      const values = new Float32Array(size);
      for (let at = 0; at < size; at++) {
        const cosines = scores(mix, at);
        values[at] = kind === "cosine" ? cosines[k] : shares(cosines)[1 + k];
      }
      lay(map, photo, cells(rows, columns, (at) => shade(colours, values[at], low)));
      outline(map, rows, columns, truthful);
      map.say(`${kind} of ${data.names[k]}; outlined: its true place`);
    }
    if (kind === "parse") scale.hide(); else scale.show(low, 1);

    const mine = (at) => ids[at] === data.ids[k];
    lay(source, support, cells(tall, broad, (at) => (mine(at) ? [0, 0, 0, 0] : [0, 0, 0, 190])), { grey: false, alpha: 1 });
    outline(source, tall, broad, mine);
    source.say(`support: ${ids.filter((id) => id === data.ids[k]).length} cells make the prototype`);

    const [row, column] = hover || [get("row"), get("column")], cell = row * columns + column;
    pin(query, get("row"), get("column"), rows, columns);
    pin(map, get("row"), get("column"), rows, columns);
    if (hover) { pin(query, row, column, rows, columns, true); pin(map, row, column, rows, columns, true); }
    const cosines = scores(mix, cell), chances = shares(cosines), best = winner(cosines);
    bars.forEach(({ bar, fill, number }, at) => {
      const left = Math.min(cosines[at], 0), span = 1 - data.lowest;
      fill.style.cssText = `left:${100 * (Math.max(left, data.lowest) - data.lowest) / span}%;` +
        `width:${100 * Math.abs(cosines[at]) / span}%;background:${get("hatched") && kind === "parse" ? striped(places[at], data.colours[at]) : data.colours[at]}`;
      number.textContent = cosines[at].toFixed(2);
      bar.classList.toggle("best", at === best);
      bar.setAttribute("aria-pressed", String(at === k));
      bar.setAttribute("aria-label", `${data.names[at]}: cosine ${cosines[at].toFixed(2)}`);
    });
    where.textContent = `cosine of cell (${row}, ${column}) to each prototype`;
    const first = winner(chances), label = first ? data.names[first - 1] : "background";
    say.textContent = `Cell (${row}, ${column}), ${hover ? "under the pointer" : "pinned"}: ` +
      `nearest prototype ${data.names[best]}; parsed as ${label} with ${(100 * chances[first]).toFixed(0)} %; ` +
      `in truth ${nameOf(truth[cell])}.`;
  }
  const bounded = (value, most) => Math.min(most - 1, Math.max(0, value));
  const hands = {
    move: (row, column) => { hover = [row, column]; draw(); },
    leave: () => { hover = null; draw(); },
    click: (row, column) => give({ row, column }),
    keys: (down, right) => { hover = null; give({ row: bounded(get("row") + down, rows), column: bounded(get("column") + right, columns) }); },
  };
  points(query, () => rows, () => columns, hands);
  points(map, () => rows, () => columns, hands);
  for (const name of Object.keys(tools).concat("row", "column")) model.on(`change:${name}`, draw);
  draw();
}
