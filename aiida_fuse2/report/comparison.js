function writeTables() {
  put("status", `${plural(DATA.searches.length, "search").replace(/hs$/, "hes")}. Speed is compared with ${DATA.baseline}.`);
  put("note", `Speed-up is CPU time per structure of the baseline over that of the experiment. Energies within ${number(1000 * DATA.tolerance, 1)} meV/atom count as equal; "found" counts the searches that came so close to the lowest energy of all with the same potential, and "after" is the median number of structures they took. "Gain" is the mean change from the best of the initial population to the best of the search.`);
  put("experiments", rowsTable(
    ["Composition", "Experiment", "Searches", "Structures", "s/structure", "Speed-up", "Lowest, eV/atom", "Gain, meV/atom", "Found", "After"],
    DATA.experiments.map(x => {
      const energy = maybe(x.energy, 4), seconds = x.seconds === null ? "–" : number(x.seconds, 2);
      return [formula(x.formula), x.experiment, x.searches.length, number(x.tried), seconds, maybe(x.speedup, 2), x.is_lowest ? html`<b>${energy}</b>` : energy,
        maybe(x.improvement, 1), `${x.reached} of ${x.searches.length}`, x.structures === null ? "–" : number(x.structures, Number.isInteger(x.structures) ? 0 : 1)];
    })));
  put("searches", rowsTable(
    ["PK", "Composition", "Generator", "Potential", "Seed", "Structures", "CPU time", "Best start, eV/atom", "Lowest, eV/atom"],
    DATA.searches.map(s => [s.pk, formula(s.formula), s.generator, s.potential, s.seed, number(s.tried), duration(s.cpu_seconds), maybe(s.start_energy, 4), maybe(s.energy, 4)])));
  put("made", `Made by aiida-fuse2 ${DATA.version}.`);
}
function drawComposition(name, index) {
  const searches = DATA.searches.filter(s => s.formula === name && s.steps.length);
  if (!searches.length) return;
  byId("compositions").append(document.createElement("div"));
  byId("compositions").lastChild.id = `composition-${index}`;
  put(`composition-${index}`, html`<section><h2>${formula(name)}</h2><p class="note">Lowest energy so far, one line for each search.</p><div class="plot tall" id="plot-${index}"></div></section>`);
  const kinds = [...new Set(DATA.searches.map(s => `${s.generator}, ${s.potential}`))], named = new Set();
  const traces = searches.map(s => {
    const kind = `${s.generator}, ${s.potential}`, last = [s.tried, s.steps[s.steps.length - 1][1]], isNew = !named.has(kind);
    named.add(kind);
    return { type: "scatter", mode: "lines", name: text(kind), legendgroup: kind, showlegend: isNew, x: [...s.steps.map(p => p[0]), last[0]], y: [...s.steps.map(p => p[1]), last[1]],
      line: { color: COLOURS[kinds.indexOf(kind) % COLOURS.length], width: 2, shape: "hv" }, hovertemplate: `search ${text(s.pk)}, seed ${text(s.seed)}<br>%{x}: %{y:.4f} eV/atom<extra></extra>` };
  });
  plot(`plot-${index}`, traces, { legend: { ...LEGEND, entrywidth: NARROW ? 0.98 : undefined }, xaxis: axis("Structure number"), yaxis: axis(ENERGY, { range: energyRange(searches.flatMap(s => s.steps.map(p => p[1]))) }) });
}
writeTables();
[...new Set(DATA.searches.map(s => s.formula))].forEach(drawComposition);
