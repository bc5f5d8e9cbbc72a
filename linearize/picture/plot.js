// Drawing: the lanes that are scrolled into view, the axis, and the overview.

const NS = 'http://www.w3.org/2000/svg';
const $ = (id) => document.getElementById(id);
const rowHeight = 25, barHeight = 19, headHeight = 22, laneMargin = 4, letter = 6.3, pinRadius = 9;

// state is what the user sees, and changes through page.js alone.
const state = { show: 'lanes', scale: null, shown: [], view: [0, 1], chosen: null, height: 0 };

function make(tag, attributes, parent, text) {
  const e = document.createElementNS(NS, tag);
  for (const name in attributes) e.setAttribute(name, attributes[name]);
  if (text !== undefined) e.textContent = text;
  if (parent) parent.append(e);
  return e;
}

function patterns(svg) {
  const defs = make('defs', {}, svg);
  for (const [id, colour, angle] of [['hatch-open', 'var(--open)', 45], ['hatch-fault', 'var(--fault)', 135]]) {
    const p = make('pattern', { id, width: 6, height: 6, patternUnits: 'userSpaceOnUse', patternTransform: `rotate(${angle})` }, defs);
    make('rect', { width: 6, height: 6, fill: 'var(--card)' }, p);
    make('rect', { width: 2, height: 6, fill: colour, 'fill-opacity': 0.55 }, p);
  }
}

// frame says where things are across the page.
function frame() {
  const width = $('scroll').clientWidth;
  const gutter = width < 560 ? 62 : 124;
  const right = width - 6;
  const [from, to] = state.view;
  const x = (t) => t === Infinity ? right + 1e6 : gutter + (state.scale.place(t) - from) / (to - from) * (right - gutter);
  return { width, gutter, right, x };
}

// place finds a height for each lane.
function layOut() {
  let y = 0, group = '';
  for (const s of state.shown) {
    s.head = s.lane.group !== group && s.lane.group !== 'faults' && s.lane.group !== 'pool' ? headHeight : 0;
    group = s.lane.group;
    s.y = y + s.head;
    s.height = s.rows * rowHeight + 2 * laneMargin;
    y = s.y + s.height;
  }
  state.height = y;
}

function fitText(text, width) {
  const n = Math.floor(width / letter);
  if (text.length <= n) return text;
  return n < 3 ? '' : text.slice(0, n - 1) + '…';
}

// labels returns what may stand in an item, the fullest first.
function labels(item) {
  const s = item.source, worker = `w${s.worker}`, name = s.session ? ' ' + s.session : '';
  if (item.what === 'fault') return [s.text ? `${s.kind}: ${s.text}` : s.kind, s.kind];
  if (item.what === 'lease') {
    if (item.lane.group === 'sessions') return [`worker ${s.worker}, client ${s.client}`, `worker ${s.worker}`, worker];
    return [`client ${s.client}${s.session ? ', session' + name : ''}`, `c${s.client}${name}`, `c${s.client}`];
  }
  const who = item.lane.group === 'clients' ? '' : `c${s.client} `;
  if (s.open) return [`${who}${s.kind}${name}: no answer`, 'no answer', '?'];
  if (s.outcome === 'granted') return [`${s.kind}${name} → ${worker}`, `${s.kind} → ${worker}`, `→ ${worker}`, worker];
  if (s.outcome === 'done') return [`${who}${s.kind}${s.lease ? ' ' + worker : name}`, `${who}${s.kind}`, s.lease ? worker : ''];
  return [`${who}${s.kind}${name}: ${s.outcome}`, `${s.kind}: ${s.outcome}`, s.outcome, '✕'];
}

function styleOf(item) {
  if (item.what === 'lease') return 'lease w' + BigInt(item.source.worker || 0) % 6n;
  if (item.what !== 'call') return item.what;
  const outcome = item.source.outcome;
  return 'call ' + (['granted', 'done', 'no-answer'].includes(outcome) ? outcome : 'refused');
}

// drawBar draws an item that has a length; f is the frame, y the top of its row.
function drawBar(item, f, y, layers) {
  const least = item.mark ? 8 : 2;
  const x0 = Math.max(f.gutter, f.x(item.a));
  const x1 = Math.min(f.right, Math.max(f.x(item.b), x0 + least));
  const names = { class: `item ${styleOf(item)}${item.mark ? ' marked' : ''}`, 'data-key': item.key, 'data-ref': item.ref };
  const g = make('g', names, item.mark ? layers.marks : layers.bars);
  const top = y + (rowHeight - barHeight) / 2, middle = y + rowHeight / 2;
  if (item.sure) {
    const lines = make('g', { ...names, class: `item ${styleOf(item)}` }, layers.lines);
    for (const [from, to] of [[f.x(item.from), x0], [x1, item.open && item.sure.length === 2 ? f.right : f.x(item.to)]]) {
      const left = Math.max(f.gutter, from), end = Math.min(f.right, to);
      if (end - left > 1) make('line', { class: 'maybe', x1: left, x2: end, y1: middle, y2: middle }, lines);
    }
  }
  const endless = item.b === Infinity;
  if (endless && x1 - x0 > 10) {
    const d = `M${x0} ${top}H${x1 - 8}L${x1} ${middle}L${x1 - 8} ${top + barHeight}H${x0}Z`;
    make('path', { class: 'body', d }, g);
  } else {
    make('rect', { class: 'body', x: x0, y: top, width: x1 - x0, height: barHeight, rx: Math.min(3, (x1 - x0) / 2) }, g);
  }
  const parked = item.what === 'call' && item.source.parked ? f.x(item.source.parked) : 0;
  if (parked > x0 && parked < x1) make('line', { class: 'notch', x1: parked, x2: parked, y1: top + barHeight - 6, y2: top + barHeight }, g);
  const inside = item.mark && x1 - x0 >= 3 * pinRadius;
  const room = x1 - x0 - 10 - (inside ? 2 * pinRadius : 0) - (endless ? 8 : 0);
  const all = labels(item);
  const text = all.find((t) => t && t.length * letter <= room) ?? fitText(all[0], room);
  if (text) make('text', { x: x0 + 5 + (inside ? 2 * pinRadius : 0), y: middle + 4 }, g, text);
  item.box = { x: x0, y: top, width: x1 - x0, height: barHeight };
  if (item.mark) drawPin(item, inside ? x0 + pinRadius + 2 : Math.max(f.gutter + pinRadius, x0 - pinRadius - 3), middle, g);
  if (state.chosen && state.chosen.item === item) drawRing(item, g);
}

function drawPin(item, x, y, g) {
  const wide = String(item.mark).length > 2 ? 5 : 0;
  make('rect', { class: 'pin', x: x - pinRadius - wide, y: y - pinRadius, width: 2 * (pinRadius + wide), height: 2 * pinRadius, rx: pinRadius }, g);
  make('text', { class: 'pin-text', x, y: y + 4 }, g, item.mark);
}

function drawRing(item, g) {
  const b = item.box;
  g.classList.add('chosen');
  make('rect', { class: 'ring', x: b.x - 3, y: b.y - 3, width: b.width + 6, height: b.height + 6, rx: 5 }, g);
}

// drawChange draws what happened at once, as a diamond.
function drawChange(item, f, y, parent) {
  const x = f.x(item.a), middle = y + rowHeight / 2, r = item.mark ? 7 : 5;
  const g = make('g', { class: `item change${item.mark ? ' marked' : ''}`, 'data-key': item.key, 'data-ref': item.ref }, parent);
  make('path', { class: 'body', d: `M${x - r} ${middle}L${x} ${middle - r}L${x + r} ${middle}L${x} ${middle + r}Z` }, g);
  item.box = { x: x - r, y: middle - r, width: 2 * r, height: 2 * r };
  if (item.mark) drawPin(item, x + r + pinRadius + 1, middle, g);
  if (state.chosen && state.chosen.item === item) drawRing(item, g);
}

// drawDense draws many items that are too narrow to tell apart.
function drawDense(run, y, parent) {
  const g = make('g', { class: 'item dense', 'data-dense': `${run.from} ${run.to} ${run.count}` }, parent);
  make('rect', { class: 'body', x: run.x0, y: y + 6, width: Math.max(2, run.x1 - run.x0), height: rowHeight - 12 }, g);
}

// drawLane draws what of a lane is in the view: lines under bars, bars under marks.
function drawLane(s, f, layers) {
  const runs = [];
  let diamond = -Infinity;
  for (const item of s.items) {
    const x0 = f.x(item.a), x1 = f.x(item.b);
    const reach = item.sure ? Math.max(x1, item.open ? Infinity : f.x(item.to)) : x1;
    item.box = null;
    if (x0 > f.right || reach < f.gutter || item.sure && x1 < f.gutter && item.what === 'hold') continue;
    const y = s.y + laneMargin + s.row(item) * rowHeight;
    if (item.what === 'hold') {
      const left = Math.max(f.gutter, x0), end = Math.min(f.right, x1), middle = y + rowHeight / 2;
      if (end - left > 1) make('line', { class: 'hold', 'data-ref': item.ref, x1: left, x2: end, y1: middle, y2: middle }, layers.lines);
    } else if (item.what === 'change') {
      const chosen = state.chosen && state.chosen.item === item;
      if (!item.mark && !chosen && x0 - diamond < 7) continue;
      diamond = x0;
      drawChange(item, f, y, layers.marks);
    } else if (!item.mark && x1 - x0 < 2.5 && !(state.chosen && state.chosen.item === item)) {
      const run = runs[item.row];
      if (run && x0 - run.x1 < 3) {
        run.x1 = Math.max(run.x1, x1);
        run.to = Math.max(run.to, item.b);
        run.count++;
      } else {
        if (run) drawDense(run, y, layers.bars);
        runs[item.row] = { x0: Math.max(f.gutter, x0), x1, from: item.a, to: item.b, count: 1, y, item };
      }
    } else {
      drawBar(item, f, y, layers);
    }
  }
  for (const run of runs) {
    if (!run) continue;
    if (run.count === 1) drawBar(run.item, f, run.y, layers); else drawDense(run, run.y, layers.bars);
  }
}

function drawBands(f, svg, top, bottom) {
  let left = 60;
  for (const fault of scene.faults) {
    const x0 = Math.max(f.gutter, f.x(fault.from)), x1 = Math.min(f.right, f.x(fault.to));
    if (x1 < x0 || left-- <= 0) continue;
    make('rect', { class: 'band', x: x0, y: top, width: Math.max(1, x1 - x0), height: bottom - top, opacity: 0.22 }, svg);
    make('line', { class: 'band-line', x1: x0, x2: x0, y1: top, y2: bottom, opacity: 0.7 }, svg);
  }
}

function drawNames(s, f, svg) {
  make('rect', { class: 'gutter', x: 0, y: s.y - s.head, width: f.gutter, height: s.height + s.head }, svg);
  if (s.head) make('text', { class: 'head', x: 8, y: s.y - 6 }, svg, s.lane.group);
  const wide = f.gutter > 100;
  const name = wide && s.lane.group !== 'sessions' ? s.lane.name : s.lane.short;
  const text = make('text', { class: 'name', x: wide ? 16 : 8, y: s.y + laneMargin + rowHeight / 2 + 4 }, svg, fitText(name, f.gutter - (wide ? 20 : 10)));
  make('title', {}, text, s.lane.name);
}

function drawAxis(f) {
  const svg = $('axis');
  svg.replaceChildren();
  const { list, base } = ticks(state.scale, state.view, f.right - f.gutter);
  let end = -Infinity;
  for (const t of list) {
    t.x = f.gutter + (t.place - state.view[0]) / (state.view[1] - state.view[0]) * (f.right - f.gutter);
    make('line', { class: 'edge', x1: t.x, x2: t.x, y1: 18, y2: 24 }, svg);
    const half = t.text.length * letter / 2;
    const x = Math.min(Math.max(t.x, f.gutter + half), f.right - half);
    if (x - half < end + 4) continue;
    end = x + half;
    make('text', { class: 'axis-text', x, y: 15, 'text-anchor': 'middle' }, svg, t.text);
  }
  if (base) make('text', { class: 'axis-text', x: 8, y: 15 }, svg, fitText(base + ' +', f.gutter - 10));
  return list;
}

// drawOverview draws the whole time with the marks in it, and the piece that the view shows.
function drawOverview(f) {
  const svg = $('overview'), { scale, view } = state;
  svg.replaceChildren();
  const x = (p) => f.gutter + (p - scale.low) / (scale.high - scale.low) * (f.right - f.gutter);
  const buckets = new Uint32Array(Math.max(1, Math.floor((f.right - f.gutter) / 4)));
  const marks = [];
  for (const s of state.shown) {
    for (const i of s.items) {
      const at = x(scale.place(i.a));
      if (i.mark && i.what !== 'lease') marks.push(at);
      if (i.what === 'call') buckets[Math.min(buckets.length - 1, Math.floor((at - f.gutter) / 4))]++;
    }
  }
  const most = Math.max(1, ...buckets);
  buckets.forEach((n, b) => {
    if (n) make('rect', { class: 'overview-all', x: f.gutter + 4 * b, y: 22 - 14 * n / most, width: 3.4, height: 14 * n / most }, svg);
  });
  make('rect', { class: 'overview-view', x: x(view[0]), y: 2, width: Math.max(3, x(view[1]) - x(view[0])), height: 22, rx: 3 }, svg);
  for (const at of marks) make('path', { class: 'overview-mark', d: `M${at - 4} 3H${at + 4}L${at} 10Z` }, svg);
  make('text', { class: 'axis-text', x: 8, y: 17 }, svg, f.gutter > 100 ? 'whole time' : 'whole');
}

// draw draws everything anew.
function draw() {
  const f = frame(), svg = $('lanes'), scroll = $('scroll');
  const top = scroll.scrollTop - 60, bottom = scroll.scrollTop + scroll.clientHeight + 60;
  svg.setAttribute('height', state.height);
  svg.replaceChildren();
  patterns(svg);
  const visible = state.shown.filter((s) => s.y + s.height >= top && s.y - s.head <= bottom);
  visible.forEach((s, n) => {
    if (n % 2) make('rect', { class: 'stripe', x: 0, y: s.y, width: f.width, height: s.height }, svg);
    if (s.head) make('line', { class: 'edge', x1: 0, x2: f.width, y1: s.y - s.head, y2: s.y - s.head }, svg);
  });
  const height = Math.min(state.height, bottom);
  for (const t of drawAxis(f)) make('line', { class: 'grid', x1: t.x, x2: t.x, y1: Math.max(0, top), y2: height }, svg);
  drawBands(f, svg, Math.max(0, top), height);
  const layers = { lines: make('g', {}, svg), bars: make('g', {}, svg), marks: make('g', {}, svg) };
  for (const s of visible) drawLane(s, f, layers);
  const names = make('g', {}, svg);
  for (const s of visible) drawNames(s, f, names);
  make('line', { class: 'edge', x1: f.gutter, x2: f.gutter, y1: Math.max(0, top), y2: height }, svg);
  drawOverview(f);
}
