// SPDX-License-Identifier: MIT
//
// What the Rust peers share: the command line PROGRAM NAME P N, and what a run says of itself. A wrong sum is exit
// status 1 and a line on stderr; a workload that a peer does not have, or a bad number, is 2.

use std::time::Duration;

pub struct Arguments {
    pub name: String,
    pub procs: usize,
    pub n: u64,
}

pub fn fail(status: i32, what: &str) -> ! {
    eprintln!("{what}");
    std::process::exit(status)
}

pub fn check(right: bool) {
    if !right {
        fail(1, "a sum is wrong");
    }
}

pub fn arguments() -> Arguments {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, procs, n] = words.as_slice() else {
        fail(2, "usage: PEER NAME P N")
    };
    match (procs.parse(), n.parse()) {
        (Ok(procs), Ok(n)) if procs > 0 && n > 0 => Arguments { name: name.clone(), procs, n },
        _ => fail(2, "P and N are whole numbers above zero"),
    }
}

pub fn sum_below(n: u64) -> u64 {
    n * (n - 1) / 2
}

pub fn per_op(time: Duration, ops: u64) {
    println!("ns_per_op={:.3}", time.as_nanos() as f64 / ops as f64);
}

pub fn serial_fib(n: u64) -> u64 {
    if n < 2 {
        n
    } else {
        serial_fib(n - 1) + serial_fib(n - 2)
    }
}

pub fn resident_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    match text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()) {
        Some(pages) => pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as f64,
        None => fail(1, "/proc/self/statm cannot be read"),
    }
}

/// Of all threads.
pub fn processor_ns() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) } != 0 {
        fail(1, "no clock of processor time");
    }
    t.tv_sec as f64 * 1e9 + t.tv_nsec as f64
}
