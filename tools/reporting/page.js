// SPDX-License-Identifier: MIT
//
// The page at work: draws the charts, again when width or theme change; the theme's button; the downloads.

(() => {
  'use strict';

  const report = JSON.parse(document.getElementById('report').textContent);
  const charts = globalThis.weft_charts(report).filter((c) => !c.missing);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const root = document.documentElement;
  const button = document.getElementById('theme');
  const drawn = new Map();

  const theme = () => root.dataset.theme || (dark.matches ? 'dark' : 'light');

  function draw(chart) {
    const at = document.getElementById(`chart-${chart.id}`);
    const width = at.clientWidth;
    if (width === 0) return;
    at.style.height = `${chart.height(width)}px`;
    let instance = drawn.get(chart.id);
    if (!instance) {
      instance = echarts.init(at, null, { renderer: 'svg' });
      drawn.set(chart.id, instance);
    }
    instance.resize({ width, height: chart.height(width) });
    instance.setOption(chart.option(width, globalThis.weft_figures.palettes[theme()]), { notMerge: true });
  }

  function draw_all() {
    charts.forEach(draw);
    button.textContent = theme() === 'dark' ? 'Light' : 'Dark';
    button.setAttribute('aria-label', `Switch to the ${theme() === 'dark' ? 'light' : 'dark'} theme`);
  }

  button.addEventListener('click', () => {
    root.dataset.theme = theme() === 'dark' ? 'light' : 'dark';
    draw_all();
  });
  dark.addEventListener('change', draw_all);

  let width = root.clientWidth;
  addEventListener('resize', () => {
    if (root.clientWidth === width) return; // a phone's address bar came or went
    width = root.clientWidth;
    draw_all();
  });

  for (const link of document.querySelectorAll('a[data-download]')) {
    link.addEventListener('click', () => {
      const what = link.dataset.download;
      const data = what === 'claims' ? report.claims : what === 'all' ? report : report.documents[what];
      link.href = URL.createObjectURL(new Blob([`${JSON.stringify(data, null, 1)}\n`], { type: 'application/json' }));
    });
  }

  draw_all();
})();
