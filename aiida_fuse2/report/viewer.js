// Crystals, drawn with plotly's meshes: one mesh per element holds its spheres and its halves of the bonds.

const SPHERE = unitSphere(14, 24);
const ZOOM = 1.35;
const BOND = { radius: 0.11, sides: 8 };
const LIGHT = { ambient: 0.58, diffuse: 0.48, specular: 0.25, roughness: 0.5, fresnel: 0.05 };

function unitSphere(rings, sides) {
  const points = [[0, 0, 1]], faces = [];
  for (let r = 1; r < rings; r++)
    for (let s = 0; s < sides; s++) {
      const theta = Math.PI * r / rings, phi = 2 * Math.PI * (s + (r % 2) / 2) / sides;
      points.push([Math.sin(theta) * Math.cos(phi), Math.sin(theta) * Math.sin(phi), Math.cos(theta)]);
    }
  points.push([0, 0, -1]);
  const at = (r, s) => 1 + (r - 1) * sides + (s % sides), last = points.length - 1;
  for (let s = 0; s < sides; s++) {
    faces.push([0, at(1, s), at(1, s + 1)], [last, at(rings - 1, s + 1), at(rings - 1, s)]);
    for (let r = 1; r < rings - 1; r++)
      faces.push([at(r, s), at(r + 1, s), at(r + 1, s + 1)], [at(r, s), at(r + 1, s + 1), at(r, s + 1)]);
  }
  return { points, faces };
}

const add = (a, b, k = 1) => [a[0] + k * b[0], a[1] + k * b[1], a[2] + k * b[2]];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = a => { const n = Math.hypot(...a) || 1; return [a[0] / n, a[1] / n, a[2] / n]; };

function emptyMesh(colour) {
  return { type: "mesh3d", x: [], y: [], z: [], i: [], j: [], k: [], color: colour, flatshading: false,
    lighting: LIGHT, lightposition: { x: -100000, y: 140000, z: -6000 }, hoverinfo: "skip", showscale: false };
}

function addPoints(mesh, points, faces) {
  const start = mesh.x.length;
  for (const p of points) { mesh.x.push(p[0]); mesh.y.push(p[1]); mesh.z.push(p[2]); }
  for (const f of faces) { mesh.i.push(start + f[0]); mesh.j.push(start + f[1]); mesh.k.push(start + f[2]); }
}

function addStick(mesh, from, to) {
  const axis = unit(add(to, from, -1));
  const u = unit(cross(axis, Math.abs(axis[2]) < 0.9 ? [0, 0, 1] : [1, 0, 0])), v = cross(axis, u);
  const points = [], faces = [], n = BOND.sides;
  for (let s = 0; s < n; s++) {
    const angle = 2 * Math.PI * s / n;
    const out = add([0, 0, 0].map((_, d) => u[d] * Math.cos(angle)), v, Math.sin(angle));
    points.push(add(from, out, BOND.radius), add(to, out, BOND.radius));
    const a = 2 * s, b = 2 * ((s + 1) % n);
    faces.push([a, a + 1, b + 1], [a, b + 1, b]);
  }
  addPoints(mesh, points, faces);
}

function cellEdges(cell) {
  const lines = { type: "scatter3d", mode: "lines", x: [], y: [], z: [], line: { color: "#51606e", width: 2.5 }, hoverinfo: "skip" };
  const corner = bits => [0, 1, 2].reduce((p, d) => bits >> d & 1 ? add(p, cell[d]) : p, [0, 0, 0]);
  for (let bits = 0; bits < 8; bits++)
    for (let d = 0; d < 3; d++)
      if (!(bits >> d & 1)) {
        const a = corner(bits), b = corner(bits | 1 << d);
        lines.x.push(a[0], b[0], null); lines.y.push(a[1], b[1], null); lines.z.push(a[2], b[2], null);
      }
  const names = { type: "scatter3d", mode: "text", text: ["a", "b", "c"], hoverinfo: "skip",
    textfont: { size: 14, color: "#1c2733", family: FONT } };
  const tips = cell.map(vector => add(vector, unit(vector), 1.3));
  ["x", "y", "z"].forEach((axis, d) => { names[axis] = tips.map(tip => tip[d]); });
  return [lines, names];
}

function crystalTraces(structure) {
  const meshes = structure.elements.map(element => emptyMesh(element.colour));
  for (const [e, x, y, z] of structure.atoms) {
    const radius = structure.elements[e].radius;
    addPoints(meshes[e], SPHERE.points.map(p => [x + radius * p[0], y + radius * p[1], z + radius * p[2]]), SPHERE.faces);
  }
  for (const [a, b] of structure.bonds) {
    const first = structure.atoms[a], second = structure.atoms[b];
    const from = first.slice(1), to = second.slice(1), middle = add(from, to).map(x => x / 2);
    addStick(meshes[first[0]], from, middle);
    addStick(meshes[second[0]], middle, to);
  }
  return [...meshes, ...cellEdges(structure.cell)];
}

// The cell is looked at along b, a little from the right and from above, as in most figures of crystals.
function camera() {
  return { projection: { type: "orthographic" }, eye: { x: 0.4, y: -1.3, z: 0.37 }, up: { x: 0, y: 0, z: 1 } };
}

// Lengths of the axes relative to the longest, so that long cells fit as well as cubes. Their scale is the zoom.
function proportions(traces) {
  const spans = ["x", "y", "z"].map(axis => {
    let low = Infinity, high = -Infinity;
    for (const trace of traces) for (const v of trace[axis]) if (v !== null) { if (v < low) low = v; if (v > high) high = v; }
    return high - low || 1;
  });
  const longest = Math.max(...spans);
  return { x: ZOOM * spans[0] / longest, y: ZOOM * spans[1] / longest, z: ZOOM * spans[2] / longest };
}

function drawCrystal(id, structure, wheel) {
  const box = document.getElementById(id), axis = { visible: false, showspikes: false }, traces = crystalTraces(structure);
  const layout = { margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    scene: { xaxis: axis, yaxis: axis, zaxis: axis, aspectmode: "manual", aspectratio: proportions(traces), dragmode: "orbit", camera: camera() } };
  Plotly.react(box, traces, layout, { displayModeBar: false, responsive: true, scrollZoom: wheel });
  let legend = box.querySelector(".legend");
  if (!legend) { legend = document.createElement("div"); legend.className = "legend"; box.append(legend); }
  legend.id = `legend-${id}`;
  put(legend.id, structure.elements.map(e => html`<span style="--c:${e.colour}">${e.symbol}</span>`));
}
