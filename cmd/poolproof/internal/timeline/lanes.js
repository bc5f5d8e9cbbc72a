// The faults of a run, as spans above its plots, a lane for each kind.

const ROW = 17, ROWS = 6; // pixels, and rows of a lane at most: more faults than that overlap

const place = (run, at) => 100 * at / end(run) + '%';

// words says what a fault was, in lines of a name and a text.
function words(f) {
  const lines = [['', `${f.kind}${f.options ? ' ' + f.options : ''}, ${f.victim}`],
    ['injected', `at ${seconds(f.at)}`]];
  if (f.landed > 0) lines.push(['landed', `after ${seconds(f.landed - f.at)}`]);
  if (f.healed > 0 && f.landed > 0) lines.push(['healed', `after ${seconds(f.healed - f.landed)} more`]);
  if (f.evidence) lines.push(['seen', f.evidence]);
  if (f.error) lines.push(['error', f.error]);
  return lines;
}

function tell(box, f) {
  box.replaceChildren();
  words(f).forEach(([name, text], i) => {
    const part = make(i === 0 ? 'b' : 'span', name === 'error' ? 'error' : '', (i ? ' · ' : '') + (name && name !== 'error' ? name + ' ' : '') + text);
    box.append(part);
  });
}

// rows gives each fault of a lane a row in which it overlaps none, if there are enough.
function rows(faults, least) {
  const ends = [];
  return faults.map((f) => {
    let row = ends.findIndex((e) => e <= f.at);
    if (row < 0) row = ends.length < ROWS ? ends.length : ends.indexOf(Math.min(...ends));
    ends[row] = Math.max(f.healed, f.landed, f.at) + least;
    return row;
  });
}

// shadePhases lays the phases under what stands in a box.
function shadePhases(box, run, named) {
  for (const p of run.phases) {
    const e = make('div', 'phase ' + (p.name === 'harm' || p.name === 'recovery' ? p.name : ''), named ? p.name : undefined);
    e.style.left = place(run, p.from);
    e.style.width = place(run, p.to - p.from);
    if (named) e.title = `${p.name}: ${seconds(p.from)} to ${seconds(p.to)}`;
    box.append(e);
  }
}

// faultSpan makes the span of a fault, which tells what is known of it.
function faultSpan(run, f, row, detail) {
  const span = make('button', f.landed > 0 && !f.error ? 'fault' : 'fault missed');
  const to = Math.max(f.healed, f.landed, f.at);
  span.type = 'button';
  span.style.left = place(run, f.at);
  span.style.width = place(run, to - f.at);
  span.style.top = 17 + row * ROW + 'px';
  const text = words(f).map(([name, text]) => (name ? name + ' ' : '') + text).join(', ');
  span.title = text;
  span.setAttribute('aria-label', text);
  const show = () => {
    for (const other of detail.parentNode.querySelectorAll('.fault.chosen')) other.classList.remove('chosen');
    span.classList.add('chosen');
    tell(detail, f);
  };
  for (const event of ['click', 'mouseenter', 'focus']) span.addEventListener(event, show);
  return span;
}

// drawLanes makes the lanes of a run in a box.
function drawLanes(box, run) {
  const lanes = make('div', 'lanes'), names = make('div', 'phases');
  const detail = make('p', 'evidence', run.faults.length ? 'Point at a fault, or tap it, to see how it was found to have landed.' : 'There were no faults.');
  detail.setAttribute('aria-live', 'polite');
  shadePhases(names, run, true);
  lanes.append(names);
  const kinds = [...new Set(run.faults.map((f) => f.kind))];
  for (const kind of kinds) {
    const faults = run.faults.filter((f) => f.kind === kind).sort((a, b) => a.at - b.at);
    const lane = make('div', 'lane');
    const given = rows(faults, 12 * end(run) / Math.max(box.clientWidth, 200));
    lane.style.height = 20 + ROW * (1 + Math.max(...given)) + 'px';
    shadePhases(lane, run, false);
    lane.append(make('span', '', `${kind} × ${faults.length}`));
    faults.forEach((f, i) => lane.append(faultSpan(run, f, given[i], detail)));
    lanes.append(lane);
  }
  const title = make('h3', '', 'Faults');
  box.append(title, lanes, detail);
}
