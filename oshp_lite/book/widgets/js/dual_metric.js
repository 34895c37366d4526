// AGM and NPM at moments of a training: probabilities of one class while beta falls. See dual_metric.py.

function explore(root, data, model) {
  const [rows, columns] = data.cells, size = rows * columns, truth = bytes(data.truth), colours = bytes(data.ramp);
  const moments = data.moments.map((one) => ({ beta: one.beta, agm: bytes(one.agm), npm: bytes(one.npm) }));
  const get = (name) => model.get(name);
  const give = (name) => (value) => { model.set(name, value); model.save_changes(); draw(); };
  const nameOf = (id) => data.names[id];
  let mark = null;

  const beta = (step) => moments[step].beta.toFixed(2);
  const tools = {
    step: slider("β", 0, moments.length - 1, 1, give("step"), beta),
    class_id: choice("class", data.ids.slice(1).map((id) => [id, nameOf(id)]), give("class_id")),
  };
  const photo = picture(data.photo, () => draw());
  const query = panel("query photo; arrow keys move the mark", rows / columns);
  const maps = ["agm", "npm"].map((key) => ({ key, name: key.toUpperCase(), ...panel(key.toUpperCase(), rows / columns) }));
  const scales = maps.map((one) => {
    const bar = colourBar(colours, "colour scale of the probability");
    one.figure.append(bar.node);
    return bar;
  });
  const say = make("p", { className: "say", "aria-live": "polite" });
  root.append(make("div", { className: "tools" }, ...Object.values(tools)),
    make("div", { className: "row" }, query.figure, ...maps.map((one) => one.figure)), say);

  const winner = (values, cell) => {
    let best = 0;
    for (let k = 1; k < data.ids.length; k++) if (values[k * size + cell] > values[best * size + cell]) best = k;
    return best;
  };
  function iou(values, k) {
    let both = 0, either = 0;
    for (let cell = 0; cell < size; cell++) {
      if (truth[cell] === 255) continue;
      const mine = winner(values, cell) === k, real = truth[cell] === data.ids[k];
      both += mine && real; either += mine || real;
    }
    return either ? (both / either).toFixed(2) : "none";
  }
  function draw() {
    for (const [name, tool] of Object.entries(tools)) tool.show(get(name));
    const now = moments[get("step")], k = Math.max(1, data.ids.indexOf(get("class_id")));
    const real = (cell) => truth[cell] === data.ids[k];
    lay(query, photo, null, { grey: false });
    outline(query, rows, columns, real);
    maps.forEach((one, at) => {
      lay(one, photo, cells(rows, columns, (cell) => shade(colours, now[one.key][k * size + cell], 0, 255)));
      outline(one, rows, columns, real);
      one.say(`${one.name}: probability of ${nameOf(data.ids[k])}, IoU ${iou(now[one.key], k)}`);
      scales[at].show(0, 1);
    });
    query.say(`query at β = ${beta(get("step"))}; outlined: ${nameOf(data.ids[k])}`);
    if (!mark) { say.textContent = "Point at a photo: what both modules make of that cell."; return; }
    const cell = mark[0] * columns + mark[1];
    for (const one of [query, ...maps]) pin(one, ...mark, rows, columns);
    const spoken = ({ key, name }) => {
      const best = winner(now[key], cell), share = (at) => `${Math.round(100 * now[key][at * size + cell] / 255)} %`;
      return `${name} says ${nameOf(data.ids[best])} (${share(best)}), ${nameOf(data.ids[k])} ${share(k)}`;
    };
    say.textContent = `Cell (${mark[0]}, ${mark[1]}), in truth ${nameOf(truth[cell])}: ${maps.map(spoken).join("; ")}.`;
  }
  const bounded = (value, most) => Math.min(most - 1, Math.max(0, value));
  for (const one of [query, ...maps]) {
    points(one, () => rows, () => columns, {
      move: (row, column) => { mark = [row, column]; draw(); },
      keys: (down, right) => {
        const [row, column] = mark || [rows >> 1, columns >> 1];
        mark = [bounded(row + down, rows), bounded(column + right, columns)];
        draw();
      },
    });
  }
  for (const name of Object.keys(tools)) model.on(`change:${name}`, draw);
  draw();
}
