// SPDX-License-Identifier: MIT
//
// Numbers, names and colours of the report. A classic script, so that the page can hold it as it is and Node can run it;
// what it offers hangs on globalThis.weft_figures.

(() => {
  'use strict';

  const micro = '\u00b5s';

  function digits(value) {
    const size = Math.abs(value);
    if (size >= 100) return Math.round(value).toLocaleString('en-US');
    if (size >= 10) return value.toFixed(1);
    if (size >= 0.1 || size === 0) return value.toFixed(2);
    return value.toPrecision(2);
  }

  // Nanoseconds for people: 9.61 ns, 1.72 us, 125 ms.
  function time(ns) {
    for (const [unit, size] of [['s', 1e9], ['ms', 1e6], [micro, 1e3]]) {
      if (Math.abs(ns) >= size) return `${digits(ns / size)} ${unit}`;
    }
    return `${digits(ns)} ns`;
  }

  // The tick of a power of ten: 1 ns, 10 ns, 1 us. Where there is no room for all, every third is named.
  function tick(ns, sparse) {
    const power = Math.round(Math.log10(ns));
    if (sparse && ((power % 3) + 3) % 3 !== 0) return '';
    if (power < 0) return `${10 ** power} ns`.replace('1e', '10^');
    const unit = ['ns', micro, 'ms', 's'][Math.min(Math.floor(power / 3), 3)];
    return `${(10 ** (power - 3 * Math.min(Math.floor(power / 3), 3))).toLocaleString('en-US')} ${unit}`;
  }

  function bytes(value) {
    for (const [unit, size] of [['GB', 1e9], ['MB', 1e6], ['kB', 1e3]]) {
      if (Math.abs(value) >= size) return `${digits(value / size)} ${unit}`;
    }
    return `${digits(value)} B`;
  }

  // A figure of one of the benches' metrics.
  function metric(value, name) {
    if (value === null || value === undefined) return '\u2013';
    if (name === 'ms') return time(value * 1e6);
    if (/(^|_)ns(_|$)/.test(name)) return time(value);
    if (/bytes/.test(name)) return bytes(value);
    return `${digits(value)} ${name.replace(/_/g, ' ')}`;
  }

  const titles = {
    'cpu.cycle': 'CPU cycle',
    'load.l1': 'load, L1',
    'load.l2': 'load, L2',
    'load.l3': 'load, L3',
    'load.dram': 'load, main memory',
    'mutex.uncontended': 'std::mutex, alone',
    'mutex.uncontended_weft': 'weft::mutex, alone',
    'counter.contended': 'counter, contended',
    'counter.batched': 'counter, batched',
    'syscall.empty': 'system call, empty',
    'file.read_4k': 'read 4 KiB, cached',
    'file.write_4k': 'write 4 KiB, cached',
    'file.write_4k_fsync': 'write 4 KiB, fsync',
    'file.write_64b': 'write 64 B',
    'file.write_64b_buffered': 'write 64 B, buffered',
    'switch.raw': 'weft: bare switch',
    'switch.raw_inlined': 'weft: bare switch, inlined',
    'vm.exit_entry': 'VM: exit and entry',
  };

  const groups = [
    ['weft', /^(goroutine\.|switch\.|mutex\.uncontended_weft)/],
    ['Go', /^go\./],
    ['other runtimes', /^(?!)/],
    ['OS thread', /^thread\./],
    ['process', /^process\./],
    ['container', /^container\./],
    ['virtual machine', /^vm\./],
    ['CPU and memory', /^(cpu|load|mutex|counter)\./],
    ['kernel', /./],
  ];

  function group_of(name) {
    return groups.find(([, pattern]) => pattern.test(name))[0];
  }

  // thread.futex.cross_core -> thread: futex, 2 cores; goroutine.channel.p1 -> weft: channel, p = 1
  function title_of(name) {
    if (titles[name]) return titles[name];
    const [kind, ...rest] = name.split('.');
    const words = { same_core: '1 core', cross_core: '2 cores', p1: 'p = 1', pn: 'p = N' };
    const who = { goroutine: 'weft', go: 'Go', vm: 'VM' }[kind] || kind;
    return `${who}: ${rest.map((word) => words[word] || word.replace(/_/g, ' ').replace('pingpong', 'ping-pong')).join(', ')}`;
  }

  // Chosen to be told apart by readers who do not see all colours (and never by colour alone: names stand beside).
  const palettes = {
    light: {
      text: '#1c2126', faint: '#59636e', line: '#d5dae0', ground: '#ffffff', card: '#ffffff',
      weft: '#00685f', Go: '#b34700', 'other runtimes': '#0a6f8c', 'OS thread': '#4059ad', process: '#7b3f98', container: '#a0215f',
      'virtual machine': '#6b4a2b', 'CPU and memory': '#5d6773', kernel: '#3a7d22',
      series: ['#b34700', '#4059ad', '#0b84a5', '#7b3f98', '#a0215f', '#c77700', '#3a7d22', '#5d6773'],
      parts: ['#00685f', '#4059ad', '#b34700', '#7b3f98', '#3a7d22', '#a0215f', '#0b84a5', '#c77700', '#6b4a2b', '#5d6773', '#2f855a'],
      rest: '#aeb6bf', on_part: '#ffffff',
    },
    dark: {
      text: '#e6e9ed', faint: '#a2acb8', line: '#353c45', ground: '#14181d', card: '#1b2026',
      weft: '#3fd0bd', Go: '#ff9d4d', 'other runtimes': '#56c8e8', 'OS thread': '#93a8ff', process: '#d59af0', container: '#ff86b8',
      'virtual machine': '#d3a97f', 'CPU and memory': '#a8b3bf', kernel: '#8fd16f',
      series: ['#ff9d4d', '#93a8ff', '#56c8e8', '#d59af0', '#ff86b8', '#f0c35a', '#8fd16f', '#a8b3bf'],
      parts: ['#3fd0bd', '#93a8ff', '#ff9d4d', '#d59af0', '#8fd16f', '#ff86b8', '#56c8e8', '#f0c35a', '#d3a97f', '#a8b3bf', '#7fd8a8'],
      rest: '#5b6570', on_part: '#10141a',
    },
  };

  function escaped(text) {
    return String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
  }

  globalThis.weft_figures = { digits, time, tick, bytes, metric, title_of, group_of, palettes, escaped, groups: groups.map(([g]) => g) };
})();
