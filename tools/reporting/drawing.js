// SPDX-License-Identifier: MIT
//
// What the charts have in common: fonts, axes, the legend and the room it needs. After figures.js, before charts.js.

(() => {
  'use strict';

  const font = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"; // no double quotes: ECharts writes it into an attribute

  const base = (palette) => ({
    animation: false,
    textStyle: { fontFamily: font, color: palette.text },
    tooltip: {
      confine: true,
      backgroundColor: palette.card,
      borderColor: palette.line,
      textStyle: { color: palette.text, fontSize: 13 },
      extraCssText: 'white-space: normal; max-width: 20rem;',
    },
  });
  const legend = (palette, data) => ({
    data, bottom: 0, left: 'center', itemWidth: 12, itemHeight: 10, itemGap: 14,
    textStyle: { color: palette.text, fontSize: 12 },
  });
  const axis = (palette, more) => ({
    axisLine: { show: false },
    axisTick: { show: false },
    axisLabel: { color: palette.faint, fontSize: 12, ...(more || {}) },
    splitLine: { lineStyle: { color: palette.line } },
    nameTextStyle: { color: palette.faint },
  });

  // How many lines a legend of such words takes.
  function legend_lines(words, width) {
    let lines = 1;
    let at = 0;
    for (const word of words) {
      const wide = word.length * 6.7 + 32;
      if (at > 0 && at + wide > width - 10) {
        lines += 1;
        at = 0;
      }
      at += wide;
    }
    return lines;
  }

  const short_metric = { ns_per_op: '', ms: '', bytes_per_task: ', bytes', create_ns: ', creating' };

  const log_range = (values) => [
    10 ** Math.floor(Math.log10(Math.min(...values)) - 1e-9),
    10 ** Math.ceil(Math.log10(Math.max(...values)) + 1e-9),
  ];

  globalThis.weft_drawing = { base, legend, axis, legend_lines, log_range, short_metric };
})();
