// What is drawn, and how times become places. A place is a number on a line of its own,
// of which the view shows a piece: in true steps the time itself, in even steps the rank
// of an event among all that are shown.

const scene = JSON.parse(document.getElementById('scene').textContent);

const sourceOf = { call: scene.calls, lease: scene.calls, hold: scene.calls, change: scene.changes, fault: scene.faults };

// duration says a number of nanoseconds, in full.
function duration(ns) {
  const [unit, size] = Math.abs(ns) < 1e3 ? ['ns', 1] : Math.abs(ns) < 1e6 ? ['µs', 1e3] : Math.abs(ns) < 1e9 ? ['ms', 1e6] : ['s', 1e9];
  return `${Number((ns / size).toPrecision(15))} ${unit}`;
}

// prepare gives each item of each lane what drawing asks for again and again.
function prepare() {
  scene.lanes.forEach((lane, l) => lane.items.forEach((item, i) => {
    const source = sourceOf[item.what][item.of];
    item.source = source;
    item.mark = item.what === 'hold' ? 0 : source.mark || 0;
    item.ref = (item.what === 'lease' || item.what === 'hold' ? 'call' : item.what) + ':' + item.of;
    item.key = l + '/' + i;
    item.lane = lane;
    // What is drawn as a body; Infinity stands for no end.
    item.a = item.sure ? item.sure[0] : item.from;
    item.b = item.sure ? item.sure[1] ?? Infinity : item.open ? Infinity : item.to;
  }));
}

// shownLanes returns the lanes for a choice of "marks", "lanes" or "all", each with the
// items in it and the rows that these take.
function shownLanes(show) {
  const shown = [];
  for (const lane of scene.lanes) {
    if (show !== 'all' && !lane.main) continue;
    let items = lane.items;
    if (show === 'marks') {
      items = items.filter((i) => i.source.mark || i.what === 'fault' && touchesMarks(i));
      if (items.length === 0) continue;
    }
    const used = [...new Set(items.map((i) => i.row))].sort((a, b) => a - b);
    const rows = new Map(used.map((row, n) => [row, n]));
    shown.push({ lane, items, row: (i) => rows.get(i.row), rows: Math.max(1, used.length) });
  }
  return shown;
}

function touchesMarks(item) {
  return scene.marks && item.to >= scene.marks[0] && item.from <= scene.marks[1];
}

function trueScale() {
  const margin = Math.max(1, (scene.to - scene.from) * 0.02);
  return { even: false, place: (t) => t, time: (p) => p, low: scene.from - margin, high: scene.to + margin, least: 4 };
}

function evenScale(shown) {
  const seen = new Set();
  for (const s of shown) {
    for (const i of s.items) {
      for (const t of [i.from, i.to, i.a, i.b]) if (Number.isFinite(t)) seen.add(t);
    }
  }
  const times = Float64Array.from(seen).sort();
  const last = times.length - 1;
  const place = (t) => {
    if (last < 1 || t <= times[0]) return 0;
    if (t >= times[last]) return last;
    let low = 0, high = last;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (times[middle] <= t) low = middle; else high = middle;
    }
    return low + (t - times[low]) / (times[high] - times[low]);
  };
  const time = (p) => {
    const low = Math.max(0, Math.min(last, Math.floor(p)));
    const high = Math.min(last, low + 1);
    return times[low] + (times[high] - times[low]) * Math.max(0, Math.min(1, p - low));
  };
  return { even: true, place, time, low: -0.6, high: Math.max(1, last) + 0.6, least: 0.5, times };
}

// ticks returns the places and texts of an axis, and what all texts count from.
function ticks(scale, view, width) {
  const room = 96;
  if (scale.even) {
    const list = [];
    const step = Math.max(1, Math.ceil((view[1] - view[0]) * room / width));
    for (let n = Math.max(0, Math.ceil(view[0])); n <= view[1] && n < scale.times.length; n++) {
      if (n % step === 0) list.push({ place: n, text: duration(scale.times[n]) });
    }
    return { list, base: '' };
  }
  const least = (view[1] - view[0]) * room / width;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = Math.max(1, power * [1, 2, 5, 10].find((f) => f * power >= least));
  const first = Math.ceil(view[0] / step) * step;
  // Far from zero and close together, only the ends of the numbers differ.
  const relative = Math.abs(first) / step > 1e4;
  const list = [];
  for (let n = 0; first + n * step <= view[1]; n++) {
    list.push({ place: first + n * step, text: relative ? `+${duration(n * step)}` : duration(first + n * step) });
  }
  if (relative && list.length > 0) list[0].text = 'base';
  return { list, base: relative ? duration(first) : '' };
}
