// Feature space: the same cell on the photo, in its components' colours and in the scatter. See feature_space.py.

function explore(root, data, model) {
  const photos = {};
  for (const [index, one] of Object.entries(data.photos)) {
    const [rows, columns] = one.cells;
    photos[index] = { rows, columns, size: rows * columns, places: signed(one.places), ids: bytes(one.ids), image: picture(one.photo, () => draw()) };
  }
  const get = (name) => model.get(name);
  const give = (name) => (value) => { model.set(name, value); model.save_changes(); draw(); };
  const nameOf = (id) => data.names[id];
  let mark = null; // [photo, cell]

  const tools = {
    support: choice("support", data.supports.map((one) => [one, `photo ${one}`]), give("support")),
    class_id: choice("class", [[0, "all"], ...data.order.map((id) => [id, nameOf(id)])], give("class_id")),
    axes: choice("components", data.axes.map((one) => [one, one.replace(",", " and ")]), give("axes")),
    colours: choice("colour of a dot", [["class", "its class"], ["components", "as on the photo"]], give("colours")),
    background: tick("background too", give("background")),
  };
  const first = photos[data.query];
  const panels = ["query: point, or arrow keys", "query: 3 components", "support", "support: 3 components"].map((words) => panel(words, first.rows / first.columns, 256));
  for (const one of panels) one.figure.style.maxWidth = "205px";
  const scatter = panel("cells", 1, 480);
  scatter.figure.style.maxWidth = "480px";
  scatter.figure.style.flex = "2 1 300px";
  scatter.canvas.style.background = "white";
  const grid = make("div", { style: "flex:1 1 290px;display:grid;grid-template-columns:1fr 1fr;gap:8px;max-width:420px" }, ...panels.map((one) => one.figure));
  const key = make("div"), say = make("p", { className: "say", "aria-live": "polite" });
  root.append(make("div", { className: "tools" }, ...Object.values(tools)), make("div", { className: "row" }, grid, scatter.figure), key, say);

  const at = (photo, part, cell) => photo.places[part * photo.size + cell] / 127;
  const paint = (photo, cell) => [0, 1, 2].map((part) => Math.round(127.5 * (at(photo, part, cell) + 1)));
  const side = scatter.canvas.width, margin = 14;
  const onto = (value) => margin + (value + 1.05) / 2.1 * (side - 2 * margin);
  const spot = (values, [across, up]) => [onto(values[across]), side - onto(values[up])];
  const pair = () => get("axes").split(",").map((one) => Number(one) - 1);
  const seen = (id) => id !== 255 && (id > 0 || get("background"));

  // ten outlines for the prototypes, so that colour is not needed
  function sign(pen, x, y, kind, size) {
    const corners = [0, 4, 4, 3, 3, 8, 10, 8, 3, 3, 5, 6][kind % 12], turn = [0, 0.785, 0, -1.571, 1.571, 0.4, -1.571, 0, 3.142, 0, -1.571, 0][kind % 12];
    pen.beginPath();
    if (!corners) pen.arc(x, y, size, 0, 7);
    for (let step = 0; step < corners; step++) {
      const reach = (corners === 10 || (corners === 8 && kind % 12 === 7)) && step % 2 ? size * 0.45 : size * 1.15;
      pen.lineTo(x + reach * Math.cos(turn + 6.2832 * step / corners), y + reach * Math.sin(turn + 6.2832 * step / corners));
    }
    pen.closePath();
  }

  function draw() {
    const chosen = get("support"), other = photos[chosen], wanted = get("class_id"), axes = pair();
    for (const [name, tool] of Object.entries(tools)) tool.show(get(name));
    [[first, 0], [other, 2]].forEach(([photo, place]) => {
      lay(panels[place], photo.image, null, { grey: false });
      lay(panels[place + 1], null, cells(photo.rows, photo.columns, (cell) => [...paint(photo, cell), 255]), { alpha: 1 });
      if (wanted) for (const one of [panels[place], panels[place + 1]]) outline(one, photo.rows, photo.columns, (cell) => photo.ids[cell] === wanted);
    });
    const { pen } = scatter;
    pen.fillStyle = "white";
    pen.fillRect(0, 0, side, side);
    pen.strokeStyle = "#ddd"; pen.lineWidth = 1;
    pen.beginPath(); pen.moveTo(onto(0), 0); pen.lineTo(onto(0), side); pen.moveTo(0, onto(0)); pen.lineTo(side, onto(0)); pen.stroke();
    for (const [photo, cross] of [[first, false], [other, true]]) for (let cell = 0; cell < photo.size; cell++) {
      const id = photo.ids[cell];
      if (!seen(id)) continue;
      const [x, y] = spot([0, 1, 2].map((part) => at(photo, part, cell)), axes);
      const colour = get("colours") === "class" ? data.colours[id] || "#bbbbbb" : `rgb(${paint(photo, cell)})`;
      pen.globalAlpha = !wanted || id === wanted ? 0.75 : 0.1;
      pen.fillStyle = pen.strokeStyle = colour;
      pen.beginPath();
      if (cross) { pen.lineWidth = 1.4; pen.moveTo(x - 3, y); pen.lineTo(x + 3, y); pen.moveTo(x, y - 3); pen.lineTo(x, y + 3); pen.stroke(); }
      else { pen.arc(x, y, 2.3, 0, 7); pen.fill(); }
    }
    pen.globalAlpha = 1;
    // where the prototypes of the other supports lie, then those of the chosen one and of the memory
    for (const index of data.supports) for (const [id, star] of Object.entries(data.static[index])) {
      const [x, y] = spot(star, axes), own = index === chosen;
      if (wanted && Number(id) !== wanted) continue;
      pen.globalAlpha = own ? 1 : 0.4;
      sign(pen, x, y, data.order.indexOf(Number(id)), own ? 8 : 5);
      pen.fillStyle = data.colours[id]; pen.fill();
      pen.lineWidth = own ? 1.8 : 0.8; pen.strokeStyle = "black"; pen.stroke();
    }
    pen.globalAlpha = 1;
    const words = [];
    for (const [id, star] of Object.entries(data.static[chosen])) {
      if (wanted && Number(id) !== wanted) continue;
      const [x, y] = spot(star, axes), old = data.bank[chosen][id];
      if (old) {
        const [bx, by] = spot(old, axes);
        for (const [wide, colour] of [[3.4, "black"], [1.8, data.colours[id]]]) { pen.lineWidth = wide; pen.strokeStyle = colour; pen.strokeRect(bx - 9, by - 9, 18, 18); }
        pen.lineWidth = 1.4; pen.strokeStyle = "black";
        pen.setLineDash([3, 3]); pen.beginPath(); pen.moveTo(x, y); pen.lineTo(bx, by); pen.stroke(); pen.setLineDash([]);
      }
      words.push([nameOf(id), x, y]);
    }
    pen.font = "bold 13px system-ui,sans-serif";
    for (const [text, x, y] of words) {
      const wide = pen.measureText(text).width, left = x + 15 + wide > side ? x - 14 - wide : x + 13;
      pen.lineWidth = 3.5; pen.strokeStyle = "white"; pen.strokeText(text, left, y + 4);
      pen.fillStyle = "black"; pen.fillText(text, left, y + 4);
    }
    const share = (part) => `component ${part + 1} (${(100 * data.explained[part]).toFixed(0)} %)`;
    scatter.say(`cells: dots of the query, crosses of the support; across ${share(axes[0])}, up ${share(axes[1])}`);
    key.replaceChildren(make("div", { className: "key" }, "large signs: this support's prototypes · small signs: those of the other supports · squares: what the network remembers"));
    if (!mark) { say.textContent = "Point at a photo or at the scatter: the same cell in all of them."; return; }
    const [which, cell] = mark, photo = photos[which], row = Math.floor(cell / photo.columns), column = cell % photo.columns;
    const place = which === data.query ? 0 : 2;
    if (which !== data.query && which !== chosen) { mark = null; return; }
    pin(panels[place], row, column, photo.rows, photo.columns);
    pin(panels[place + 1], row, column, photo.rows, photo.columns);
    const values = [0, 1, 2].map((part) => at(photo, part, cell)), [x, y] = spot(values, axes);
    for (const [width, colour] of [[5, "black"], [2.4, "white"]]) { pen.lineWidth = width; pen.strokeStyle = colour; pen.beginPath(); pen.arc(x, y, 8, 0, 7); pen.stroke(); }
    const nearest = Object.entries(data.static[chosen]).map(([id, star]) => [Math.hypot(...star.map((v, i) => v - values[i])), id]).sort((a, b) => a[0] - b[0])[0];
    say.textContent = `Cell (${row}, ${column}) of the ${place ? "support" : "query"}: ${nameOf(photo.ids[cell])}; ` +
      (nearest ? `nearest prototype in these three components: ${nameOf(nearest[1])}.` : "");
  }
  const bounded = (value, most) => Math.min(most - 1, Math.max(0, value));
  panels.forEach((one, place) => {
    const which = () => (place < 2 ? data.query : get("support")), photo = () => photos[which()];
    points(one, () => photo().rows, () => photo().columns, {
      move: (row, column) => { mark = [which(), row * photo().columns + column]; draw(); },
      keys: (down, right) => {
        const now = mark && mark[0] === which() ? mark[1] : (photo().rows >> 1) * photo().columns + (photo().columns >> 1);
        const row = bounded(Math.floor(now / photo().columns) + down, photo().rows), column = bounded(now % photo().columns + right, photo().columns);
        mark = [which(), row * photo().columns + column];
        draw();
      },
    });
  });
  points(scatter, () => side, () => side, {
    move: (y, x) => {
      let best = [400, null];
      for (const which of [data.query, get("support")]) {
        const photo = photos[which];
        for (let cell = 0; cell < photo.size; cell++) {
          if (!seen(photo.ids[cell])) continue;
          const [px, py] = spot([0, 1, 2].map((part) => at(photo, part, cell)), pair());
          const far = (px - x) ** 2 + (py - y) ** 2;
          if (far < best[0]) best = [far, [which, cell]];
        }
      }
      mark = best[1];
      draw();
    },
  });
  for (const name of Object.keys(tools)) model.on(`change:${name}`, draw);
  draw();
}
