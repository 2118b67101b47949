// SPDX-License-Identifier: MIT
//
//   node render.mjs REPORT.json OUT NODE_MODULES [CHROMIUM]
//
// Writes OUT/index.html, OUT/charts/ID.svg and ID-dark.svg for each chart that has data, and with a browser ID.png. Run by
// tools/report, which has made REPORT.json and installed NODE_MODULES.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import './figures.js';
import './drawing.js';
import './charts.js';
import { page } from './page.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const [input, out, modules, chromium] = process.argv.slice(2);
const require = createRequire(join(resolve(modules), 'from-here.js'));

const svg_width = 860;
const head = 60; // title, machine

// Where the figures are from: a picture travels without its page.
function origin(report) {
  const all = Object.values(report.documents);
  const machines = [...new Set(all.map((d) => d.machine).filter(Boolean).map((m) => `${m.cpu}, ${m.cpus} CPUs, ${m.arch}, ${m.compiler}`))];
  const revisions = [...new Set(all.map((d) => d.revision).filter(Boolean))];
  return `${machines.join(' / ')}; weft ${revisions.join(', ')}`;
}

function svg_of(echarts, chart, theme, from) {
  const palette = globalThis.weft_figures.palettes[theme];
  const height = chart.height(svg_width) + head;
  const words = (y, size, more, what) => `<text x="14" y="${y}" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="${size}" ${more}>${what}</text>`;
  const drawing = echarts.init(null, null, { renderer: 'svg', ssr: true, width: svg_width, height: chart.height(svg_width) });
  drawing.setOption(chart.option(svg_width, palette));
  const inner = drawing.renderToSVGString({ useViewBox: true }).replace(/<svg /, `<svg x="0" y="${head}" `);
  drawing.dispose();
  const { escaped } = globalThis.weft_figures;
  return `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${svg_width}" height="${height}" viewBox="0 0 ${svg_width} ${height}" role="img">` +
    `<title>${escaped(chart.title)}</title><desc>${escaped(chart.alt)}</desc><rect width="100%" height="100%" fill="${palette.ground}"/>` +
    words(28, 17, `font-weight="bold" fill="${palette.text}"`, escaped(chart.title)) +
    words(47, 11.5, `fill="${palette.faint}"`, escaped(from)) +
    `${inner}</svg>\n`;
}

async function pngs(files) {
  const { chromium: browser_type } = require('playwright-core');
  const browser = await browser_type.launch({
    executablePath: chromium,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  try {
    const tab = await browser.newPage({ deviceScaleFactor: 2 });
    for (const file of files) {
      const svg = readFileSync(file, 'utf8');
      const [, height] = /height="(\d+)"/.exec(svg);
      await tab.setViewportSize({ width: svg_width, height: Number(height) });
      await tab.setContent(`<!DOCTYPE html><style>body{margin:0}svg{display:block}</style>${svg}`);
      await tab.screenshot({ path: file.replace(/svg$/, 'png') });
    }
  } finally {
    await browser.close();
  }
}

const report = JSON.parse(readFileSync(input, 'utf8'));
const echarts = require('echarts');
// Without a browser ECharts guesses how wide words are, and guesses too narrow for most fonts.
const ems = (letter) => (/[ijl.,:;'|! ]/.test(letter) ? 0.31 : /[ftrI()-]/.test(letter) ? 0.4 : /[mwMW=\u00d7]/.test(letter) ? 0.88 : 0.6);
echarts.setPlatformAPI({
  measureText: (words, font) => ({ width: parseFloat(/([\d.]+)px/.exec(font)?.[1] ?? 12) * [...words].reduce((sum, c) => sum + ems(c), 0) }),
});
const charts = globalThis.weft_charts(report);

const folder = join(out, 'charts');
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const from = origin(report);
const files = [];
for (const chart of charts.filter((c) => !c.missing)) {
  writeFileSync(join(folder, `${chart.id}.svg`), svg_of(echarts, chart, 'light', from));
  writeFileSync(join(folder, `${chart.id}-dark.svg`), svg_of(echarts, chart, 'dark', from));
  files.push(join(folder, `${chart.id}.svg`));
}
if (chromium) await pngs(files);

const read = (name) => readFileSync(join(here, name), 'utf8');
const library = readFileSync(join(modules, 'echarts/dist/echarts.min.js'), 'utf8');
writeFileSync(join(out, 'index.html'), page(report, charts, modules, [library, ...['figures.js', 'drawing.js', 'charts.js', 'page.js'].map(read)], read('page.css')));
