// Crystals, drawn by 3Dmol.js. Python says what is in the picture of a cell (views.py); several cells are copies of it.

const CELL = { radius: 0.025, colour: "#3b4753" };
const BOND_RADIUS = 0.09, EDGE_RADIUS = 0.022, POLYHEDRON_OPACITY = 0.8;  // 3Dmol.js squares it
const CAMERA = { fov: 20, z: 150, orthographic: true };
const MARGIN = 1.06;  // around the crystal
const FEW = 8;  // fewer atoms without polyhedra, such as four of lonsdaleite, are drawn in several cells at first
const PNG_SCALE = 2;
const AXIS_COLOURS = ["#c62828", "#2e7d32", "#1565c0"], AXIS_LENGTH = 30;

const add = (a, b, k = 1) => [a[0] + k * b[0], a[1] + k * b[1], a[2] + k * b[2]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = a => { const n = Math.hypot(...a) || 1; return [a[0] / n, a[1] / n, a[2] / n]; };
const xyz = p => ({ x: p[0], y: p[1], z: p[2] });

// --- what is in several cells --------------------------------------------------------------------

const upTo = n => [...Array(n).keys()];
// How often a cell is repeated along its axes, so that the whole is about as long as it is wide.
function repeats({ cell }) {
  const lengths = cell.map(vector => Math.hypot(...vector)), wanted = Math.max(...lengths, 2 / 3 * (lengths[0] + lengths[1] + lengths[2]));
  return lengths.map(length => Math.min(3, Math.max(1, Math.round(wanted / length))));
}
// Atoms (element, position, whether in the cells or only the corner of a polyhedron), bonds and polyhedra of several cells.
function scene(structure, [na, nb, nc]) {
  const atoms = [], index = new Map(), bonds = new Map(), hulls = new Map(), lattice = structure.cell;
  for (const cell of upTo(na).flatMap(a => upTo(nb).flatMap(b => upTo(nc).map(c => [a, b, c])))) {
    const here = structure.images.map(([site, ...shift], k) => {
      const at = add(shift, cell), key = `${site} ${at}`;
      if (!index.has(key)) {
        const [element, ...place] = structure.sites[site];
        index.set(key, atoms.push({ element, site, at, place: at.reduce((p, x, d) => add(p, lattice[d], x), place), inside: false }) - 1);
      }
      const number = index.get(key);
      atoms[number].inside ||= k < structure.inside;
      return number;
    });
    for (const [a, b] of structure.bonds) bonds.set(`${Math.min(here[a], here[b])} ${Math.max(here[a], here[b])}`, [here[a], here[b]]);
    for (const [shape, centre, ...corners] of structure.polyhedra) hulls.set(here[centre], { shape, centre: here[centre], corners: corners.map(c => here[c]) });
  }
  atoms.forEach(({ site, at }, number) => {  // bonds from one cell to the next
    for (const [from, to, ...shift] of structure.links) {
      const other = from === site ? index.get(`${to} ${add(at, shift)}`) : undefined;
      if (other !== undefined) bonds.set(`${Math.min(number, other)} ${Math.max(number, other)}`, [number, other]);
    }
  });
  return { atoms, bonds: [...bonds.values()], hulls: [...hulls.values()] };
}

// --- the drawing ---------------------------------------------------------------------------------

function drawAtoms(viewer, structure, { atoms, bonds }, look) {
  const radius = structure.elements.map(e => e.radius), shown = atoms.map(atom => atom.inside || look.polyhedra);
  const model = viewer.addModel();
  const list = atoms.map((atom, i) => ({ elem: structure.elements[atom.element].symbol, ...xyz(atom.place), serial: i, index: i, bonds: [], bondOrder: [], properties: {} }));
  for (const [a, b] of look.bonds ? bonds : []) {
    if (!shown[a] || !shown[b]) continue;
    list[a].bonds.push(b); list[b].bonds.push(a);
    list[a].bondOrder.push(1); list[b].bondOrder.push(1);
  }
  model.addAtoms(list);
  structure.elements.forEach(({ symbol, colour }, e) =>
    model.setStyle({ elem: symbol, predicate: atom => shown[atom.serial] }, { sphere: { radius: radius[e], color: colour }, stick: { radius: BOND_RADIUS, color: colour } }));
  model.setStyle({ predicate: atom => !shown[atom.serial] }, {});
}
function darker(colour) {
  return `#${[1, 3, 5].map(i => Math.round(0.55 * parseInt(colour.slice(i, i + 2), 16)).toString(16).padStart(2, "0")).join("")}`;
}
function drawPolyhedra(viewer, structure, { atoms, hulls }) {
  structure.elements.forEach(({ colour }, e) => {
    const own = hulls.filter(hull => atoms[hull.centre].element === e), mesh = { vertexArr: [], normalArr: [], faceArr: [] };
    if (!own.length) return;
    const sticks = viewer.addShape({ color: darker(colour) });
    for (const { shape, corners } of own) {
      const [faces, edges] = structure.shapes[shape], places = corners.map(c => atoms[c].place);
      for (const face of faces) {  // each face has its own corners, for it is flat
        const [p, q, r] = face.map(c => places[c]), normal = xyz(unit(cross(add(q, p, -1), add(r, p, -1))));
        for (const corner of [p, q, r]) mesh.faceArr.push(mesh.vertexArr.push(xyz(corner)) - 1);
        mesh.normalArr.push(normal, normal, normal);
      }
      for (const [a, b] of edges) sticks.addCylinder({ start: xyz(places[a]), end: xyz(places[b]), radius: EDGE_RADIUS, color: darker(colour) });
    }
    viewer.addCustom({ ...mesh, color: colour, opacity: POLYHEDRON_OPACITY });
  });
}
function drawCells(viewer, { cell }, n) {
  const lines = viewer.addShape({ color: CELL.colour });
  for (let d = 0; d < 3; d++)
    for (const i of upTo(n[(d + 1) % 3] + 1))
      for (const j of upTo(n[(d + 2) % 3] + 1)) {
        const start = add(add([0, 0, 0], cell[(d + 1) % 3], i), cell[(d + 2) % 3], j);
        lines.addCylinder({ start: xyz(start), end: xyz(add(start, cell[d], n[d])), radius: CELL.radius, color: CELL.colour, fromCap: 2, toCap: 2 });
      }
}

// --- the view ------------------------------------------------------------------------------------

// Rows of the rotation: the directions to the right, up and to the viewer.
function directions(cell, along) {
  const [a, b, c] = cell.map(unit);
  const side = unit(cross(c, a));
  const [to, up] = { a: [a, c], b: [b.map(x => -x), c], c: [c, b], free: [add(add(add([0, 0, 0], a, 0.34), side, -1), c, 0.27), c] }[along];
  const near = unit(to), right = unit(cross(up, near));
  return [right, cross(near, right), near];
}
function quaternion([[a, b, c], [d, e, f], [g, h, i]]) {
  const trace = a + e + i;
  if (trace > 0) { const s = 2 * Math.sqrt(1 + trace); return [(h - f) / s, (c - g) / s, (d - b) / s, s / 4]; }
  if (a > e && a > i) { const s = 2 * Math.sqrt(1 + a - e - i); return [s / 4, (b + d) / s, (c + g) / s, (h - f) / s]; }
  if (e > i) { const s = 2 * Math.sqrt(1 + e - a - i); return [(b + d) / s, s / 4, (f + h) / s, (c - g) / s]; }
  const s = 2 * Math.sqrt(1 + i - a - e);
  return [(c + g) / s, (f + h) / s, s / 4, (d - b) / s];
}
function rotated([x, y, z, w], v) {
  const t = cross([x, y, z], v).map(k => 2 * k);
  return add(add(v, t, w), cross([x, y, z], t));
}
// The crystal fills the picture, whatever its shape.
function look(shown, along) {
  const rows = directions(shown.structure.cell, along), low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (const { element, place, inside } of shown.scene.atoms) {
    if (!inside && !shown.look.polyhedra) continue;
    const radius = shown.structure.elements[element].radius;
    rows.forEach((row, d) => { const x = dot(row, place); low[d] = Math.min(low[d], x - radius); high[d] = Math.max(high[d], x + radius); });
  }
  const corners = [0, 1, 2, 3, 4, 5, 6, 7].map(k => shown.structure.cell.reduce((p, vector, d) => add(p, vector, k >> d & 1 ? shown.cells[d] : 0), [0, 0, 0]));
  for (const corner of corners)
    rows.forEach((row, d) => { const x = dot(row, corner); low[d] = Math.min(low[d], x); high[d] = Math.max(high[d], x); });
  const { clientWidth: width, clientHeight: height } = shown.canvas;
  const middle = rows.reduce((p, row, d) => add(p, row, (low[d] + high[d]) / 2), [0, 0, 0]);
  const half = MARGIN / 2 * Math.max(high[0] - low[0], (high[1] - low[1]) * width / height);
  shown.viewer.setView([...middle.map(x => -x), CAMERA.z - half / Math.tan(CAMERA.fov * Math.PI / 180), ...quaternion(rows)]);
}
function drawAxes(context, structure, turn, left, bottom, scale) {
  const tips = structure.cell.map((vector, d) => ({ d, tip: rotated(turn, unit(vector)) })).sort((p, q) => p.tip[2] - q.tip[2]);
  context.lineWidth = 2.4 * scale;
  context.font = `italic 600 ${15 * scale}px ${FONT}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const { d, tip } of tips) {
    const [x, y] = [tip[0], -tip[1]], length = Math.hypot(x, y), [u, v] = length > 0.05 ? [x / length, y / length] : [0, 0];
    const end = [left + AXIS_LENGTH * scale * x, bottom + AXIS_LENGTH * scale * y];
    context.strokeStyle = context.fillStyle = AXIS_COLOURS[d];
    context.beginPath();
    context.moveTo(left, bottom);
    context.lineTo(...end);
    context.stroke();
    context.beginPath();
    if (length > 0.25) {
      const size = 7 * scale;
      context.moveTo(end[0] + size * u, end[1] + size * v);
      context.lineTo(end[0] - size * v * 0.55, end[1] + size * u * 0.55);
      context.lineTo(end[0] + size * v * 0.55, end[1] - size * u * 0.55);
    } else context.arc(...end, 3.2 * scale, 0, 2 * Math.PI);
    context.fill();
    const away = 16 * scale;
    context.fillText("abc"[d], end[0] + (length > 0.05 ? away * u : -0.7 * away), end[1] + (length > 0.05 ? away * v : 0.7 * away));
  }
}
const turnOf = viewer => viewer.getView().slice(4, 8);
function showAxes(shown) {
  const { axes, viewer, structure } = shown, scale = window.devicePixelRatio || 1, size = 110;
  axes.width = axes.height = size * scale;
  drawAxes(axes.getContext("2d"), structure, turnOf(viewer), size / 2 * scale, size / 2 * scale, scale);
}

// --- pictures as files ---------------------------------------------------------------------------

// The crystal is drawn once in a larger size, with axes and legend as on the page.
function picture(shown) {
  const { canvas, viewer, structure } = shown, size = [canvas.clientWidth, canvas.clientHeight];
  canvas.style.width = `${PNG_SCALE * size[0]}px`;
  canvas.style.height = `${PNG_SCALE * size[1]}px`;
  viewer.resize();
  viewer.render();
  const from = viewer.getCanvas(), page = document.createElement("canvas"), context = page.getContext("2d");
  const scale = from.width / size[0];  // on a narrow page, axes and legend are below the crystal
  [page.width, page.height] = [from.width, from.height + scale * (canvas.parentElement.clientHeight - size[1])];
  context.fillStyle = "#fff";
  context.fillRect(0, 0, page.width, page.height);
  context.drawImage(from, 0, 0);
  canvas.style.width = canvas.style.height = "";
  viewer.resize();
  viewer.render();
  drawAxes(context, structure, turnOf(viewer), 55 * scale, page.height - 55 * scale, scale);
  context.font = `${14 * scale}px ${FONT}`;
  context.textAlign = "left";
  context.textBaseline = "middle";
  let right = page.width - 14 * scale;
  for (const { symbol, colour } of [...structure.elements].reverse()) {
    right -= context.measureText(symbol).width;
    context.fillStyle = "#1c2733";
    context.fillText(symbol, right, page.height - 18 * scale);
    context.beginPath();
    context.arc(right - 11 * scale, page.height - 18 * scale, 6 * scale, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.fill();
    context.strokeStyle = "rgba(0,0,0,.4)";
    context.lineWidth = scale;
    context.stroke();
    right -= 32 * scale;
  }
  return page;
}
function savePicture(shown) {
  picture(shown).toBlob(blob => save(blob, shown.structure.file.replace(/\.cif$/, "") + ".png"), "image/png");
}
function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// --- the boxes of a page -------------------------------------------------------------------------

const boxes = new Map();
const VIEWS = [["free", "⟲", "Turn back"], ["a", html`<i>a</i>`, "Look along a"], ["b", html`<i>b</i>`, "Look along b"], ["c", html`<i>c</i>`, "Look along c"]];

function redraw(shown, along) {
  const { viewer, structure, look: options } = shown, view = viewer.getView(), several = repeats(structure);
  const cells = options.cells ? several : [1, 1, 1];
  shown.cells = cells;
  shown.scene = scene(structure, cells);
  viewer.removeAllModels();
  viewer.removeAllShapes();
  drawAtoms(viewer, structure, shown.scene, options);
  if (options.polyhedra) drawPolyhedra(viewer, structure, shown.scene);
  drawCells(viewer, structure, cells);
  viewer.setSlab(-1000, 1000);
  if (along) look(shown, along); else viewer.setView(view);
  viewer.render();
  showAxes(shown);
  const has = { polyhedra: structure.polyhedra.length > 0, bonds: structure.bonds.length > 0 };
  for (const button of shown.box.querySelectorAll("[data-part]")) {
    button.disabled = has[button.dataset.part] === false;
    button.setAttribute("aria-pressed", options[button.dataset.part] && !button.disabled);
    if (button.dataset.part === "cells") button.textContent = several.join("×");
  }
}
function pressed(shown, button) {
  const { part, view, png } = button.dataset, options = shown.look;
  if (part) options[part] = !options[part];
  if (part) redraw(shown, part === "cells" ? "free" : null);
  if (view) { look(shown, view); shown.viewer.render(); showAxes(shown); }
  if (png) savePicture(shown);
}
function makeBox(id, wheel) {
  const box = byId(id);
  put(id, html`<div class="stage"><div class="canvas"></div><canvas class="axes" aria-hidden="true"></canvas><div class="legend" id="legend-${id}"></div></div><div class="look">${[
    html`<span><button data-part="polyhedra">Polyhedra</button><button data-part="bonds">Bonds</button><button data-part="cells" title="Several cells"></button></span>`,
    html`<span>${VIEWS.map(([name, sign, title]) => html`<button data-view="${name}" title="${title}" aria-label="${title}">${sign}</button>`)}</span>`,
    html`<button data-png="1" title="Save the picture">PNG</button>`]}</div>`);
  const canvas = box.querySelector(".canvas");
  let viewer;
  try {
    viewer = $3Dmol.createViewer(canvas, { backgroundColor: "white", disableFog: true, antialias: true });
  } catch (error) {
    put(id, html`<p class="note">This browser cannot draw crystals: WebGL is missing.</p>`);
    return null;
  }
  viewer.setCameraParameters(CAMERA);
  const shown = { box, canvas, viewer, axes: box.querySelector(".axes"), look: { polyhedra: true, bonds: true, cells: false } };
  viewer.setViewChangeCallback(() => shown.structure && showAxes(shown));
  if (!wheel) box.addEventListener("wheel", event => event.stopPropagation(), { capture: true });
  box.querySelector(".look").addEventListener("click", event => {
    const button = event.target.closest("button");
    if (button) pressed(shown, button);
  });
  return shown;
}
function drawCrystal(id, structure, wheel) {
  if (!boxes.has(id)) boxes.set(id, makeBox(id, wheel));
  const shown = boxes.get(id);
  if (!shown) return;
  shown.structure = structure;
  shown.look.cells = !structure.polyhedra.length && structure.inside < FEW;
  put(`legend-${id}`, structure.elements.map(e => html`<span style="--c:${e.colour}">${e.symbol}</span>`));
  redraw(shown, "free");
}
