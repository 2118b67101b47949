// SPDX-License-Identifier: MIT
//
//   node page_test.mjs NODE_MODULES CHROMIUM FOLDER
//
// The report in a real browser. FOLDER holds the pages that page_test.py has rendered: full/ (fixtures of every bench) and
// empty/ (bench_pingpong's alone). Waits are for things to happen, a minute at most; nothing here is timed.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';

const [modules, chromium, folder] = process.argv.slice(2);
const { chromium: browser_type } = createRequire(join(resolve(modules), 'x.js'))('playwright-core');
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await browser_type.launch({ executablePath: chromium, args: flags, timeout: 60_000 });
test.after(() => browser.close());

const wide = { width: 1200, height: 900 };
const phone = { width: 360, height: 740 };

// Opens a page and notes all that a good page does not do.
async function opened(name, viewport, scheme = 'light') {
  const context = await browser.newContext({ viewport, colorScheme: scheme, acceptDownloads: true });
  const tab = await context.newPage();
  tab.setDefaultTimeout(60_000);
  const faults = [];
  tab.on('console', (m) => faults.push(`console ${m.type()}: ${m.text()}`));
  tab.on('pageerror', (e) => faults.push(`error: ${e.message}`));
  tab.on('request', (r) => {
    if (!/^(file|data|blob):/.test(r.url())) faults.push(`request: ${r.url()}`);
  });
  await tab.goto(pathToFileURL(resolve(folder, name, 'index.html')).href);
  return { tab, faults, close: () => context.close() };
}

const chart_ids = (tab) => tab.$$eval('.chart', (all) => all.map((c) => c.id));
const overflow = (tab) => tab.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
const ground = (tab) => tab.evaluate(() => getComputedStyle(document.body).backgroundColor);
const brightness = (rgb) => rgb.match(/\d+/g).slice(0, 3).reduce((sum, c) => sum + Number(c), 0) / 3;

// The WCAG ratio between a text's colour and what lies behind it.
async function contrasts(tab) {
  return tab.evaluate(() => {
    const light = (rgb) => {
      const [r, g, b] = rgb.match(/[\d.]+/g).map((c) => Number(c) / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (e) => {
      for (let at = e; at; at = at.parentElement) {
        const colour = getComputedStyle(at).backgroundColor;
        if (colour !== 'rgba(0, 0, 0, 0)') return colour;
      }
      return 'rgb(255, 255, 255)';
    };
    const bad = [];
    const judge = (e, colour) => {
      const [a, b] = [light(colour), light(behind(e))].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) bad.push(`${ratio.toFixed(2)}: ${e.textContent.trim().slice(0, 40)}`);
    };
    for (const e of document.querySelectorAll('h1, h2, h3, p, a, dt, dd, td, th, .verdict, .faint, .mark, button, summary, code')) {
      if (e.textContent.trim() && e.getClientRects().length) judge(e, getComputedStyle(e).color);
    }
    // Texts in charts, but for those that stand on a bar of their own colour.
    for (const e of document.querySelectorAll('.chart:not(#chart-breakdown) svg text')) judge(e.closest('.chart'), getComputedStyle(e).fill);
    return bad;
  });
}

test('the page loads, asks for nothing, and says nothing on the console', async () => {
  for (const viewport of [wide, phone]) {
    const { tab, faults, close } = await opened('full', viewport);
    await tab.waitForSelector('.chart svg');
    assert.deepEqual(faults, []);
    await close();
  }
});

test('every chart is drawn, named, and has its table', async () => {
  const { tab, close } = await opened('full', wide);
  const ids = await chart_ids(tab);
  for (const id of ['headline', 'procs', 'hierarchy', 'breakdown', 'scaling', 'scaling-go', 'peers-p1', 'peers-p16']) {
    assert.ok(ids.includes(`chart-${id}`), `no chart ${id}`);
  }
  for (const id of ids) {
    const marks = await tab.$$eval(`#${id} svg path`, (all) => all.filter((p) => p.getBBox().width > 3).length);
    assert.ok(marks > 3, `${id} is empty`);
    assert.ok((await tab.$$(`#${id} svg text`)).length > 3, `${id} has no words`);
    assert.match(await tab.getAttribute(`#${id}`, 'aria-label'), /\d (ns|µs)|\u00d7\d/, `${id} is not described`);
    assert.ok((await tab.$$(`section:has(#${id}) details tbody tr`)).length > 1, `${id} has no table`);
  }
  assert.equal(await tab.$$eval('h1', (all) => all.length), 1);
  await close();
});

test('the logarithmic axis names its powers of ten', async () => {
  const { tab, close } = await opened('full', wide);
  const words = await tab.$$eval('#chart-hierarchy svg text', (all) => all.map((t) => t.textContent));
  for (const tick of ['1 ns', '10 ns', '1 µs', '1 ms']) assert.ok(words.includes(tick), `no tick ${tick}: ${words.slice(0, 14)}`);
  await close();
});

test('no words of a chart lie over others', async () => {
  for (const viewport of [wide, phone]) {
    const { tab, close } = await opened('full', viewport);
    for (const id of await chart_ids(tab)) {
      const clashes = await tab.$$eval(`#${id} svg text`, (all) => {
        const boxes = all.filter((t) => t.textContent.trim()).map((t) => ({ t: t.textContent, r: t.getBoundingClientRect() }));
        const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
        return boxes.flatMap((a, k) => boxes.slice(k + 1).filter((b) => over(a.r, b.r)).map((b) => `${a.t} / ${b.t}`));
      });
      assert.deepEqual(clashes, [], `${id} at ${viewport.width}`);
      const out = await tab.$eval(`#${id}`, (c) => [...c.querySelectorAll('svg text')].filter((t) => {
        const [b, r] = [c.getBoundingClientRect(), t.getBoundingClientRect()];
        return r.width > 0 && (r.left < b.left - 1 || r.right > b.right + 1 || r.top < b.top - 1 || r.bottom > b.bottom + 1);
      }).map((t) => t.textContent));
      assert.deepEqual(out, [], `${id} at ${viewport.width}: cut off`);
    }
    await close();
  }
});

test('pointing at a chart shows figures with their units', async () => {
  const { tab, faults, close } = await opened('full', wide);
  for (const id of await chart_ids(tab)) {
    const chart = await tab.$(`#${id}`);
    await chart.scrollIntoViewIfNeeded();
    // Again when nothing comes: on a busy machine a move can fall between two frames, and the page takes no notice of it.
    let shown = false;
    for (let attempt = 0; attempt < 40 && !shown; ++attempt) {
      const box = await chart.boundingBox();
      await tab.mouse.move(box.x + box.width * 0.45, box.y + 40);
      for (const down of [60, 70, 80, 95]) await tab.mouse.move(box.x + box.width * 0.25, box.y + Math.min(down, box.height - 30));
      const tip_shown = (at) => {
        const tip = [...document.querySelectorAll(`#${at} > div`)].find((d) => /\d/.test(d.textContent) && !d.querySelector('svg'));
        return tip && getComputedStyle(tip).visibility !== 'hidden' && /\d ?(ns|µs|ms|s|kB|B)\b/.test(tip.textContent);
      };
      shown = await tab.waitForFunction(tip_shown, id, { timeout: 3_000 }).then(() => true, () => false);
    }
    assert.ok(shown, `${id}: pointed at, it says nothing`);
  }
  assert.deepEqual(faults, []);
  await close();
});

test('a phone need not scroll sideways, tables opened or not', async () => {
  const { tab, close } = await opened('full', phone);
  assert.ok((await overflow(tab)) <= 0);
  await tab.$$eval('details', (all) => all.forEach((d) => { d.open = true; }));
  assert.ok((await overflow(tab)) <= 0, 'with all tables open');
  await tab.setViewportSize({ width: 700, height: 360 }); // turned
  await tab.waitForFunction(() => document.querySelector('.chart svg').getBoundingClientRect().width > 500);
  assert.ok((await overflow(tab)) <= 0, 'turned');
  await close();
});

test('dark where the reader wants dark, and the button changes it', async () => {
  for (const scheme of ['light', 'dark']) {
    const { tab, close } = await opened('full', wide, scheme);
    const is_dark = async () => brightness(await ground(tab)) < 80;
    const chart_text = () => tab.$eval('#chart-procs svg text', (t) => getComputedStyle(t).fill);
    assert.equal(await is_dark(), scheme === 'dark');
    assert.equal(brightness(await chart_text()) > 128, scheme === 'dark', 'the charts follow');
    assert.deepEqual(await contrasts(tab), [], `contrast, ${scheme}`);
    await tab.click('#theme');
    assert.equal(await is_dark(), scheme !== 'dark');
    assert.equal(brightness(await chart_text()) > 128, scheme !== 'dark', 'the charts follow the button');
    assert.deepEqual(await contrasts(tab), [], `contrast, ${scheme} turned over`);
    await tab.click('#theme');
    assert.equal(await is_dark(), scheme === 'dark');
    await close();
  }
});

test('the raw data can be taken away', async () => {
  const { tab, close } = await opened('full', wide);
  for (const [what, key] of [['hierarchy', 'rows'], ['claims', 0], ['all', 'documents']]) {
    const [download] = await Promise.all([tab.waitForEvent('download'), tab.click(`a[data-download="${what}"]`)]);
    const content = JSON.parse(readFileSync(await download.path(), 'utf8'));
    assert.ok(content[key], what);
  }
  await close();
});

test('each claim has a verdict, and the licence of the charts is kept', async () => {
  const { tab, close } = await opened('full', wide);
  for (let k = 1; k <= 8; ++k) {
    assert.match(await tab.getAttribute(`#C${k} h3 .verdict`, 'data-verdict'), /^(holds|does not hold|cannot be measured here)$/);
  }
  const licences = await tab.textContent('footer');
  for (const words of ['Apache License', 'Version 2.0, January 2004', 'Copyright (c) 2017, Baidu Inc.']) assert.ok(licences.includes(words), words);
  await close();
});

test('what failed, was skipped or could not be measured is named under its chart', async () => {
  const { tab, close } = await opened('full', phone);
  const notes = async (id) => (await tab.$$eval(`#${id} .notes li`, (all) => all.map((n) => n.textContent))).join('\n');
  assert.match(await notes('hierarchy'), /not measured: VM: exit and entry; VM: ping-pong, 1 core; .*: no \/dev\/kvm on this machine/);
  assert.match(await notes('hierarchy'), /not steady, another run may find something else: thread: futex, 2 cores \(± 10\.0 %\)$/m);
  const behind = await tab.$$eval('#hierarchy details tbody tr, section:has(#chart-hierarchy) details tbody tr', (all) => all.map((r) => r.textContent));
  assert.ok(behind.some((row) => row.startsWith('load.dram') && row.includes('2.0 %')), behind.find((row) => row.startsWith('load.dram')));
  assert.match(await notes('peers-p16'), /failed: boost\.fiber, pingpong: hung: no result after 60 s/);
  assert.match(await notes('peers-p1'), /skipped: libst2: no st\.h: install the package libst-dev/);
  await close();
});

test('what was not run is named, and has no chart', async () => {
  const { tab, faults, close } = await opened('empty', phone);
  for (const [id, why] of [['hierarchy', 'bench_hierarchy was not run'], ['breakdown', 'bench_breakdown was not run'], ['scaling', 'bench_workloads was not run'], ['peers', 'tools/compare was not run']]) {
    assert.match(await tab.textContent(`#${id} .missing`), new RegExp(why));
    assert.equal(await tab.$(`#chart-${id}`), null);
  }
  assert.deepEqual(await chart_ids(tab), ['chart-procs']);
  assert.equal(await tab.getAttribute('#C4 h3 .verdict', 'data-verdict'), 'cannot be measured here');
  assert.deepEqual(faults, []);
  await close();
});
