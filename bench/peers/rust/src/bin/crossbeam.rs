// SPDX-License-Identifier: MIT
//
//   crossbeam NAME P N        the workloads that are about channels, on crossbeam-channel between OS threads
//
// P is not asked for here: who runs it allows this process that many CPUs.

use crossbeam_channel::{bounded, select, Receiver, Sender};
use peers::{check, fail, per_op, sum_below};
use std::hint::black_box;
use std::thread;
use std::time::Instant;

#[inline(never)]
fn send_through(more: u64, c: &Sender<u64>, v: u64) {
    if more == 0 {
        c.send(v).unwrap();
    } else {
        send_through(more - 1, c, v);
    }
    black_box(()); // work left to do: no tail call
}

#[inline(never)]
fn recv_through(more: u64, c: &Receiver<u64>) -> u64 {
    let v = if more == 0 { c.recv().unwrap() } else { recv_through(more - 1, c) };
    black_box(v)
}

fn pingpong(n: u64, pairs: u64, depth: u64) {
    let rounds = (n / pairs).max(1);
    let start = Instant::now();
    let mut players = Vec::new();
    for _ in 0..pairs {
        let (ping_in, ping) = bounded::<u64>(0);
        let (pong_in, pong) = bounded::<u64>(0);
        players.push(thread::spawn(move || {
            let mut sum = 0;
            for i in 0..rounds {
                sum += if depth == 0 { ping.recv().unwrap() } else { recv_through(depth - 1, &ping) };
                if depth == 0 {
                    pong_in.send(i).unwrap()
                } else {
                    send_through(depth - 1, &pong_in, i)
                }
            }
            sum
        }));
        players.push(thread::spawn(move || {
            let mut sum = 0;
            for i in 0..rounds {
                if depth == 0 {
                    ping_in.send(i).unwrap()
                } else {
                    send_through(depth - 1, &ping_in, i)
                }
                sum += if depth == 0 { pong.recv().unwrap() } else { recv_through(depth - 1, &pong) };
            }
            sum
        }));
    }
    let sums: Vec<u64> = players.into_iter().map(|p| p.join().unwrap()).collect();
    let time = start.elapsed();
    check(sums.iter().all(|&s| s == sum_below(rounds)));
    per_op(time, 2 * rounds * pairs);
}

fn channel(n: u64, capacity: usize, sides: u64) {
    let per = (n / sides).max(1);
    let (to, from) = bounded::<u64>(capacity);
    let start = Instant::now();
    let mut consumers = Vec::new();
    for _ in 0..sides {
        let (to, from) = (to.clone(), from.clone());
        thread::spawn(move || (0..per).for_each(|i| to.send(i).unwrap()));
        consumers.push(thread::spawn(move || from.iter().sum::<u64>()));
    }
    drop(to);
    let sum: u64 = consumers.into_iter().map(|c| c.join().unwrap()).sum();
    let time = start.elapsed();
    check(sum == sides * sum_below(per));
    per_op(time, per * sides);
}

// Two producers, and this thread selects.
fn selecting(n: u64, capacity: usize) {
    let per = (n / 2).max(1);
    let (to_a, a) = bounded::<u64>(capacity);
    let (to_b, b) = bounded::<u64>(capacity);
    let start = Instant::now();
    let producers = [to_a, to_b].map(|c| {
        thread::spawn(move || {
            (0..per).for_each(|i| c.send(i).unwrap());
            c // open until both have ended: a closed channel would always be ready
        })
    });
    let mut sum = 0;
    for _ in 0..2 * per {
        select! {
            recv(a) -> v => sum += v.unwrap(),
            recv(b) -> v => sum += v.unwrap(),
        }
    }
    let time = start.elapsed();
    for p in producers {
        p.join().unwrap();
    }
    check(sum == 2 * sum_below(per));
    per_op(time, 2 * per);
}

fn main() {
    let a = peers::arguments();
    match a.name.as_str() {
        "pingpong" => pingpong(a.n, 1, 0),
        "pingpong_deep4" => pingpong(a.n, 1, 4),
        "pingpong_1000" => pingpong(a.n, 1000, 0),
        "chan128_1x1" => channel(a.n, 128, 1),
        "chan128_4x4" => channel(a.n, 128, 4),
        "chan1_1x1" => channel(a.n, 1, 1),
        "chan1_4x4" => channel(a.n, 1, 4),
        "select0" => selecting(a.n, 0),
        "select128" => selecting(a.n, 128),
        _ => fail(2, "this peer has no such workload"),
    }
}
