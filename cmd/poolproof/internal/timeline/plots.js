'use strict';
// The plots of a run. All that comes from data reaches the page as text, never as markup.

const runs = JSON.parse(document.getElementById('data').textContent);
const AXIS = 52, RIGHT = 12; // pixels left and right of every plot; .lanes has the same
const HEIGHT = 132;

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
}

// make returns an element with a class and a text.
function make(tag, name, text) {
  const e = document.createElement(tag);
  if (name) e.className = name;
  if (text !== undefined) e.textContent = text;
  return e;
}

function seconds(v) {
  if (v === null || v === undefined) return '–';
  if (v < 0.001) return (v * 1e6).toFixed(0) + ' µs';
  if (v < 1) return (v * 1e3).toFixed(v < 0.01 ? 1 : 0) + ' ms';
  return v.toFixed(v < 10 ? 2 : 1) + ' s';
}

const number = (v) => (v === null || v === undefined ? '–' : v < 10 && v % 1 ? v.toFixed(1) : v.toFixed(0));
const percent = (v) => (v === null || v === undefined ? '–' : v.toFixed(0) + ' %');

// end is where the time of a run ends.
function end(run) {
  return Math.max(...run.phases.map((p) => p.to), ...run.at, 0.001);
}

// shade fills the phases behind a plot that is being drawn.
function shade(run) {
  return (u) => {
    for (const p of run.phases) {
      if (p.name !== 'harm' && p.name !== 'recovery') continue;
      const from = u.valToPos(p.from, 'x', true), to = u.valToPos(p.to, 'x', true);
      u.ctx.fillStyle = color(p.name);
      u.ctx.fillRect(from, u.bbox.top, Math.max(to - from, 1), u.bbox.height);
    }
  };
}

// plots says what is drawn of a run: a title, data, lines and the form of values.
function plots(run) {
  const line = (label, name, more) => ({ label, name, value: number, ...more });
  const list = [{
    title: 'Throughput, calls a second', data: [run.at, run.wanted, run.served], form: number,
    lines: [line('intended', 'wanted', { dash: [5, 4] }), line('served', 'served', { fill: 'served-soft' })],
  }];
  if (run.errors.length > 0) {
    list.push({
      title: 'Errors, calls a second', data: [run.at, ...run.errors.map((e) => e.rates)], form: number,
      lines: run.errors.map((e, i) => line(e.kind, 'e' + i % 9, {})),
    });
  }
  list.push({
    title: 'Latency from the intended start', data: [run.at, run.p50, run.max], form: seconds, log: true,
    lines: [line('p50', 'p50', { value: seconds }), line('max', 'max', { value: seconds })],
  });
  list.push({
    title: 'Capacity, percent', data: [run.changes, run.capacity], form: percent, top: 100,
    lines: [line('ready and unharmed', 'capacity', { fill: 'capacity-soft', value: percent, stepped: true })],
  });
  return list;
}

// heading writes the title of a plot and its key, whose values follow the pointer.
function heading(plot) {
  const h = make('h3', '', plot.title);
  const values = plot.lines.map((l) => {
    const key = make('span', 'key', '');
    const mark = make('i');
    mark.style.background = `var(--${l.name})`;
    const value = make('b', '', '');
    key.append(mark, document.createTextNode(l.label), value);
    h.append(key);
    return value;
  });
  return [h, (u) => plot.lines.forEach((l, i) => {
    const at = u.cursor.idx;
    values[i].textContent = at === null || at === undefined ? '' : l.value(u.data[i + 1][at]);
  })];
}

// logTop and logLow are the powers of ten around the values.
function logRange(u, low, high) {
  if (!(low > 0)) return [0.001, 1];
  return [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high) + 1e-9)];
}

// draw makes a plot in a box.
function draw(box, run, plot, key) {
  const [h, follow] = heading(plot);
  const field = make('div', 'plot');
  box.append(h, field);
  const axis = { stroke: () => color('soft'), grid: { stroke: () => color('grid'), width: 1 }, ticks: { show: false }, font: '12px system-ui, sans-serif' };
  const options = {
    width: Math.max(box.clientWidth, 200), height: HEIGHT, padding: [8, RIGHT, 0, 0], legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, sync: { key, scales: ['x', null] } },
    scales: {
      x: { time: false, range: () => [0, end(run)] },
      y: plot.log ? { distr: 3, range: logRange } : { range: (u, low, high) => [0, plot.top || Math.max(high * 1.08, 1)] },
    },
    axes: [
      { ...axis, size: 24, space: 60, values: (u, ticks) => ticks.map((t) => +t.toFixed(2) + ' s') },
      {
        ...axis, size: AXIS, gap: 4, space: 26,
        values: (u, ticks) => ticks.map((t) => (t === null || plot.log && Math.abs(Math.log10(t) % 1) > 1e-6 ? '' : plot.form(t))),
      },
    ],
    series: [{}, ...plot.lines.map((l) => ({
      label: l.name, stroke: () => color(l.name), width: 1.6, dash: l.dash, points: { show: false },
      fill: l.fill && (() => color(l.fill)), paths: l.stepped && uPlot.paths.stepped({ align: 1 }), spanGaps: false,
    }))],
    hooks: { drawClear: [shade(run)], setCursor: [follow] },
  };
  return new uPlot(options, plot.data, field);
}
