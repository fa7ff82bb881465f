const meV = (value, digits = 1) => value === null ? "–" : signed(1000 * value, digits);
const rows = DATA.rows, stable = rows.filter(r => r.stable);

function start() {
  put("title", (DATA.ends.length ? DATA.ends : DATA.elements).map((name, i) => [i ? " – " : "", formula(name)]));
  put("status", `Convex hull of the lowest energies of searches with ${DATA.potential}. End members: ${DATA.ends.join(", ")}.`);
  put("notes", DATA.notes.join(" "));
  const lowest = rows.reduce((a, b) => (b.formation ?? 0) < (a.formation ?? 0) ? b : a);
  const facts = [["Compositions", number(rows.length)], ["On the hull", number(stable.length)], ["Lowest formation, meV/atom", lowest.formation === null ? "–" : html`${meV(lowest.formation, 0)} <small>${formula(lowest.formula)}</small>`],
    ["Farthest above, meV/atom", meV(Math.max(...rows.map(r => r.above)), 0)]];
  put("facts", factsList(facts));
  put("phases", rowsTable(["Composition", "E, eV/atom", "Formation, meV/atom", "Above hull, meV/atom", "Becomes", "Search"],
    rows.map(r => [r.stable ? html`<b>${formula(r.formula)}</b>` : formula(r.formula), signed(r.energy, 4), meV(r.formation), meV(r.above),
      r.stable ? (r.end ? "stable (end member)" : "stable") : r.becomes.map(([name, part], i) => [i ? " + " : "", number(part, 3), " ", formula(name)]), r.search])));
  put("made", `Made by aiida-fuse2 ${DATA.version}.`);
  drawPlot(byId("plot-hull"));
}
start();
