// A photo to paint classes on: strokes are drawn here, and each is sent once, when the pointer is lifted.
const TOOLS = [
  ["lasso", "Lasso", "l", "Draw around a region"],
  ["polygon", "Polygon", "p", "Click the corners; Enter or a double click closes it, Escape drops it"],
  ["brush", "Brush", "b", "Paint over a region"],
  ["erase", "Erase", "e", "Brush that takes away"],
];
const KINDS = { lasso: 0, polygon: 1, brush: 2, erase: 3 };

function make(tag, parent, attributes = {}, text = "") {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  parent.append(node);
  return node;
}

function render({ model, el }) {
  const quiet = { "data-lm-suppress-shortcuts": "true" }; // a letter typed here is no notebook command
  const root = make("div", el, { class: "oshp-painter", tabindex: "0", role: "group", ...quiet });
  root.setAttribute("aria-label", model.get("label"));
  make("div", root, { class: "title" }, model.get("label"));
  const bar = make("div", root, { class: "bar", role: "toolbar", "aria-label": "Tools" });
  const buttons = {};
  let tool = "lasso", points = [], drawing = false, serial = 0;

  function choose(name) {
    tool = name;
    points = [];
    drawing = false;
    for (const [key, button] of Object.entries(buttons)) button.setAttribute("aria-pressed", String(key === name));
    draw();
  }
  for (const [name, label, key, hint] of TOOLS) {
    buttons[name] = make("button", bar, { type: "button", title: `${hint} (key ${key.toUpperCase()})`, ...quiet }, label);
    buttons[name].addEventListener("click", () => choose(name));
  }
  const size = make("input", bar, { type: "range", min: "1", max: "60", value: "12", "aria-label": "Brush radius", title: "Brush radius (keys [ and ])", ...quiet });
  const undo = make("button", bar, { type: "button", title: "Take back the last stroke (key Z)", ...quiet }, "Undo");
  undo.addEventListener("click", () => command("undo"));
  const clear = make("button", bar, { type: "button", title: "Take back all strokes", ...quiet }, "Clear");
  clear.addEventListener("click", () => command("clear"));

  const list = make("div", root, { class: "classes", role: "radiogroup", "aria-label": "Class to paint" });
  function classes() {
    list.replaceChildren();
    const known = model.get("classes"), current = model.get("current");
    known.forEach((one, place) => {
      const row = make("span", list, { class: "one" });
      const pick = make("input", row, { type: "radio", name: `c${model.get("key")}`, "aria-label": `Paint ${one.name}`, title: `Key ${place + 1}`, ...quiet });
      pick.checked = place === current;
      pick.addEventListener("change", () => set("current", place));
      if (!model.get("named")) {
        const swatch = make("span", row, { class: "swatch" });
        swatch.style.background = one.colour;
        make("span", row, {}, one.name);
        return;
      }
      const colour = make("input", row, { type: "color", value: one.colour, "aria-label": `Colour of ${one.name}`, ...quiet });
      const name = make("input", row, { type: "text", value: one.name, size: "10", maxlength: "40", "aria-label": `Name of class ${place + 1}`, ...quiet });
      const change = () => {
        const next = model.get("classes").map((old) => ({ ...old }));
        next[place] = { name: name.value.trim() || `class ${place + 1}`, colour: colour.value };
        set("classes", next);
      };
      colour.addEventListener("change", change);
      name.addEventListener("change", change);
    });
    if (model.get("named") && known.length < model.get("most")) {
      const more = make("button", list, { type: "button", title: "Another class", ...quiet }, "+ class");
      more.addEventListener("click", () => command("class"));
    }
  }

  const stage = make("div", root, { class: "stage" });
  const photo = make("img", stage, { alt: model.get("label"), draggable: "false" });
  const over = make("img", stage, { alt: "", draggable: "false", class: "over" });
  const canvas = make("canvas", stage, { "aria-label": "Painting area" });
  const pen = canvas.getContext("2d");

  function set(name, value) {
    model.set(name, value);
    model.save_changes();
  }
  function command(word) {
    points = [];
    drawing = false;
    draw();
    set("command", `${word} ${++serial}`);
  }
  function place() {
    const [height, width] = model.get("size");
    const shown = Math.min(model.get("width"), (1.5 * model.get("width") * width) / height); // tall photos fit a screen
    root.style.maxWidth = `${model.get("width")}px`;
    stage.style.width = `${shown}px`;
    stage.style.height = `${(shown * height) / width}px`;
    [canvas.width, canvas.height] = [width, height];
    photo.src = model.get("photo");
    over.src = model.get("overlay");
    draw();
  }
  function at(event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
  }
  function radius() {
    return (Number(size.value) * canvas.width) / Math.max(1, canvas.getBoundingClientRect().width);
  }
  function draw(next) {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const path = next ? [...points, next] : points;
    if (!path.length) return;
    const one = model.get("classes")[model.get("current")];
    pen.strokeStyle = pen.fillStyle = tool === "erase" ? "#ffffff" : one.colour;
    pen.globalAlpha = tool === "brush" || tool === "erase" ? 0.6 : 1;
    pen.lineJoin = pen.lineCap = "round";
    pen.lineWidth = tool === "brush" || tool === "erase" ? 2 * radius() : Math.max(1.5, canvas.width / 250);
    pen.beginPath();
    path.forEach(([x, y], place) => (place ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    if (path.length === 1) pen.lineTo(path[0][0] + 0.01, path[0][1]);
    pen.stroke();
  }
  function send() {
    const path = points;
    points = [];
    drawing = false;
    if (path.length >= (tool === "lasso" || tool === "polygon" ? 3 : 1)) {
      const numbers = [++serial, KINDS[tool], model.get("current") + 1, radius(), ...path.flat()];
      set("stroke", new DataView(Float32Array.from(numbers).buffer));
    }
    draw();
  }
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    root.focus({ preventScroll: true });
    event.preventDefault();
    if (tool === "polygon") {
      points.push(at(event));
      if (event.detail > 1) {
        points.pop();
        send();
      } else draw();
      return;
    }
    canvas.setPointerCapture(event.pointerId);
    drawing = true;
    points = [at(event)];
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (tool === "polygon" && points.length) draw(at(event));
    if (!drawing) return;
    const moves = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const one of moves.length ? moves : [event]) points.push(at(one));
    draw();
  });
  canvas.addEventListener("pointerup", () => drawing && send());
  canvas.addEventListener("pointercancel", () => choose(tool));
  root.addEventListener("keydown", (event) => {
    if (event.target.type === "text") return;
    const key = event.key.toLowerCase();
    const wanted = TOOLS.find((one) => one[2] === key);
    if (wanted && !event.ctrlKey && !event.metaKey) choose(wanted[0]);
    else if (key === "z") command("undo");
    else if (key === "enter" && tool === "polygon") send();
    else if (key === "escape") choose(tool);
    else if (key === "[") size.value = Number(size.value) - 2;
    else if (key === "]") size.value = Number(size.value) + 2;
    else if (/^[1-9]$/.test(key) && Number(key) <= model.get("classes").length) set("current", Number(key) - 1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  model.on("change:photo change:size", place);
  model.on("change:overlay", () => (over.src = model.get("overlay")));
  model.on("change:classes change:current", classes);
  classes();
  choose("lasso");
  place();
}

export default { render };
