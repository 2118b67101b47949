// SPDX-License-Identifier: MIT
//
// The charts of the report. weft_charts(report) gives a list of
//
//   {id, title, says, alt, height(width), option(width, palette), columns, rows}      a chart, and the table behind it
//   {id, title, missing}                                                                why there is none
//
// option() makes an ECharts option: the same one for the page, where it can be pointed at, and for the SVG files. What a
// bench did not measure is not drawn; the table says why.

(() => {
  'use strict';

  const { digits, time, tick, metric, title_of, group_of, groups, escaped } = globalThis.weft_figures;
  const { base, legend, axis, legend_lines, log_range, short_metric } = globalThis.weft_drawing;

  // ---- dots on a logarithmic axis of time, the figure written at the right: the hierarchy, and the headline
  //
  // rows: {title, group, ns: {min, median, p99}, known, more}; first on top. known: how well the median is, in words, where a bench says it

  function ladder_option(rows, width, palette) {
    const narrow = width < 560;
    const names = groups.filter((g) => rows.some((r) => r.group === g));
    const all = rows.flatMap((r) => [r.ns.min, r.ns.median, r.ns.p99].filter((v) => v > 0));
    const [least, most] = log_range(all);
    const decades = Math.log10(most / least);
    const size = narrow ? 11 : 12.5;
    const left = Math.min(Math.max(...rows.map((r) => r.title.length)) * size * 0.58 + 14, width * 0.47);
    const right = narrow ? 62 : 80;
    const room = width - left - right;
    const loud = (group) => group === 'weft' || group === 'Go';
    const bottom = 19 * legend_lines(names, width) + 12;
    const option = base(palette);
    option.grid = { left, right, top: 28, bottom };
    option.legend = legend(palette, names);
    option.xAxis = {
      ...axis(palette, { formatter: (v) => tick(v, room / decades < 52), hideOverlap: true, margin: 6 }),
      type: 'log', logBase: 10, min: least, max: most, position: 'top', minorTick: { show: false },
    };
    const categories = (text, more) => ({
      type: 'category', inverse: true, data: rows.map(text), axisLine: { show: false }, axisTick: { show: false },
      splitLine: { show: false }, ...more,
    });
    const colour = (_, index) => palette[rows[index].group];
    option.yAxis = [
      categories((r) => r.title, {
        axisLabel: {
          interval: 0, fontSize: size, color: colour, width: left - 10, overflow: 'truncate',
          formatter: (text, k) => (loud(rows[k].group) ? `{${rows[k].group}|${text}}` : text),
          rich: Object.fromEntries(['weft', 'Go'].map((g) => [g, { fontWeight: 'bold', fontSize: size, color: palette[g] }])),
        },
      }),
      categories((r) => time(r.ns.median), {
        position: 'right', axisLabel: { interval: 0, fontSize: size, fontWeight: 'bold', color: colour },
        axisPointer: { show: false },
      }),
    ];
    option.tooltip.trigger = 'axis';
    option.tooltip.axisPointer = { type: 'shadow', axis: 'y', shadowStyle: { color: palette.line, opacity: 0.45 } };
    option.tooltip.formatter = (points) => {
      const r = rows[points[0].value[1]];
      const range = r.ns.p99 > 0 ? `<br>min ${time(r.ns.min)}, p99 ${time(r.ns.p99)}` : '';
      return `<strong>${escaped(r.title)}</strong><br>median ${time(r.ns.median)}${r.known ? ` ± ${r.known}` : ''}${range}` + (r.more ? `<br>${escaped(r.more)}` : '');
    };
    option.series = names.map((group) => ({
      type: 'scatter', name: group, symbolSize: loud(group) ? 12 : 9, z: 3,
      itemStyle: { color: palette[group], opacity: 1 },
      symbol: group === 'weft' ? 'diamond' : group === 'Go' ? 'triangle' : 'circle',
      data: rows.map((r, k) => (r.group === group ? [r.ns.median, k] : null)).filter(Boolean),
    }));
    // From the least to the 99th percentile.
    option.series.push({
      type: 'custom', silent: true, z: 2, tooltip: { show: false },
      data: rows.map((r, k) => [r.ns.min || r.ns.median, r.ns.p99 || r.ns.median, k]),
      encode: { x: [0, 1], y: 2 },
      renderItem: (params, api) => {
        const [x1, y] = api.coord([api.value(0), api.value(2)]);
        const [x2] = api.coord([api.value(1), api.value(2)]);
        return {
          type: 'line', shape: { x1, y1: y, x2, y2: y },
          style: { stroke: palette[rows[params.dataIndex].group], lineWidth: 2.5, opacity: 0.45 },
        };
      },
    });
    return option;
  }

  function ladder(id, title, says, rows, columns, table) {
    const sorted = [...rows].sort((a, b) => a.ns.median - b.ns.median);
    return {
      id, title, says, columns, rows: table,
      alt: `${title}. From ${sorted[0].title}, ${time(sorted[0].ns.median)}, to ${sorted.at(-1).title}, ${time(sorted.at(-1).ns.median)}.`,
      height: (width) => 24 * sorted.length + 40 + 19 * legend_lines(groups.filter((g) => rows.some((r) => r.group === g)), width),
      option: (width, palette) => ladder_option(sorted, width, palette),
    };
  }

  // What shares a reason is named together: "a, b: why".
  function by_reason(pairs) {
    const reasons = [...new Set(pairs.map(([, why]) => why))];
    return reasons.map((why) => `${pairs.filter(([, w]) => w === why).map(([name]) => name).join('; ')}: ${why}`);
  }

  // Half of the interval in which a row's median lies with 95 % confidence, as a share of it; bench_hierarchy says it since turns were counted.
  const doubt = (r) => (r.turns ? (r.turns.median_ci95[1] - r.turns.median_ci95[0]) / (r.turns.median_ci95[1] + r.turns.median_ci95[0]) : 0);
  const percent = (x) => `${(100 * x).toFixed(1)} %`;

  function hierarchy(report) {
    const title = 'The hierarchy: from a cycle to a virtual machine';
    const id = 'hierarchy';
    const document = report.documents.hierarchy;
    if (!document) return { id, title, missing: report.missing.hierarchy };
    const measured = document.rows.filter((r) => r.ns);
    const row = (r) => ({ title: title_of(r.name), group: group_of(r.name), ns: r.ns, known: r.turns ? percent(doubt(r)) : '', more: r.method });
    const absent = document.rows.length - measured.length;
    const says = 'Median of each, on a logarithmic axis; the line goes from the least to the 99th percentile. ' +
      (absent ? `${absent} of ${document.rows.length} rows could not be measured on this machine.` : '');
    const cells = document.rows.map((r) => [
      r.name, r.method || '', r.isolation || '',
      ...(r.ns ? [time(r.ns.min), time(r.ns.median), r.turns ? percent(doubt(r)) : '', time(r.ns.p99),
        r.cycles ? digits(r.cycles.median) : '', r.multiplier ? `${digits(r.multiplier)}x` : ''] : ['', `not measured: ${r.unavailable}`, '', '', '', '']),
    ]);
    const columns = ['name', 'method', 'isolation', 'min', 'median', '±', 'p99', 'cycles', 'goroutine switches'];
    if (measured.length === 0) return { id, title, missing: 'bench_hierarchy could measure none of its rows here', columns, rows: cells };
    const notes = by_reason(document.rows.filter((r) => !r.ns).map((r) => [title_of(r.name), r.unavailable])).map((n) => `not measured: ${n}`);
    const restless = measured.filter((r) => r.ns.median > 5 && doubt(r) > 0.05).map((r) => `${title_of(r.name)} (± ${percent(doubt(r))})`);
    if (restless.length > 0) notes.push(`not steady, another run may find something else: ${restless.join(', ')}`);
    return { ...ladder(id, title, says, measured.map(row), columns, cells), notes };
  }

  // What a README shows: one switch of each runtime by channels, among landmarks of the hierarchy.
  function headline(report) {
    const title = 'A switch between two tasks, one processor';
    const id = 'headline';
    const compare = (report.documents.compare || { rows: [] }).rows;
    const peers = compare.filter((r) => r.workload === 'pingpong' && r.procs === 1 && r.metric === 'ns_per_op' && r.median);
    const names = { go: 'Go', threads: 'OS threads, condvar', crossbeam: 'OS threads, crossbeam', libst: 'State Threads',
      tokio: 'tokio', 'tokio.current_thread': 'tokio, current thread', 'boost.fiber': 'Boost.Fiber' };
    const group = (peer) => (peer === 'weft' ? 'weft' : peer === 'go' ? 'Go' : /threads|crossbeam/.test(peer) ? 'OS thread' : 'other runtimes');
    const rows = peers.map((r) => ({
      title: names[r.peer] || r.peer, group: group(r.peer), more: `tools/compare, ${r.runs.length} rounds`,
      ns: { min: Math.min(...r.runs), median: r.median, p99: Math.max(...r.runs) },
    }));
    const landmarks = ['cpu.cycle', 'load.l1', 'load.l3', 'load.dram', 'syscall.empty', 'process.pipe.cross_core', 'container.pipe.cross_core', 'vm.pingpong.cross_core'];
    for (const r of (report.documents.hierarchy || { rows: [] }).rows) {
      if (r.ns && landmarks.includes(r.name)) rows.push({ title: title_of(r.name), group: group_of(r.name), ns: r.ns, more: r.method });
    }
    if (peers.length === 0) return { id, title, missing: report.missing.compare || 'tools/compare was run without pingpong at p = 1' };
    const chart = ladder(id, title,
      'Two tasks, two unbuffered channels, a value to and fro (what comes nearest to it, where a runtime has no such channels): the time of half a round trip.',
      rows, ['what', 'least', 'median', 'most'],
      [...rows].sort((a, b) => a.ns.median - b.ns.median).map((r) => [r.title, time(r.ns.min), time(r.ns.median), time(r.ns.p99)]));
    return chart;
  }

  // ---- p = 1 and p = N: bars

  function one_and_many(report) {
    const title = 'One P and many: what more Ps add to a switch';
    const id = 'procs';
    const found = []; // {who, p, runs, median, source}
    const plain = (r) => r.place === 'auto' && r.depth === 0 && r.pairs === 1;
    for (const r of (report.documents.pingpong || { results: [] }).results.filter(plain)) {
      found.push({ who: 'weft', p: r.p, runs: r.ns_per_switch, median: r.median, source: 'bench_pingpong' });
    }
    const own = found.length > 0;
    for (const r of (report.documents.compare || { rows: [] }).rows) {
      if (r.workload !== 'pingpong' || r.metric !== 'ns_per_op' || !r.median) continue;
      if (r.peer === 'go') found.push({ who: 'Go', p: r.procs, runs: r.runs, median: r.median, source: 'tools/compare' });
      if (r.peer === 'weft' && !own) found.push({ who: 'weft', p: r.procs, runs: r.runs, median: r.median, source: 'tools/compare' });
    }
    if (found.length === 0) return { id, title, missing: [report.missing.pingpong, report.missing.compare].filter(Boolean).join('; ') };
    const reference = 'reference run (Go, another machine)';
    found.push({ who: reference, p: 1, runs: [], median: 108, source: 'as published' });
    found.push({ who: reference, p: 16, runs: [], median: 152, source: 'as published' });
    const who = ['weft', 'Go', reference].filter((w) => found.some((f) => f.who === w));
    const order = [...new Set(found.map((f) => f.p))].sort((a, b) => a - b);
    const bars = who.flatMap((w) => order.map((p) => found.find((f) => f.who === w && f.p === p)).filter(Boolean));
    return {
      id, title,
      says: 'The experiment: two goroutines, two unbuffered channels; nanoseconds a switch, median. The reference run is another machine\u2019s and stands here for its ratio.',
      alt: `${title}. ${bars.map((b) => `${b.who}, p = ${b.p}: ${time(b.median)}`).join('; ')}.`,
      columns: ['runtime', 'p', 'least', 'median', 'most', 'runs', 'from'],
      rows: bars.map((b) => [b.who, b.p, ...(b.runs.length ? [time(Math.min(...b.runs)), time(b.median), time(Math.max(...b.runs)), b.runs.length] : ['', time(b.median), '', '']), b.source]),
      height: () => 30 * bars.length + 40,
      option: (width, palette) => {
        const option = base(palette);
        const tone = (b) => (b.who === reference ? palette.rest : palette[b.who]);
        const short = (b) => `${b.who === reference ? 'reference' : b.who}, p = ${b.p}`;
        option.grid = { left: 128, right: 70, top: 26, bottom: 8 };
        option.xAxis = { ...axis(palette, { formatter: (v) => `${v} ns`, hideOverlap: true }), type: 'value', position: 'top', splitNumber: width < 560 ? 3 : 6 };
        option.yAxis = {
          type: 'category', inverse: true, data: bars.map(short), axisLine: { show: false }, axisTick: { show: false },
          axisLabel: { color: palette.text, fontSize: 12.5, interval: 0 },
        };
        option.tooltip.trigger = 'axis';
        option.tooltip.axisPointer = { type: 'shadow', shadowStyle: { color: palette.line, opacity: 0.45 } };
        option.tooltip.formatter = ([point]) => {
          const b = bars[point.dataIndex];
          const spread = b.runs.length ? `<br>${time(Math.min(...b.runs))} to ${time(Math.max(...b.runs))} in ${b.runs.length} runs` : '';
          return `<strong>${escaped(b.who)}, p = ${b.p}</strong><br>median ${time(b.median)}${spread}<br>${escaped(b.source)}`;
        };
        option.series = [{
          type: 'bar', barWidth: 16,
          data: bars.map((b) => ({ value: b.median, itemStyle: { color: tone(b), borderRadius: [0, 2, 2, 0] } })),
          label: { show: true, position: 'right', color: palette.text, formatter: (x) => time(x.value) },
        }];
        return option;
      },
    };
  }

  // ---- where a switch's time goes: stacked bars

  function breakdown(report) {
    const title = 'Where a channel switch\u2019s nanoseconds go';
    const id = 'breakdown';
    const document = report.documents.breakdown;
    if (!document) return { id, title, missing: report.missing.breakdown };
    const bars = document.rows.filter((r) => r.parts && r.whole_ns);
    if (bars.length === 0) return { id, title, missing: 'bench_breakdown gave no whole to take apart' };
    const names = [...new Set(bars.flatMap((r) => r.parts.filter((x) => x.ns !== null && x.ns !== undefined).map((x) => x.name)))];
    const series = [...names, 'unexplained'];
    const value = (bar, name) => {
      if (name === 'unexplained') return bar.unexplained_ns || 0;
      const part = bar.parts.find((x) => x.name === name);
      return part && typeof part.ns === 'number' ? part.ns : 0;
    };
    const share = (ns, bar) => `${Math.round((100 * ns) / bar.whole_ns)} %`;
    return {
      id, title,
      says: 'Found by ablation: variants of the real path with a part left out or doubled. What the parts do not add up to is shown as unexplained.',
      alt: `${title}. ${bars.map((b) => `p = ${b.procs}: ${time(b.whole_ns)}, of which ${series.map((n) => `${n} ${time(value(b, n))}`).join(', ')}`).join('; ')}.`,
      columns: ['p', 'part', 'time', 'share', 'instructions', 'method'],
      rows: bars.flatMap((b) => [
        ...b.parts.map((x) => (typeof x.ns === 'number' ? [b.procs, x.name, time(x.ns), share(x.ns, b), x.instructions ?? '', x.method || '']
          : [b.procs, x.name, 'not measured', '', x.instructions ?? '', x.unavailable || x.method || ''])),
        [b.procs, 'unexplained', time(b.unexplained_ns || 0), share(b.unexplained_ns || 0, b), '', 'the whole less the parts'],
        [b.procs, 'whole', time(b.whole_ns), '100 %', '', ''],
      ]),
      height: (width) => 46 * bars.length + 50 + 19 * legend_lines(series, width),
      option: (width, palette) => {
        const option = base(palette);
        // A part may come out negative: what it takes then lies left of zero.
        const reach = (sign) => Math.max(...bars.map((b) => series.reduce((sum, n) => sum + Math.max(sign * value(b, n), 0), 0)));
        const longest = 1.2 * (reach(1) + reach(-1)); // the axis ends at a round number
        const room = width - 62 - 76;
        const tone = (k) => (k === names.length ? palette.rest : palette.parts[k % palette.parts.length]);
        option.grid = { left: 62, right: 76, top: 26, bottom: 19 * legend_lines(series, width) + 14 };
        option.legend = legend(palette, series);
        option.xAxis = { ...axis(palette, { formatter: (v) => `${v} ns`, hideOverlap: true }), type: 'value', position: 'top', splitNumber: width < 560 ? 3 : 6 };
        option.yAxis = [
          { type: 'category', inverse: true, data: bars.map((b) => `p = ${b.procs}`), axisLine: { show: false }, axisTick: { show: false }, axisLabel: { color: palette.text, fontSize: 13 } },
          { type: 'category', inverse: true, position: 'right', data: bars.map((b) => time(b.whole_ns)), axisLine: { show: false }, axisTick: { show: false }, axisLabel: { color: palette.text, fontSize: 13, fontWeight: 'bold' }, axisPointer: { show: false } },
        ];
        option.tooltip.trigger = 'axis';
        option.tooltip.axisPointer = { type: 'shadow', shadowStyle: { color: palette.line, opacity: 0.45 } };
        option.tooltip.formatter = (points) => {
          const bar = bars[points[0].dataIndex];
          const lines = points.filter((x) => x.value).map((x) => `${x.marker}${escaped(x.seriesName)} ${time(x.value)} (${share(x.value, bar)})`);
          return `<strong>p = ${bar.procs}: ${time(bar.whole_ns)}</strong><br>${lines.join('<br>')}`;
        };
        option.series = series.map((name, k) => ({
          type: 'bar', stack: 'whole', name, barWidth: 26, itemStyle: { color: tone(k), borderColor: palette.card, borderWidth: 1 },
          data: bars.map((b) => value(b, name)),
          label: {
            show: true, fontSize: 11, color: k === names.length ? palette.text : palette.on_part,
            formatter: (x) => ((Math.abs(x.value) / longest) * room > 30 ? digits(x.value) : ''),
          },
        }));
        return option;
      },
    };
  }

  // ---- curves over the number of Ps: a panel each

  function panels(id, title, says, items, columns, rows) {
    const per_row = (width) => Math.max(Math.floor(width / 210), width < 480 ? 1 : 2);
    const tall = 150;
    const whos = [...new Set(items.flatMap((x) => x.lines.map((l) => l.who)))];
    return {
      id, title, says, columns, rows,
      alt: `${title}: ${items.length} panels. ${items.map((x) => `${x.name}: ${x.lines.map((l) => `${l.who} ${l.points.map(([p, v]) => `p = ${p} ${metric(v, x.metric)}`).join(', ')}`).join('; ')}`).join('. ')}.`,
      height: (width) => Math.ceil(items.length / per_row(width)) * tall + 30,
      option: (width, palette) => {
        const option = base(palette);
        const columns_here = per_row(width);
        const wide = width / columns_here;
        const procs = [...new Set(items.flatMap((x) => x.lines.flatMap((l) => l.points.map(([p]) => p))))].sort((a, b) => a - b);
        Object.assign(option, { grid: [], xAxis: [], yAxis: [], title: [], series: [] });
        items.forEach((item, k) => {
          const left = (k % columns_here) * wide;
          const top = Math.floor(k / columns_here) * tall;
          const values = item.lines.flatMap((l) => l.points.map(([, v]) => v));
          const most = Math.max(...values, 0) || 1;
          const least = Math.min(...values, 0); // memory may have shrunk
          option.title.push({ text: item.name, left: left + 6, top: top + 5, padding: 0, textStyle: { fontSize: 12.5, fontWeight: 'bold', color: palette.text } });
          option.grid.push({ left: left + 58, top: top + 30, width: wide - 78, height: tall - 62 });
          option.xAxis.push({
            ...axis(palette, { fontSize: 11, interval: 0, formatter: (p) => p }), gridIndex: k, type: 'category',
            data: procs.map(String), axisLine: { show: true, lineStyle: { color: palette.line } }, splitLine: { show: false },
          });
          option.yAxis.push({
            ...axis(palette, { fontSize: 11, formatter: (v) => (v === 0 ? '0' : metric(v, item.metric).replace(/\.0+(?= )/, '').replace(/(\.\d)0(?= )/, '$1')) }),
            gridIndex: k, type: 'value', min: least, max: most, interval: (most - least) / 2,
          });
          for (const line of item.lines) {
            option.series.push({
              type: 'line', name: line.who, xAxisIndex: k, yAxisIndex: k, symbolSize: 8, lineStyle: { width: 2 },
              symbol: line.who === 'weft' ? 'diamond' : 'triangle', color: palette[line.who] || palette.series[7],
              data: procs.map((p) => (line.points.find(([at]) => at === p) || [p, null])[1]), connectNulls: true,
            });
          }
        });
        option.legend = legend(palette, whos);
        option.axisPointer = { lineStyle: { color: palette.faint } };
        option.tooltip.trigger = 'axis';
        option.tooltip.formatter = (points) => {
          const item = items[points[0].axisIndex ?? 0];
          return `<strong>${escaped(item.name)}, p = ${points[0].axisValue}</strong><br>` +
            points.filter((x) => x.value !== null && x.value !== undefined).map((x) => `${x.marker}${x.seriesName} ${metric(x.value, item.metric)}`).join('<br>');
        };
        return option;
      },
    };
  }

  function scaling(report) {
    const title = 'Workloads over the number of Ps';
    const id = 'scaling';
    const document = report.documents.workloads;
    if (!document) return { id, title, missing: report.missing.workloads };
    const measured = document.rows.filter((r) => typeof r.median === 'number' && r.procs);
    const keys = [...new Set(measured.map((r) => `${r.workload}\n${r.metric}`))];
    const of = (key) => measured.filter((r) => `${r.workload}\n${r.metric}` === key);
    const runtime = (r) => ({ go: 'Go' })[r.runtime || r.peer] || r.runtime || r.peer || 'weft';
    const items = keys.map((key) => {
      const rows = of(key);
      const lines = [...new Set(rows.map(runtime))].map((who) => ({ who, points: rows.filter((r) => runtime(r) === who).map((r) => [r.procs, r.median]) }));
      return { name: key.split('\n')[0].replace(/_/g, ' '), metric: rows[0].metric, lines };
    }).filter((x) => x.lines.some((l) => l.points.length > 1));
    const rows = document.rows.map((r) => [r.workload, r.procs ?? '', typeof r.median === 'number' ? metric(r.median, r.metric) : `not measured: ${r.unavailable || r.note || 'no reason given'}`, r.metric || '', (r.runs || []).map(digits).join(' '), r.note || '']);
    const columns = ['workload', 'p', 'median', 'metric', 'runs', 'note'];
    if (items.length === 0) return { id, title, missing: 'bench_workloads was run with a single number of Ps: there is no curve', columns, rows };
    return panels(id, title, 'bench_workloads, medians; lower is better unless the table says otherwise. The number of Ps goes to the right; each panel has a scale of its own, from zero.', items, columns, rows);
  }

  function beside_go(report) {
    const title = 'weft and Go over the number of Ps';
    const id = 'scaling-go';
    const document = report.documents.compare;
    if (!document) return { id, title, missing: report.missing.compare };
    const rows = document.rows.filter((r) => (r.peer === 'weft' || r.peer === 'go') && typeof r.median === 'number');
    const items = [...new Set(rows.map((r) => `${r.workload}\n${r.metric}`))].map((key) => {
      const mine = rows.filter((r) => `${r.workload}\n${r.metric}` === key);
      const lines = [['weft', 'weft'], ['go', 'Go']].map(([peer, who]) => ({ who, points: mine.filter((r) => r.peer === peer).map((r) => [r.procs, r.median]) }));
      const [workload, unit] = key.split('\n');
      return { name: workload + (short_metric[unit] ?? `, ${unit}`), metric: unit, lines: lines.filter((l) => l.points.length > 0) };
    }).filter((x) => x.lines.some((l) => l.points.length > 1));
    if (items.length === 0) return { id, title, missing: 'tools/compare was run with a single number of Ps: there is no curve' };
    return panels(id, title, 'tools/compare, the same programs in turn; time of one operation, or memory of one task. The number of Ps goes to the right; each panel has a scale of its own, from zero.', items,
      ['workload', 'runtime', 'p', 'median', 'metric'], rows.map((r) => [r.workload, r.peer, r.procs, metric(r.median, r.metric), r.metric]));
  }

  // ---- peers as ratios

  const symbols = [
    'triangle', 'circle', 'rect', 'diamond', 'path://M0 0H10L5 9Z', 'path://M2 0L0 2 3 5 0 8 2 10 5 7 8 10 10 8 7 5 10 2 8 0 5 3Z',
    'path://M4 0H6V4H10V6H6V10H4V6H0V4H4Z', 'roundRect',
  ];

  function ratio_text(v) {
    if (v >= 100) return `\u00d7${Math.round(v).toLocaleString('en-US')}`;
    return `\u00d7${Number(v.toPrecision(2))}`;
  }

  function peers(report) {
    const document = report.documents.compare;
    const title = 'Peers, as multiples of weft';
    if (!document) return [{ id: 'peers', title, missing: report.missing.compare }];
    const all = [...new Set(document.rows.map((r) => r.peer))].filter((x) => x !== 'weft');
    return [...new Set(document.rows.map((r) => r.procs))].sort((a, b) => a - b).map((p) => {
      const here = document.rows.filter((r) => r.procs === p);
      const key = (r) => r.workload + (short_metric[r.metric] ?? `, ${r.metric}`);
      const names = [...new Set(here.map(key))];
      const good = here.filter((r) => r.peer !== 'weft' && r.ratio > 0);
      const columns = ['workload', 'runtime', 'n', 'least', 'median', 'multiple of weft', 'metric'];
      const rows = here.map((r) => [r.workload, r.peer, r.n.toLocaleString('en-US'), ...(r.median === null || r.median === undefined ? ['', `failed: ${r.failed}`, ''] : [metric(Math.min(...r.runs), r.metric), metric(r.median, r.metric), r.ratio ? ratio_text(r.ratio) : '']), r.metric]);
      const id = `peers-p${p}`;
      const named = `${title}, p\u00a0=\u00a0${p}`;
      if (good.length === 0) return { id, title: named, missing: 'no peer gave a figure', columns, rows };
      const shown = all.filter((peer) => good.some((r) => r.peer === peer));
      const notes = [
        ...by_reason(here.filter((r) => r.failed).map((r) => [`${r.peer}, ${key(r)}`, r.failed])).map((n) => `failed: ${n}`),
        ...by_reason((document.skipped || []).map((x) => [x.peer, x.why])).map((n) => `skipped: ${n}`),
        ...by_reason((document.absent || []).map((x) => [x.peer, x.why]).filter(([peer], k, list) => list.findIndex(([other]) => other === peer) === k)).map((n) => `not in every row: ${n}`),
      ];
      return {
        id, title: named, columns, rows, notes,
        says: 'tools/compare: median of each runtime over weft\u2019s, in the same rounds. Right of the line weft is faster (or smaller); left of it the other is.',
        alt: `${named}. ${good.filter((r) => r.peer === 'go').map((r) => `Go, ${key(r)}: ${ratio_text(r.ratio)}`).join('; ')}. The table has all.`,
        height: (width) => 26 * names.length + 46 + 19 * legend_lines(shown, width),
        option: (width, palette) => {
          const option = base(palette);
          const narrow = width < 560;
          const [least, most] = log_range([...good.map((r) => r.ratio), 1]);
          const decades = Math.log10(most / least);
          const left = Math.max(...names.map((n) => n.length)) * (narrow ? 6.2 : 7) + 14;
          option.grid = { left, right: 24, top: 28, bottom: 19 * legend_lines(shown, width) + 14 };
          option.legend = legend(palette, shown);
          option.xAxis = {
            ...axis(palette, {
              formatter: (v) => (v === 1 ? '{weft|weft}' : narrow && decades > 3 && Math.round(Math.log10(v)) % 2 !== 0 ? '' : ratio_text(v)), hideOverlap: true,
              rich: { weft: { color: palette.weft, fontWeight: 'bold', fontSize: 12 } },
            }), type: 'log', logBase: 10, min: least, max: most, position: 'top', minorTick: { show: false },
          };
          option.yAxis = {
            type: 'category', inverse: true, data: names, axisLine: { show: false }, axisTick: { show: false },
            axisLabel: { color: palette.text, fontSize: narrow ? 11 : 12.5, interval: 0 },
            splitLine: { show: true, lineStyle: { color: palette.line, opacity: 0.5 } },
          };
          option.tooltip.trigger = 'axis';
          option.tooltip.axisPointer = { type: 'shadow', axis: 'y', shadowStyle: { color: palette.line, opacity: 0.45 } };
          option.tooltip.formatter = (points) => {
            const name = names[points[0].value[1]];
            const mine = here.filter((r) => key(r) === name);
            return `<strong>${escaped(name)}, p = ${p}</strong><br>` + mine.map((r) => `${escaped(r.peer)} ${r.failed ? `failed: ${escaped(r.failed)}` : `${metric(r.median, r.metric)}${r.ratio ? ` (${ratio_text(r.ratio)})` : ''}`}`).join('<br>');
          };
          option.series = shown.map((peer, k) => {
            const tone = peer === 'go' ? palette.Go : palette.series[all.indexOf(peer) % palette.series.length];
            return {
              type: 'scatter', name: peer, symbol: symbols[all.indexOf(peer) % symbols.length], symbolSize: peer === 'go' ? 12 : 10, z: peer === 'go' ? 4 : 3,
              itemStyle: { color: tone, opacity: 0.9 },
              data: good.filter((r) => r.peer === peer).map((r) => [r.ratio, names.indexOf(key(r))]),
              ...(k === 0 ? { markLine: {
                silent: true, symbol: 'none', animation: false, lineStyle: { color: palette.weft, width: 2, type: 'solid' },
                label: { show: false }, data: [{ xAxis: 1 }],
              } } : {}),
            };
          });
          return option;
        },
      };
    });
  }

  globalThis.weft_charts = (report) => [
    headline(report), one_and_many(report), hierarchy(report), breakdown(report), scaling(report), beside_go(report), ...peers(report),
  ];
})();
