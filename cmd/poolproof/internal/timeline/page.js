// Puts lanes and plots where the page wants them, and again when its width or colours change.

for (const box of document.querySelectorAll('.picture')) {
  const run = runs[Number(box.dataset.run)];
  drawLanes(box, run);
  const drawn = plots(run).map((plot) => draw(box, run, plot, 'run ' + box.dataset.run));
  new ResizeObserver(() => {
    const width = Math.max(box.clientWidth, 200);
    for (const u of drawn) {
      if (u.width !== width) u.setSize({ width, height: HEIGHT });
    }
  }).observe(box);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    for (const u of drawn) u.redraw(false);
  });
}
