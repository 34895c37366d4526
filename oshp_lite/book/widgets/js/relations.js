// Relatives of a class in another label set, and the attention of both on the photo. See relations.py.

function explore(root, data, model) {
  const [rows, columns] = data.cells, size = rows * columns, colours = bytes(data.ramp);
  const domains = Object.fromEntries(Object.entries(data.domains).map(([name, one]) =>
    [name, { ...one, ids: bytes(one.ids), attention: bytes(one.attention) }]));
  const pairs = Object.fromEntries(Object.entries(data.pairs).map(([key, one]) => [key, {
    static: one.static.map(bytes), dataset: one.dataset.map(bytes), image: one.image.map(bytes),
    dynamic: one.dynamic.map(signed), most: one.most,
  }]));
  const get = (name) => model.get(name), linked = (of) => Object.keys(domains).filter((to) => pairs[`${of}>${to}`]);
  const key = `relations${Math.random().toString(36).slice(2)}`; // of the buttons, whose focus outlives a drawing
  let hover = null;
  const give = (values) => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    settle();
    model.save_changes();
    draw();
  };
  // as the state does it in Python
  function settle() {
    if (!linked(get("of")).includes(get("into"))) model.set("into", linked(get("of"))[0]);
    const { present, ids } = domains[get("of")];
    if (!present.includes(get("class_id"))) {
      const area = (id) => ids.reduce((sum, one) => sum + (one === id), 0);
      model.set("class_id", present.reduce((best, id) => (area(id) > area(best) ? id : best), present[0] || 1));
    }
    const relative = get("relative"), there = domains[get("into")].present;
    if (relative > 0 && relative < domains[get("into")].names.length) return;
    const found = strongest("static").map(([id]) => id);
    model.set("relative", found.find((id) => there.includes(id)) ?? found[0]);
  }
  function strongest(measure) {
    const of = get("of"), into = get("into"), level = get("level"), pair = pairs[`${of}>${into}`];
    const own = measure === "dynamic" || measure === "image", at = own ? level : 0, count = domains[into].names.length;
    const factor = measure === "dynamic" ? pair.most[at] / 127 : 1 / 255;
    const offered = own ? domains[into].present : domains[into].names.map((_, id) => id).slice(1);
    return offered.map((id) => [id, factor * pair[measure][at][get("class_id") * count + id]])
      .sort((a, b) => b[1] - a[1]).slice(0, data.listed);
  }

  const named = Object.entries(domains).map(([name, one]) => [name, one.title]);
  const tools = {
    of: choice("class of", named, (of) => give({ of, relative: 0 })),
    into: choice("relatives in", named, (into) => give({ into, relative: 0 })),
    level: choice("scale of the image", data.strides.map((one, at) => [at, `1/${one}`]), (level) => give({ level })),
  };
  const photo = picture(data.photo, () => draw());
  const first = panel("photo: click a part, or use the arrow keys", rows / columns);
  const maps = ["of", "into"].map((which) => ({ which, ...panel("attention on the photo", rows / columns) }));
  const scales = maps.map((one) => {
    const bar = colourBar(colours, "colour scale of the attention");
    one.figure.append(bar.node);
    return bar;
  });
  const list = make("div", { className: "key", role: "group", "aria-label": "classes" });
  const groups = make("div", { className: "row" }), say = make("p", { className: "say", "aria-live": "polite" });
  root.append(make("div", { className: "tools" }, ...Object.values(tools)), list,
    make("div", { className: "row" }, first.figure, ...maps.map((one) => one.figure)), groups, say);

  function bars(measure, title) {
    const found = strongest(measure), most = Math.max(...found.map(([, value]) => Math.abs(value)), 1e-9);
    const { names, present } = domains[get("into")];
    return make("div", { className: "bars" }, make("div", { style: "font-size:12px" }, title), ...found.map(([id, value], place) => {
      const fill = make("i", { style: `left:0;width:${100 * Math.abs(value) / most}%;background:${value < 0 ? "#c77d3b" : "#5b7fa6"}` });
      return make("button", {
        className: place ? "bar" : "bar best", type: "button", "aria-pressed": String(id === get("relative")),
        "aria-label": `${title}: ${names[id]} ${value.toFixed(2)}`, onclick: () => give({ relative: id }),
        style: present.includes(id) ? "" : "opacity:.55", title: present.includes(id) ? "" : "not in this photo", id: `${key}-${measure}-${id}`,
      }, make("b", {}, names[id]), make("span", { className: "track" }, fill), make("span", { className: "num" }, value.toFixed(2)));
    }));
  }
  function draw() {
    const focus = document.activeElement && document.activeElement.id;
    for (const [name, tool] of Object.entries(tools)) tool.show(get(name));
    for (const option of tools.into.querySelectorAll("option")) option.disabled = !linked(get("of")).includes(option.value);
    const of = domains[get("of")], into = domains[get("into")], chosen = { of: get("class_id"), into: get("relative") };
    list.replaceChildren(...of.present.map((id) => make("button", {
      type: "button", "aria-pressed": String(id === chosen.of), onclick: () => give({ class_id: id, relative: 0 }),
      id: `${key}-class-${id}`, style: id === chosen.of ? "font-weight:bold" : "",
    }, of.names[id])));
    lay(first, photo, null, { grey: false });
    outline(first, rows, columns, (cell) => of.ids[cell] === chosen.of);
    first.say(`photo: click a part; outlined: ${of.title}'s ${of.names[chosen.of]}`);
    maps.forEach((one, at) => {
      const domain = one.which === "of" ? of : into, id = chosen[one.which];
      lay(one, photo, cells(rows, columns, (cell) => shade(colours, domain.attention[id * size + cell], 0, 255)));
      outline(one, rows, columns, (cell) => domain.ids[cell] === id);
      one.say(`attention of ${domain.title}'s ${domain.names[id]}`);
      scales[at].show(0, 1);
    });
    groups.replaceChildren(...Object.entries(data.measures).map(([measure, title]) => bars(measure, title)));
    if (focus && focus.startsWith(key)) document.getElementById(focus)?.focus();
    const best = (measure) => into.names[(strongest(measure)[0] || [0])[0]];
    const cell = hover && hover[0] * columns + hover[1];
    say.textContent = hover
      ? `Here: ${Object.values(domains).map((one) => `${one.title} ${one.names[one.ids[cell]] || "unlabelled"}`).join(", ")}.`
      : `${of.title}'s ${of.names[chosen.of]} in ${into.title}: ${best("static")} by the static prior, ${best("dynamic")} by the dynamic one; ` +
        `learnt: ${best("dataset")} over the data set, ${best("image")} in this image.`;
    if (hover) for (const one of [first, ...maps]) pin(one, ...hover, rows, columns, true);
  }
  function pick(row, column) {
    const id = domains[get("of")].ids[row * columns + column];
    if (domains[get("of")].present.includes(id)) give({ class_id: id, relative: 0 });
  }
  for (const one of [first, ...maps]) {
    points(one, () => rows, () => columns, {
      move: (row, column) => { hover = [row, column]; draw(); },
      leave: () => { hover = null; draw(); },
      click: pick,
      keys: one === first ? (down, right) => {
        const all = domains[get("of")].present, way = down + right > 0 ? 1 : -1;
        hover = null;
        give({ relative: 0, class_id: all[(all.indexOf(get("class_id")) + way + all.length) % all.length] });
      } : undefined,
    });
  }
  for (const name of Object.keys(tools).concat("class_id", "relative")) model.on(`change:${name}`, draw);
  settle();
  draw();
}
