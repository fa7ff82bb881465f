const meV = (value, digits = 1) => value === null ? "–" : signed(1000 * value, digits);
const rows = DATA.rows, stable = rows.filter(r => r.stable), other = rows.filter(r => !r.stable);
const hover = "<b>%{customdata[0]}</b>, search %{customdata[3]}<br>formation %{customdata[1]} meV/atom<br>%{customdata[2]} meV/atom above the hull<extra></extra>";
const known = r => [text(r.formula), meV(r.formation), meV(r.above), text(r.search)];
const highest = Math.max(1, ...rows.map(r => 1000 * r.above));
const scale = { cmin: 0, cmax: highest, colorscale: [[0, "#f2c48d"], [0.5, "#d1602b"], [1, "#7a1f3d"]],
  colorbar: { title: { text: NARROW ? "above the hull (meV/atom)" : "above the hull<br>(meV/atom)", font: { size: 12 }, side: "top" }, thickness: 12, outlinewidth: 0,
    ...(NARROW ? { orientation: "h", len: 0.9, x: 0.5, y: -0.2, yanchor: "top" } : { len: 0.6 }) } };
const marks = (list, place, isStable) => ({ mode: isStable ? "markers+text" : "markers", name: isStable ? "on the hull" : "above it", ...place, customdata: list.map(known), hovertemplate: hover,
  text: list.map(r => plotFormula(r.formula)), textposition: "bottom center", textfont: { size: 13 }, cliponaxis: false,
  marker: isStable ? { size: 11, color: COLOURS[0], line: { color: "#fff", width: 1.5 } } : { size: 10, symbol: "diamond", color: list.map(r => 1000 * r.above), ...scale, line: { color: "#fff", width: 1 } } });

function drawBinary() {
  const at = list => ({ x: list.map(r => r.parts[1]), y: list.map(r => 1000 * r.formation) });
  const lines = DATA.lines.flatMap(([a, b]) => [rows[a], rows[b], null]);
  const [low, high] = extremes(rows.map(r => 1000 * r.formation)), pad = 0.12 * (high - low || 10);
  const traces = [{ type: "scatter", mode: "lines", x: lines.map(r => r && r.parts[1]), y: lines.map(r => r && 1000 * r.formation), line: { color: COLOURS[0], width: 2 }, hoverinfo: "skip", showlegend: false },
    { type: "scatter", ...marks(stable, at(stable), true) }];
  if (other.length) traces.push({ type: "scatter", ...marks(other, at(other), false) });
  plot("plot-hull", traces, { xaxis: axis(NARROW ? `Share of atoms in ${plotFormula(DATA.ends[1])}` : `Share of the atoms in ${plotFormula(DATA.ends[1])}, the rest in ${plotFormula(DATA.ends[0])}`, { range: [-0.06, 1.06] }),
    yaxis: axis(NARROW ? "Formation (meV/atom)" : "Energy of formation (meV/atom)", { range: [low - 1.6 * pad, high + pad], zeroline: true, zerolinecolor: "#c3ccd5" }) });
}
function drawTernary() {
  const at = list => ({ a: list.map(r => r.parts[0]), b: list.map(r => r.parts[1]), c: list.map(r => r.parts[2]) });
  const lines = DATA.lines.flatMap(([a, b]) => [rows[a], rows[b], null]);
  const traces = [{ type: "scatterternary", mode: "lines", a: lines.map(r => r && r.parts[0]), b: lines.map(r => r && r.parts[1]), c: lines.map(r => r && r.parts[2]), line: { color: COLOURS[0], width: 1.5 }, hoverinfo: "skip", showlegend: false },
    { type: "scatterternary", ...marks(stable, at(stable), true) }];
  if (other.length) traces.push({ type: "scatterternary", ...marks(other, at(other), false) });
  const corner = name => ({ title: { text: plotFormula(name), font: { size: 15 } }, showticklabels: false, ticks: "", gridcolor: "#edf0f3", linecolor: "#8996a3", min: 0 });
  const isCorner = r => r.parts.some(p => p > 0.999999);
  traces[1].text = stable.map(r => isCorner(r) ? "" : plotFormula(r.formula));
  plot("plot-hull", traces, { ternary: { sum: 1, bgcolor: "#fff", aaxis: corner(DATA.ends[0]), baxis: corner(DATA.ends[1]), caxis: corner(DATA.ends[2]) }, margin: { l: 40, r: 40, t: 60, b: 60 } });
}
function drawBars() {
  const shown = [...rows].reverse();
  const at = { x: shown.map(r => 1000 * r.above), y: shown.map(r => plotFormula(r.formula)) };
  byId("plot-hull").style.height = `${120 + 34 * shown.length}px`;
  plot("plot-hull", [{ type: "bar", orientation: "h", width: 0.12, ...at, marker: { color: GREY }, hoverinfo: "skip", showlegend: false },
    { type: "scatter", mode: "markers", ...at, customdata: shown.map(known), hovertemplate: hover, showlegend: false, cliponaxis: false, marker: { size: 12, color: shown.map(r => r.stable ? COLOURS[0] : COLOURS[1]) } }],
    { xaxis: axis(NARROW ? "Above the hull (meV/atom)" : "Energy above the hull (meV/atom)", { rangemode: "tozero" }), yaxis: axis("", { type: "category", showgrid: false }) });
}

const kinds = {
  binary: ["Energy of formation", "Phases on the line are stable against mixtures of the others; those above it are not.", drawBinary],
  ternary: ["Phases and tie lines", "Phases on tie lines are stable against mixtures of the others; colours tell how far the others lie above the hull.", drawTernary],
  bars: ["Energy above the hull", "There are more than three end members: name two or three with --end to see compositions on a line or in a triangle.", drawBars],
};
function start() {
  const [title, note, drawHull] = kinds[DATA.kind];
  put("title", (DATA.ends.length ? DATA.ends : DATA.elements).map((name, i) => [i ? " – " : "", formula(name)]));
  put("status", `Convex hull of the lowest energies of searches with ${DATA.potential}. End members: ${DATA.ends.join(", ")}.`);
  put("notes", DATA.notes.join(" "));
  const lowest = rows.reduce((a, b) => (b.formation ?? 0) < (a.formation ?? 0) ? b : a);
  const facts = [["Compositions", number(rows.length)], ["On the hull", number(stable.length)], ["Lowest formation, meV/atom", lowest.formation === null ? "–" : html`${meV(lowest.formation, 0)} <small>${formula(lowest.formula)}</small>`],
    ["Farthest above, meV/atom", meV(Math.max(...rows.map(r => r.above)), 0)]];
  put("facts", factsList(facts));
  put("plot-title", title);
  put("note", note);
  put("phases", rowsTable(["Composition", "E, eV/atom", "Formation, meV/atom", "Above hull, meV/atom", "Becomes", "Search"],
    rows.map(r => [r.stable ? html`<b>${formula(r.formula)}</b>` : formula(r.formula), signed(r.energy, 4), meV(r.formation), meV(r.above),
      r.stable ? (r.end ? "stable (end member)" : "stable") : r.becomes.map(([name, part], i) => [i ? " + " : "", number(part, 3), " ", formula(name)]), r.search])));
  put("made", `Made by aiida-fuse2 ${DATA.version}.`);
  drawHull();
}
start();
