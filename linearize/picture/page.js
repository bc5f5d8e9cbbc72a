// What the user does: zoom, move, choose, read the details.

const refs = new Map(); // the items of a call, change or fault

let due = 0;
function redraw() {
  if (!due) due = requestAnimationFrame(() => { due = 0; draw(); });
}

// look moves the view to [from, to], as far as there is something to see.
function look(from, to) {
  const { low, high, least } = state.scale;
  const width = Math.min(Math.max(to - from, least), high - low);
  const middle = (from + to) / 2;
  from = Math.min(Math.max(middle - width / 2, low), high - width);
  state.view = [from, from + width];
  redraw();
}

// zoom makes the view smaller (factor < 1) or larger around a share of its width.
function zoom(factor, share = 0.5) {
  const [from, to] = state.view, at = from + (to - from) * share;
  look(at - (at - from) * factor, at + (to - at) * factor);
}

function move(share) {
  const [from, to] = state.view, by = (to - from) * share;
  look(from + by, to + by);
}

// lookAtMarks shows everything that is marked, and a little around it.
function lookAtMarks() {
  const { scale } = state;
  if (!scene.marks) return look(scale.low, scale.high);
  const from = scale.place(scene.marks[0]), to = scale.place(scene.marks[1]);
  const around = Math.max((to - from) * 0.3, scale.even ? 0.8 : (scale.high - scale.low) * 1e-4);
  look(from - around, to + around);
}

// arrange shows other lanes, or another scale.
function arrange(show, even) {
  state.show = show;
  state.shown = shownLanes(show);
  if (state.shown.length === 0 && show !== 'all') return arrange('all', even);
  state.scale = even ? evenScale(state.shown) : trueScale();
  $('show').value = show;
  $('even').checked = even;
  $('even-note').hidden = !even;
  layOut();
  lookAtMarks();
}

// begin shows the marks as well as they can be told apart.
function begin() {
  arrange('lanes', false);
  if (!scene.marks) return;
  const f = frame();
  let crowd = 0, thin = Infinity;
  for (const s of state.shown) {
    for (const i of s.items) {
      if (i.b < scene.marks[0] || i.a > scene.marks[1]) continue;
      crowd++;
      if (i.mark && i.what !== 'change') thin = Math.min(thin, f.x(i.b) - f.x(i.a));
    }
  }
  if (crowd > 150) arrange('marks', true);
  else if (thin < 14) arrange('lanes', true);
}

// reveal brings an item into view, wide enough to see.
function reveal(item) {
  if (!state.shown.some((s) => s.items.includes(item))) arrange(item.lane.main ? 'lanes' : 'all', state.scale.even);
  const f = frame(), [from, to] = state.view, { scale } = state;
  const a = scale.place(item.a), b = item.b === Infinity ? Math.max(a, to) : scale.place(item.b);
  if ((b - a) / (to - from) * (f.right - f.gutter) < 14 && item.what !== 'change') {
    const half = Math.max((b - a) * 8, scale.least);
    look((a + b) / 2 - half, (a + b) / 2 + half);
  } else if (b < from + (to - from) * 0.04 || a > to - (to - from) * 0.04) {
    look((a + b) / 2 - (to - from) / 2, (a + b) / 2 + (to - from) / 2);
  }
  const s = state.shown.find((l) => l.items.includes(item)), scroll = $('scroll');
  const y = s.y + laneMargin + s.row(item) * rowHeight;
  if (y < scroll.scrollTop + 10) scroll.scrollTop = y - 40;
  else if (y + rowHeight > scroll.scrollTop + scroll.clientHeight - 10) scroll.scrollTop = y + rowHeight + 40 - scroll.clientHeight;
}

// choose pins the details of an item; null lets go.
function choose(item) {
  state.chosen = item ? { item } : null;
  if (item) reveal(item);
  showDetails(item);
  for (const row of document.querySelectorAll('tr[data-key]')) {
    if (item && row.dataset.key === item.ref) row.setAttribute('aria-current', 'true'); else row.removeAttribute('aria-current');
  }
  draw();
  same(item && item.ref);
}

// same lights up everything that stands for one call, change or fault.
function same(ref) {
  for (const e of $('lanes').querySelectorAll('.same')) e.classList.remove('same');
  if (!ref) return;
  for (const e of $('lanes').querySelectorAll(`[data-ref="${ref}"]`)) e.classList.add('same');
}

function node(tag, text, className) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (className) e.className = className;
  return e;
}

// opLink is a button that goes to a call, if the page holds it.
function opLink(id) {
  const at = scene.calls.findIndex((c) => c.id === id);
  const item = (refs.get('call:' + at) || [])[0];
  if (!item) return node('span', `op ${id}`);
  const b = node('button', `op ${id}`);
  b.type = 'button';
  b.addEventListener('click', () => choose(item));
  return b;
}

// rowsOf says all that is known of an item.
function rowsOf(item) {
  const s = item.source;
  const times = (from, to) => [['from', duration(from)], ['to', duration(to)], ['took', duration(to - from)]];
  if (item.what === 'fault') {
    return [['kind', s.kind], ['worker', s.worker], ...times(s.from, s.to), ['its end', s.ends && 'the worker died of it'], ['text', s.text]];
  }
  if (item.what === 'change') {
    return [['happened by', duration(s.at)], ['seq', s.seq], ['worker', s.worker], ['session', s.session], ['token', s.token],
      ['outcome', s.outcome], ['fresh', s.fresh && 'it bound the session']];
  }
  const rows = [['client', s.client], ['session', s.session], ['outcome', s.outcome]];
  if (s.open) rows.push(['from', duration(s.from)], ['to', 'never answered: it may have taken effect at any time since, or never']);
  else rows.push(...times(s.from, s.to));
  rows.push(['waits by', s.parked && duration(s.parked)], ['worker', s.worker], ['token', s.token], ['seq', s.seq],
    ['fresh', s.fresh && 'it bound the session'], ['context', s.ended && 'had ended before the call'], ['max', s.max],
    ['lease of', s.lease && opLink(s.lease)], ['given back by', s.freedBy && opLink(s.freedBy)]);
  if (s.outcome === 'granted') {
    const lease = refs.get(item.ref).find((i) => i.what === 'lease');
    rows.push(['lease lasts', lease.sure.length > 1
      ? `certainly from ${duration(lease.sure[0])} to ${duration(lease.sure[1])}` : `from ${duration(lease.sure[0])}, not given back`]);
  }
  return rows;
}

function titleOf(item) {
  const s = item.source;
  if (item.what === 'fault') return `fault: ${s.kind}`;
  if (item.what === 'change') return `change: ${s.kind}`;
  return `op ${s.id}: ${s.kind}`;
}

function showDetails(item) {
  const box = $('details');
  if (!item) return box.replaceChildren(node('p', 'Point at an operation, tap it, or press an arrow key in the picture.', 'note'));
  const list = node('dl');
  for (const [name, value] of rowsOf(item)) {
    if (value === undefined || value === false || value === 0 || value === '') continue;
    const dd = node('dd');
    dd.append(value instanceof Node ? value : String(value));
    list.append(node('dt', name), dd);
  }
  const parts = [node('h3', titleOf(item))];
  if (item.source.mark) parts.push(node('p', `✗ ${item.source.mark}: one of those that show the fault`, 'flag'));
  box.replaceChildren(...parts, list);
}

// tell shows a few words beside the pointer.
function tell(text, event) {
  const tip = $('tip'), plot = $('plot').getBoundingClientRect();
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const x = event.clientX - plot.left, y = event.clientY - plot.top;
  tip.style.left = `${Math.max(4, Math.min(x + 14, plot.width - tip.offsetWidth - 4))}px`;
  tip.style.top = `${y + 18 + tip.offsetHeight > plot.height ? Math.max(0, y - tip.offsetHeight - 10) : y + 18}px`;
}

function summary(item) {
  const s = item.source;
  const lines = [titleOf(item)];
  if (item.what === 'fault' || item.what === 'change') {
    lines.push([s.worker && `worker ${s.worker}`, s.session && `session ${s.session}`, s.text].filter(Boolean).join(', '));
    lines.push(item.what === 'fault' ? `${duration(s.from)} to ${duration(s.to)}` : `by ${duration(s.at)}`);
  } else {
    lines.push([`client ${s.client}`, s.session && `session ${s.session}`, s.worker && `worker ${s.worker}`, s.seq && `seq ${s.seq}`]
      .filter(Boolean).join(', '));
    lines.push(s.open ? 'no answer' : s.outcome, s.open ? `from ${duration(s.from)}` : `${duration(s.from)} to ${duration(s.to)}`);
  }
  return lines.filter(Boolean).join('\n');
}

function itemAt(target) {
  const g = target.closest && target.closest('[data-key]');
  if (!g) return null;
  const [lane, item] = g.dataset.key.split('/');
  return scene.lanes[lane].items[item];
}

// step chooses the next mark (by 1) or the one before (by -1).
function step(by) {
  const marks = new Map();
  for (const lane of scene.lanes) for (const i of lane.items) if (i.mark && !marks.has(i.mark)) marks.set(i.mark, i);
  const numbers = [...marks.keys()].sort((a, b) => a - b);
  if (numbers.length === 0) return;
  const now = state.chosen ? numbers.indexOf(state.chosen.item.mark) : -1;
  const next = now < 0 && by < 0 ? numbers.length - 1 : (now + by + numbers.length) % numbers.length;
  choose(marks.get(numbers[next]));
}

const stops = (s) => s.items.filter((i) => i.what !== 'hold');

// walk goes from the chosen item to one beside it, along its lane or to another lane.
function walk(along, across) {
  const lanes = state.shown.filter((s) => stops(s).length > 0);
  if (lanes.length === 0) return;
  const now = state.chosen && state.chosen.item;
  const at = lanes.findIndex((s) => now && s.items.includes(now));
  if (at < 0) {
    const first = lanes.flatMap((s) => s.items).find((i) => i.mark) || stops(lanes[0])[0];
    return choose(first);
  }
  if (along) {
    const items = stops(lanes[at]);
    const next = items[items.indexOf(now) + along];
    if (next) choose(next);
    return;
  }
  const other = lanes[at + across];
  if (!other) return;
  const middle = state.scale.place(now.a);
  choose(stops(other).reduce((best, i) =>
    Math.abs(state.scale.place(i.a) - middle) < Math.abs(state.scale.place(best.a) - middle) ? i : best));
}

const keys = {
  '+': () => zoom(0.6), '=': () => zoom(0.6), '-': () => zoom(1 / 0.6), '_': () => zoom(1 / 0.6),
  '0': () => look(state.scale.low, state.scale.high), 'm': lookAtMarks, 'n': () => step(1), 'p': () => step(-1),
  'Escape': () => choose(null),
  'ArrowLeft': (e) => e.shiftKey ? move(-0.2) : walk(-1, 0), 'ArrowRight': (e) => e.shiftKey ? move(0.2) : walk(1, 0),
  'ArrowUp': (e) => e.shiftKey ? ($('scroll').scrollTop -= 60) : walk(0, -1),
  'ArrowDown': (e) => e.shiftKey ? ($('scroll').scrollTop += 60) : walk(0, 1),
};

// share says where in the width of the view an event is.
function share(event) {
  const f = frame(), left = $('lanes').getBoundingClientRect().left;
  return Math.min(1, Math.max(0, (event.clientX - left - f.gutter) / (f.right - f.gutter)));
}

function onWheel(event) {
  const f = frame(), x = event.clientX - $('lanes').getBoundingClientRect().left;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    event.preventDefault();
    return move((event.deltaX || event.deltaY) / (f.right - f.gutter));
  }
  // Over the names, and once everything is in view, the wheel scrolls as ever.
  const { low, high } = state.scale, whole = state.view[1] - state.view[0] >= (high - low) * 0.9999;
  if (!event.ctrlKey && (x < f.gutter || whole && event.deltaY > 0)) return;
  event.preventDefault();
  zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / (event.deltaMode ? 3 : 100) * 0.3))), share(event));
}

// drags lets one pointer move the view, and two zoom it.
function drags() {
  const lanes = $('lanes'), down = new Map();
  let travelled = 0;
  lanes.addEventListener('pointerdown', (e) => {
    if (down.size === 0) travelled = 0;
    if (e.button === 0) down.set(e.pointerId, e.clientX);
  });
  lanes.addEventListener('pointermove', (e) => {
    const before = down.get(e.pointerId);
    if (before === undefined) return hover(e);
    travelled += Math.abs(e.clientX - before);
    if (travelled < 4) return;
    lanes.setPointerCapture(e.pointerId);
    lanes.classList.add('moving');
    tell('');
    const f = frame(), others = [...down].filter(([id]) => id !== e.pointerId).map(([, x]) => x);
    if (others.length === 0) {
      move((before - e.clientX) / (f.right - f.gutter));
    } else {
      const now = Math.abs(e.clientX - others[0]);
      if (now > 8) zoom(Math.abs(before - others[0]) / now, share({ clientX: (e.clientX + others[0]) / 2 }));
    }
    down.set(e.pointerId, e.clientX);
  });
  const up = (e) => {
    down.delete(e.pointerId);
    if (down.size === 0) lanes.classList.remove('moving');
  };
  lanes.addEventListener('pointerup', up);
  lanes.addEventListener('pointercancel', up);
  lanes.addEventListener('pointerleave', () => { tell(''); same(state.chosen && state.chosen.item.ref); });
  lanes.addEventListener('click', (e) => { if (travelled < 4) pick(e); });
}

function hover(event) {
  const item = itemAt(event.target), dense = event.target.closest('[data-dense]');
  same(item ? item.ref : state.chosen && state.chosen.item.ref);
  if (event.pointerType === 'touch') return;
  if (item) tell(summary(item), event);
  else tell(dense ? `${dense.dataset.dense.split(' ')[2]} close together: click to zoom in` : '', event);
  if (!state.chosen) showDetails(item);
}

function pick(event) {
  const item = itemAt(event.target), dense = event.target.closest('[data-dense]');
  if (item) return choose(item);
  if (!dense) return choose(null);
  const [from, to] = dense.dataset.dense.split(' ').map((t) => state.scale.place(Number(t)));
  const around = Math.max((to - from) * 0.2, state.scale.least);
  look(from - around, to + around);
}

function overview() {
  const svg = $('overview');
  const centre = (e) => {
    const { low, high } = state.scale, [from, to] = state.view;
    const at = low + share(e) * (high - low);
    look(at - (to - from) / 2, at + (to - from) / 2);
  };
  svg.addEventListener('pointerdown', (e) => { svg.setPointerCapture(e.pointerId); centre(e); });
  svg.addEventListener('pointermove', (e) => { if (e.buttons) centre(e); });
}

// legend explains the signs that this page has.
function legend() {
  const has = (f) => scene.calls.some(f);
  const known = ['granted', 'done', 'no-answer'];
  const signs = [
    [has((c) => c.outcome === 'granted'), 'call granted', 'item call granted', 'bar'],
    [has((c) => c.outcome === 'done'), 'call done', 'item call done', 'bar'],
    [has((c) => !known.includes(c.outcome)), 'call refused, cancelled or failed', 'item call refused', 'bar'],
    [has((c) => c.open), 'no answer: it may take effect at any time', 'item call no-answer', 'arrow'],
    [has((c) => c.parked), 'from the notch on it certainly waits', 'item call granted', 'notch'],
    [has((c) => c.outcome === 'granted'), 'lease, coloured by worker; dotted: perhaps', 'item lease w0', 'lease'],
    [has((c) => c.outcome === 'granted'), 'the client has a lease', '', 'hold'],
    [scene.changes.length > 0, 'change reported by the pool', 'item change', 'diamond'],
    [scene.faults.length > 0, 'fault, and when it landed', 'item fault', 'bar'],
    [scene.marks, 'marked: it shows the fault', 'item call granted marked', 'pin'],
    [scene.calls.length > 100, 'many close together', 'item dense', 'bar'],
  ];
  for (const [shown, text, style, shape] of signs) {
    if (!shown) continue;
    const li = node('li');
    const svg = make('svg', { viewBox: '0 0 38 18', 'aria-hidden': 'true' }, li);
    const g = make('g', { class: style }, svg);
    if (shape === 'hold') make('line', { class: 'hold', x1: 2, x2: 36, y1: 9, y2: 9 }, g);
    else if (shape === 'diamond') make('path', { class: 'body', d: 'M14 9L19 4L24 9L19 14Z' }, g);
    else if (shape === 'arrow') make('path', { class: 'body', d: 'M2 3H30L36 9L30 15H2Z' }, g);
    else make('rect', { class: 'body', x: shape === 'lease' ? 8 : 2, y: 3, width: shape === 'lease' ? 22 : 34, height: 12, rx: 3 }, g);
    if (shape === 'lease') for (const x of [0, 30]) make('line', { class: 'maybe', x1: x, x2: x + 8, y1: 9, y2: 9 }, g);
    if (shape === 'notch') make('line', { class: 'notch', x1: 16, x2: 16, y1: 9, y2: 15 }, g);
    if (shape === 'pin') make('circle', { class: 'pin', cx: 12, cy: 9, r: 7 }, g);
    li.append(node('span', text));
    $('legend').append(li);
  }
}

function start() {
  prepare();
  for (const lane of scene.lanes) {
    for (const i of lane.items) refs.set(i.ref, [...(refs.get(i.ref) || []), i]);
  }
  document.querySelector('.tools').hidden = false;
  if (!scene.marks) for (const id of ['fit', 'previous', 'next']) $(id).hidden = true;
  const on = (id, event, f, options) => $(id).addEventListener(event, f, options);
  on('in', 'click', () => zoom(0.6));
  on('out', 'click', () => zoom(1 / 0.6));
  on('left', 'click', () => move(-0.25));
  on('right', 'click', () => move(0.25));
  on('fit', 'click', lookAtMarks);
  on('whole', 'click', keys['0']);
  on('previous', 'click', () => step(-1));
  on('next', 'click', () => step(1));
  on('show', 'change', (e) => arrange(e.target.value, state.scale.even));
  on('even', 'change', (e) => arrange(state.show, e.target.checked));
  on('lanes', 'wheel', onWheel, { passive: false });
  on('axis', 'wheel', onWheel, { passive: false });
  on('scroll', 'scroll', redraw);
  on('plot', 'keydown', (e) => {
    const f = keys[e.key];
    if (!f || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    f(e);
  });
  for (const row of document.querySelectorAll('tr[data-key]')) {
    row.addEventListener('click', () => choose((refs.get(row.dataset.key) || [])[0] || null));
  }
  drags();
  overview();
  legend();
  begin();
  draw();
  new ResizeObserver(redraw).observe($('plot'));
}

start();
