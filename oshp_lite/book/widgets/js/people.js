// People of a crowd: box, attention and parts of the chosen one, and what that person adds to every metric. See people.py.

function explore(root, data, model) {
  const [rows, columns] = data.cells, size = rows * columns, colours = bytes(data.ramp);
  const people = data.people.map((one) => ({ ...one, labels: unrolled(one.labels, size), attention: bytes(one.attention) }));
  const truth = data.true.map((one) => unrolled(one, size));
  const hue = (at) => data.hues[at % data.hues.length];
  const get = (name) => model.get(name);
  const key = `people${Math.random().toString(36).slice(2)}`; // of the buttons, whose focus outlives a drawing
  let map = "parts", hover = null;
  const give = (values) => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
    draw();
  };
  const count = () => people.filter((one) => one.score >= get("least")).length;
  const chosen = () => Math.min(Math.max(0, get("person")), Math.max(0, people.length - 1));

  const tools = {
    least: slider("score from", 0, 1, 0.01, (least) => give({ least }), (value) => Number(value).toFixed(2)),
    map: choice("map of all", [["parts", "parts"], ["people", "people"], ["true", "true parts"], ["who", "true people"]], (value) => { map = value; draw(); }),
  };
  const photo = picture(data.photo, () => draw());
  const first = panel("photo: click a person", rows / columns);
  const all = panel("map of all people", rows / columns);
  const focus = panel("attention in the box", rows / columns), parts = panel("parts of this person", rows / columns);
  const bar = colourBar(colours, "colour scale of the attention");
  focus.figure.append(bar.node);
  bar.show(0, 1);
  const list = make("div", { className: "key", role: "group", "aria-label": "people, best score first" });
  const groups = make("div", { className: "row" }), say = make("p", { className: "say", "aria-live": "polite" });
  root.append(make("div", { className: "tools" }, ...Object.values(tools)), list,
    say,
    make("div", { className: "row" }, first.figure, parts.figure, focus.figure, all.figure),
    legend("parts", data.names.slice(1).map((name, at) => [data.colours[at + 1], name, at])), groups);

  function box(place, at, thick) {
    const [left, top, right, bottom] = people[at].box, { pen, canvas } = place;
    const wide = canvas.width / columns, high = canvas.height / rows;
    for (const [width, colour] of [[thick + 2, "black"], [thick, hue(at)]]) {
      pen.lineWidth = width; pen.strokeStyle = colour;
      pen.strokeRect(left * wide, top * high, (right - left) * wide, (bottom - top) * high);
    }
  }
  // the better-scored are painted last, so they end on top; the value is that of `pick(person, cell)`
  function painting(n, pick) {
    const made = new Uint8Array(size);
    for (let at = n - 1; at >= 0; at--) for (let cell = 0; cell < size; cell++) if (people[at].labels[cell]) made[cell] = pick(at, cell);
    return made;
  }
  function truly(pick) {
    const made = new Uint8Array(size);
    truth.forEach((one, at) => { for (let cell = 0; cell < size; cell++) if (one[cell] && one[cell] < 255) made[cell] = pick(at, one[cell]); });
    return made;
  }
  const painted = (ids, colour) => cells(rows, columns, (cell) => (ids[cell] ? [...channels(colour(ids[cell])), 255] : [0, 0, 0, 0]));
  function heat(at) {
    const [left, top, right, bottom] = people[at].box, side = people[at].side;
    return cells(rows, columns, (cell) => {
      const x = (cell % columns + 0.5 - left) / (right - left), y = (Math.floor(cell / columns) + 0.5 - top) / (bottom - top);
      if (x < 0 || y < 0 || x >= 1 || y >= 1 || !side) return [0, 0, 0, 0];
      return shade(colours, people[at].attention[Math.floor(y * side) * side + Math.floor(x * side)], 0, 255);
    });
  }
  function bars(title, entries) {
    return make("div", { className: "bars" }, make("div", { style: "font-size:12px" }, title), ...entries.map(([name, value]) => {
      const fill = make("i", { style: `left:0;width:${100 * Math.min(1, Math.abs(value))}%;background:${value < 0 ? "#c77d3b" : "#5b7fa6"}` });
      return make("div", { className: "bar", style: "cursor:default" }, make("b", {}, name), make("span", { className: "track" }, fill),
        make("span", { className: "num" }, value.toFixed(2)));
    }));
  }
  function draw() {
    const held = document.activeElement && document.activeElement.id, n = count(), at = chosen();
    tools.least.show(get("least"));
    tools.map.show(map);
    list.replaceChildren(...people.map((one, place) => make("button", {
      type: "button", "aria-pressed": String(place === at), onclick: () => give({ person: place }), id: `${key}-${place}`,
      style: `${place === at ? "font-weight:bold;" : ""}${place < n ? "" : "opacity:.5;"}border-left:.6em solid ${hue(place)}`,
      title: place < n ? "" : "below the threshold: does not count",
    }, `${place + 1}: ${one.score.toFixed(2)}${place < n ? ` ${one.verdict}` : ""}`)));
    lay(first, photo, null, { grey: false });
    for (let place = n - 1; place >= 0; place--) box(first, place, place === at ? 4 : 2);
    first.say(`photo: click a person; ${n} of ${people.length} count`);
    const maps = {
      parts: () => painted(painting(n, (place, cell) => people[place].labels[cell]), (id) => data.colours[id]),
      people: () => painted(painting(n, (place) => place + 1), (id) => hue(id - 1)),
      true: () => painted(truly((_, label) => label), (id) => data.colours[id]),
      who: () => painted(truly((place) => place + 1), (id) => hue(id - 1)),
    };
    lay(all, photo, maps[map](), { alpha: 0.65 });
    all.say({ parts: "parts of all people who count", people: "people: the better-scored is on top", true: "true parts", who: "true people" }[map]);
    if (!people.length) { say.textContent = "Nobody is detected in this photo."; return; }
    const one = people[at];
    lay(focus, photo, heat(at), { alpha: 0.75 });
    outline(focus, rows, columns, (cell) => one.labels[cell] > 0);
    focus.say("attention; outlined: these parts");
    lay(parts, photo, painted(one.labels, (id) => data.colours[id]), { alpha: 0.65 });
    if (one.match >= 0) outline(parts, rows, columns, (cell) => truth[one.match][cell] > 0 && truth[one.match][cell] < 255);
    parts.say(`parts of person ${at + 1}; outlined: truth`);
    const gain = at < n ? data.added[n][at] : data.metrics.map(() => 0);
    groups.replaceChildren(
      bars(`the photo, ${n} people`, data.metrics.map((name, place) => [name, data.totals[n][place]])),
      bars(`person ${at + 1} adds`, data.metrics.map((name, place) => [name, gain[place]])),
      bars("IoU of the matched person's parts", one.parts),
    );
    if (held && held.startsWith(key)) document.getElementById(held)?.focus();
    const cell = hover && hover[0] * columns + hover[1];
    const here = hover && people.findIndex((other, place) => place < n && other.labels[cell]);
    say.textContent = hover
      ? `Row ${hover[0]}, column ${hover[1]}: ${here >= 0 ? `person ${here + 1}, ${data.names[people[here].labels[cell]]}` : "nobody"}.`
      : `Person ${at + 1}: ${at < n ? one.says : "below the threshold, does not count"}.`;
    if (hover) for (const place of [first, all]) pin(place, ...hover, rows, columns, true);
  }
  // the best-scored person with a part here, else the smallest box around this place
  function pick(row, column) {
    const n = count(), cell = row * columns + column;
    const own = people.findIndex((one, at) => at < n && one.labels[cell]);
    if (own >= 0) { give({ person: own }); return; }
    const area = ([left, top, right, bottom]) => (right - left) * (bottom - top);
    const around = people.map((one, at) => at).filter((at) => {
      const [left, top, right, bottom] = people[at].box;
      return at < n && column + 0.5 > left && column + 0.5 < right && row + 0.5 > top && row + 0.5 < bottom;
    }).sort((a, b) => area(people[a].box) - area(people[b].box));
    if (around.length) give({ person: around[0] });
  }
  for (const one of [first, focus, parts, all]) {
    points(one, () => rows, () => columns, {
      move: (row, column) => { hover = [row, column]; draw(); },
      leave: () => { hover = null; draw(); },
      click: pick,
      keys: one === first ? (down, right) => {
        const way = down + right > 0 ? 1 : -1, n = Math.max(1, people.length);
        hover = null;
        give({ person: (chosen() + way + n) % n });
      } : undefined,
    });
  }
  for (const name of ["person", "least"]) model.on(`change:${name}`, draw);
  draw();
}
