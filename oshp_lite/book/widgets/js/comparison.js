// Method comparison: the same pixel in every network's parse, errors by kind, sorted by IoU. See comparison.py.

function explore(root, data, model) {
  const [rows, columns] = data.size, size = rows * columns, truth = unrolled(data.truth, size);
  const rivals = data.contenders.map(({ name, ids }) => ({ name, ids: unrolled(ids, size) }));
  const get = (name) => model.get(name);
  const give = (name) => (value) => { model.set(name, value); model.save_changes(); draw(); };
  const nameOf = (id) => data.names[id];
  let place = null;

  function iou(ids, wanted) {
    if (wanted === 0) {
      const all = data.ids.map((id) => iou(ids, id)).filter((value) => !Number.isNaN(value));
      return all.length ? all.reduce((sum, value) => sum + value, 0) / all.length : NaN;
    }
    let both = 0, either = 0;
    for (let at = 0; at < size; at++) {
      if (truth[at] === 255) continue;
      const mine = ids[at] === wanted, true_ = truth[at] === wanted;
      both += mine && true_; either += mine || true_;
    }
    return either ? both / either : NaN;
  }
  // 0 right, 1 missed, 2 false, 3 confused
  function fault(mine, real, wanted) {
    if (real === 255 || mine === real) return 0;
    if (wanted && mine !== wanted && real !== wanted) return 0;
    return mine === 0 ? 1 : real === 0 ? 2 : 3;
  }

  const tools = {
    class_id: choice("class", [[0, "all classes"], ...data.ids.map((id) => [id, nameOf(id)])], give("class_id")),
    show: choice("show", [["errors", "errors"], ["parse", "parses"]], give("show")),
    order: choice("order", [["worst", "worst IoU first"], ["best", "best IoU first"], ["given", "as given"]], give("order")),
    opacity: slider("opacity", 0, 1, 0.05, give("opacity"), (value) => Number(value).toFixed(2)),
    hatched: tick("hatching", give("hatched")),
  };
  const photo = picture(data.photo, () => draw()), support = picture(data.support, () => draw());
  const first = panel("support, marked", support.height / support.width || rows / columns);
  const second = panel("query; arrow keys move the mark", rows / columns), third = panel("query, true parts", rows / columns);
  const panels = rivals.map((rival) => ({ ...rival, ...panel(rival.name, rows / columns) }));
  const box = make("div", { className: "row" }), key = make("div"), say = make("p", { className: "say", "aria-live": "polite" });
  for (const one of [first, second, third, ...panels]) one.figure.style.maxWidth = "215px";
  root.append(make("div", { className: "tools" }, ...Object.values(tools)),
    make("div", { className: "row" }, first.figure, second.figure, third.figure), box, key, say);

  const paints = Object.fromEntries(Object.entries(data.colours).map(([id, colour]) => [id, channels(colour)]));
  const faults = Object.values(data.errors).map(channels);
  const dark = (row, column, kind) => get("hatched") && stripes(kind, row, column, Math.max(5, Math.round(columns / 22)));
  function classes(ids, wanted) {
    return cells(rows, columns, (at) => {
      const id = ids[at];
      if (!paints[id] || (wanted && id !== wanted)) return [0, 0, 0, 0];
      return dark(Math.floor(at / columns), at % columns, data.order.indexOf(id)) ? [15, 15, 15, 255] : [...paints[id], 255];
    });
  }
  function draw() {
    const wanted = get("class_id"), show = get("show"), order = get("order"), alpha = get("opacity");
    for (const [name, tool] of Object.entries(tools)) tool.show(get(name), name === "order" && rivals.length < 2);
    lay(first, support, null, { grey: false });
    lay(second, photo, null, { grey: false });
    lay(third, photo, classes(truth, 0), { grey: false, alpha: 0.65 });
    const scored = panels.map((one) => ({ ...one, score: iou(one.ids, wanted) }));
    if (order !== "given") {
      const way = order === "worst" ? 1 : -1, last = (value) => (Number.isNaN(value) ? Infinity : way * value);
      scored.sort((a, b) => last(a.score) - last(b.score));
    }
    box.replaceChildren(...scored.map((one) => one.figure));
    for (const one of scored) {
      one.say(`${one.name}: IoU ${Number.isNaN(one.score) ? "none" : one.score.toFixed(2)}`);
      const small = show === "parse" ? classes(one.ids, wanted) : cells(rows, columns, (at) => {
        const kind = fault(one.ids[at], truth[at], wanted);
        if (!kind) return [0, 0, 0, 0];
        return dark(Math.floor(at / columns), at % columns, kind - 1) ? [15, 15, 15, 255] : [...faults[kind - 1], 255];
      });
      lay(one, photo, small, { grey: show === "errors", alpha });
    }
    const words = { missed: "missed (background for a class)", false: "false (a class for background)", confused: "confused (one class for another)" };
    key.replaceChildren(legend("classes", data.ids.map((id) => [data.colours[id], nameOf(id), data.order.indexOf(id)]), get("hatched")),
      ...(show === "errors" ? [legend("errors", Object.entries(data.errors).map(([kind, colour], place) => [colour, words[kind], place]), get("hatched"))] : []));
    if (!place) { say.textContent = "Point at a photo: the same pixel in every parse."; return; }
    const at = place[0] * columns + place[1];
    for (const one of [second, third, ...panels]) pin(one, ...place, rows, columns);
    say.textContent = `Pixel (${place[0]}, ${place[1]}): in truth ${nameOf(truth[at])}; ` +
      scored.map((one) => `${one.name}: ${nameOf(one.ids[at])}`).join("; ") + ".";
  }
  const bounded = (value, most) => Math.min(most - 1, Math.max(0, value));
  for (const one of [second, third, ...panels]) {
    points(one, () => rows, () => columns, {
      move: (row, column) => { place = [row, column]; draw(); },
      keys: (down, right) => {
        const [row, column] = place || [rows >> 1, columns >> 1];
        place = [bounded(row + down, rows), bounded(column + right, columns)];
        draw();
      },
    });
  }
  for (const name of Object.keys(tools)) model.on(`change:${name}`, draw);
  draw();
}
