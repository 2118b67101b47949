// SPDX-License-Identifier: MIT
//
// The report as one HTML page: text, tables and data in it, and the scripts that draw. It asks for nothing from outside.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const { escaped: text, time, digits } = globalThis.weft_figures;

const names = { pingpong: 'bench_pingpong', hierarchy: 'bench_hierarchy', breakdown: 'bench_breakdown', workloads: 'bench_workloads', compare: 'tools/compare' };

// A script or data may hold "</script>" in a string; the parser of HTML must not see it.
const inert = (code) => code.replace(/<\/(script)/gi, '<\\/$1').replace(/<!--/g, '<\\!--');
const embedded = (value) => JSON.stringify(value).replace(/</g, '\\u003c');

function table(columns, rows, label) {
  const cells = (row, tag, more = '') => row.map((c) => `<${tag}${more}>${text(c ?? '')}</${tag}>`).join('');
  return `<div class="scroll" tabindex="0" role="region" aria-label="${text(label)}"><table><thead><tr>${cells(columns, 'th', ' scope="col"')}</tr></thead>` +
    `<tbody>${rows.map((row) => `<tr>${cells(row, 'td')}</tr>`).join('')}</tbody></table></div>`;
}

function chart_section(chart, commands) {
  const behind = chart.rows
    ? `<details><summary>Table: ${chart.rows.length} rows</summary>${table(chart.columns, chart.rows, chart.title)}</details>` : '';
  const head = `<section id="${chart.id}" aria-labelledby="h-${chart.id}"><h2 id="h-${chart.id}">${text(chart.title)}</h2>`;
  if (chart.missing) return `${head}<p class="missing">No chart: ${text(chart.missing)}.</p>${behind}</section>`;
  return `${head}<p class="faint">${text(chart.says)}</p>` +
    `<div class="chart" id="chart-${chart.id}" role="img" aria-label="${text(chart.alt)}"></div>` +
    `${chart.notes?.length ? `<ul class="notes">${chart.notes.map((note) => `<li>${text(note)}</li>`).join('')}</ul>` : ''}${behind}</section>`;
}

function verdict(of) {
  return `<span class="verdict" data-verdict="${text(of.verdict)}">${text(of.verdict)}</span>`;
}

// A figure, what must be said beside it on a line of its own, and whether the statement holds there.
function figure_cell(statement, who, name) {
  if (!statement[who]) return `<td data-label="${name}"></td>`;
  const [, figure, detail] = /^(.*?)(?: \((.*)\))?$/s.exec(statement[who]);
  const mark = { true: '<span class="mark holds" title="holds">\u2713</span>', false: '<span class="mark fails" title="does not hold">\u2715</span>' }[statement.holds_on[who]] || '';
  return `<td data-label="${name}" title="${text(statement.sources[who] ?? '')}"><span class="${who}">${text(figure)}</span> ${mark}${detail ? `<br><span class="faint">${text(detail).replace(/ = /g, '\u00a0=\u00a0')}</span>` : ''}</td>`;
}

function claim_block(claim) {
  const whos = [['weft', 'weft'], ['go', 'Go'], ['machine', 'this machine']].filter(([who]) => claim.statements.some((s) => who in s.holds_on));
  const row = (s) => `<tr><td><span class="faint">${text(s.id)}</span> ${text(s.text)}</td><td data-label="reference">${text(s.reference)}</td>` +
    `${whos.map(([who, name]) => figure_cell(s, who, name)).join('')}<td>${verdict(s)}<br><span class="faint">${text(s.why)}</span></td></tr>`;
  return `<div class="claim" id="${text(claim.claim)}"><h3>${text(claim.claim)}. ${text(claim.title)}: ${verdict(claim)}</h3><p>${text(claim.text)}</p>` +
    '<table><thead><tr>' +
    ['statement', 'reference', ...whos.map(([, name]) => name), 'verdict'].map((c) => `<th scope="col">${c}</th>`).join('') +
    `</tr></thead><tbody>${claim.statements.map(row).join('')}</tbody></table></div>`;
}

function claims_section(report) {
  const all = report.claims.flatMap((c) => c.statements);
  const count = (word) => all.filter((s) => s.verdict === word).length;
  return '<section id="claims" aria-labelledby="h-claims"><h2 id="h-claims">The claims, one by one</h2>' +
    '<p>A published experiment on Go\u2019s goroutines, on another machine (16 CPUs, about 3 GHz), made these claims. Beside each stands what was measured here, ' +
    `on weft and on Go. Of ${all.length} statements ${count('holds')} hold, ${count('does not hold')} do not, ${count('cannot be measured here')} cannot be measured here.</p>` +
    `<details><summary>The rules of judgement</summary><ul>${report.rules.map((r) => `<li>${text(r)}</li>`).join('')}</ul></details>` +
    `${report.claims.map(claim_block).join('')}</section>`;
}

function tiles(report) {
  const first = (p, who) => {
    if (who === 'weft' && report.documents.pingpong) {
      const row = report.documents.pingpong.results.find((r) => r.p === p && r.place === 'auto' && r.depth === 0 && r.pairs === 1);
      if (row) return row.median;
    }
    const row = (report.documents.compare || { rows: [] }).rows.find((r) => r.workload === 'pingpong' && r.peer === who && r.procs === p && r.metric === 'ns_per_op');
    return row ? row.median : null;
  };
  const list = [];
  for (const [who, name] of [['weft', 'weft'], ['go', 'Go']]) {
    for (const p of [1, 16]) {
      const ns = first(p, who);
      if (typeof ns === 'number') list.push([`${name}, p = ${p}`, time(ns), 'a switch']);
    }
  }
  const rows = (report.documents.compare || { rows: [] }).rows;
  const ratio = rows.find((r) => r.workload === 'pingpong' && r.peer === 'go' && r.procs === 1 && r.ratio);
  if (ratio) list.push(['Go over weft, p = 1', `${digits(ratio.ratio)}\u00d7`, 'in turn, by tools/compare']);
  return list.length ? `<dl class="tiles">${list.map(([dt, dd, small]) => `<div class="tile"><dt>${text(dt)}</dt><dd>${text(dd)}<small>${text(small)}</small></dd></div>`).join('')}</dl>` : '';
}

function machine_line(report) {
  const seen = Object.values(report.documents).map((d) => d.machine).filter(Boolean);
  const lines = [...new Set(seen.map((m) => `${m.cpu}, ${m.cpus} CPUs, ${m.arch}, ${m.kernel}, ${m.compiler}`))];
  const revisions = [...new Set(Object.values(report.documents).map((d) => d.revision).filter(Boolean))];
  return [
    lines.length ? lines.join(' / ') : 'no machine: nothing was measured',
    revisions.length ? `weft ${revisions.join(', ')}` : '',
    lines.length > 1 ? 'The benches ran on different machines or compilers: do not compare across them.' : '',
    revisions.length > 1 ? 'The benches are of different revisions.' : '',
  ].filter(Boolean);
}

function method_section(report) {
  const state = (bench) => (report.documents[bench]
    ? `<a href="#" data-download="${bench}" download="${bench}.json">${bench}.json</a>` : text(report.missing[bench]));
  const rows = Object.keys(names).map((bench) => `<tr><th scope="row">${names[bench]}</th><td>${state(bench)}</td><td><code>${text(report.commands[bench])}</code></td></tr>`).join('');
  const raw = Object.entries(report.documents).map(([bench, document]) =>
    `<details><summary>${names[bench]}: machine, settings, raw data</summary><pre tabindex="0">${text(JSON.stringify(document, null, 1))}</pre></details>`).join('');
  return '<section id="method" aria-labelledby="h-method"><h2 id="h-method">Method, machine, data</h2>' +
    `${machine_line(report).map((line) => `<p>${text(line)}</p>`).join('')}` +
    '<p>Each figure is the median of repeated runs, least and most beside it in the tables; runs that are compared take turns (A B C A B C), each sum is checked. ' +
    'What was not measured is said to be so; nothing on this page is estimated unless it says extrapolated.</p>' +
    `<div class="scroll" tabindex="0" role="region" aria-label="The benches"><table><thead><tr><th scope="col">bench</th><th scope="col">data</th><th scope="col">command</th></tr></thead><tbody>${rows}</tbody></table></div>` +
    '<p><a href="#" data-download="claims" download="claims.json">claims.json</a> \u00b7 <a href="#" data-download="all" download="report.json">everything on this page as JSON</a></p>' +
    `${raw}</section>`;
}

function licences(modules) {
  const from = { 'Apache ECharts': ['echarts/LICENSE', 'echarts/NOTICE'], 'd3, parts in ECharts': ['echarts/licenses/LICENSE-d3'], ZRender: ['zrender/LICENSE'], tslib: ['tslib/LICENSE.txt'] };
  const read = (file) => {
    try {
      return readFileSync(join(modules, file), 'utf8').trim();
    } catch {
      return '';
    }
  };
  const texts = Object.entries(from).map(([name, files]) => [name, files.map(read).filter(Boolean).join('\n\n')]).filter(([, t]) => t);
  return `<details><summary>Licences of what draws the charts</summary>${texts.map(([name, t]) => `<h3>${text(name)}</h3><pre tabindex="0">${text(t)}</pre>`).join('')}</details>`;
}

export function page(report, charts, modules, scripts, style) {
  const links = charts.map((c) => [c.id, c.title.replace(/: .*/, '')]).concat([['claims', 'Claims'], ['method', 'Method and data']]);
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>weft: what a goroutine switch costs</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
<header>
<div class="top"><h1>weft: what a goroutine switch costs, and what stands beside it</h1><button id="theme" type="button">Theme</button></div>
${machine_line(report).map((line) => `<p class="faint">${text(line)}</p>`).join('\n')}
${tiles(report)}
<nav aria-label="On this page"><ul>${links.map(([id, title]) => `<li><a href="#${id}">${text(title)}</a></li>`).join('')}</ul></nav>
</header>
<main>
${charts.map((c) => chart_section(c, report.commands)).join('\n')}
${claims_section(report)}
${method_section(report)}
</main>
<footer class="faint">${licences(modules)}<noscript><p>The charts need JavaScript; the tables do not.</p></noscript></footer>
<script type="application/json" id="report">${embedded(report)}</script>
${scripts.map((code) => `<script>${inert(code)}</script>`).join('\n')}
</body>
</html>
`;
}
