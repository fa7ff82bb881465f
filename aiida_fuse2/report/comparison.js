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
  put("tables", html`${DATA.tables.map(t => {
    const bold = new Set(t.bold.map(place => place.join()));
    const cell = (value, line, place) => bold.has(`${line},${place}`) ? html`<b>${maybe(value, t.digits)}</b>` : maybe(value, t.digits);
    const rows = t.rows.map(([name, cells], line) => [formula(name), ...cells.map((value, place) => cell(value, line, place))]);
    return html`<h3>${t.title}</h3><div class="scroll numbers">${rowsTable(["Composition", ...t.columns], rows)}</div>`;
  })}`);
  put("searches", rowsTable(
    ["PK", "Composition", "Generator", "Potential", "Seed", "Structures", "CPU time", "Best start, eV/atom", "Lowest, eV/atom"],
    DATA.searches.map(s => [s.pk, formula(s.formula), s.starts, s.potential, s.seed ?? "–", number(s.tried), duration(s.cpu_seconds), maybe(s.start_energy, 4), maybe(s.energy, 4)])));
  put("made", `Made by aiida-fuse2 ${DATA.version}.`);
}
writeTables();
for (const box of document.querySelectorAll(".plot")) drawPlot(box);
