// SPDX-License-Identifier: MIT
//
//   tokio NAME P N        the workloads on tokio's multi-threaded runtime with P workers
//   tokio NAME:ct 1 N     on its current-thread runtime
//
// A task has no stack here, so there is nothing four frames deep. tokio has no unbuffered channel: mpsc of capacity 1,
// whose sender does not wait for the receiver, is its nearest. mpsc has one receiver; several consumers share it under
// tokio's mutex, as its documentation says.

use peers::{check, fail, per_op, processor_ns, resident_bytes, serial_fib, sum_below};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, Mutex};
use tokio::task::yield_now;

type Node = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn pingpong(n: u64, pairs: u64) {
    let rounds = (n / pairs).max(1);
    let start = Instant::now();
    let mut players = Vec::new();
    for _ in 0..pairs {
        let (ping_in, mut ping) = mpsc::channel::<u64>(1);
        let (pong_in, mut pong) = mpsc::channel::<u64>(1);
        players.push(tokio::spawn(async move {
            let mut sum = 0;
            for i in 0..rounds {
                sum += ping.recv().await.unwrap();
                pong_in.send(i).await.unwrap();
            }
            sum
        }));
        players.push(tokio::spawn(async move {
            let mut sum = 0;
            for i in 0..rounds {
                ping_in.send(i).await.unwrap();
                sum += pong.recv().await.unwrap();
            }
            sum
        }));
    }
    let mut right = true;
    for p in players {
        right &= p.await.unwrap() == sum_below(rounds);
    }
    let time = start.elapsed();
    check(right);
    per_op(time, 2 * rounds * pairs);
}

async fn yield_between_two(n: u64) {
    let start = Instant::now();
    let tasks = [(); 2].map(|()| {
        tokio::spawn(async move {
            let mut yielded = 0;
            while yielded < n {
                yield_now().await;
                yielded += 1;
            }
            yielded
        })
    });
    let mut sum = 0;
    for t in tasks {
        sum += t.await.unwrap();
    }
    let time = start.elapsed();
    check(sum == 2 * n);
    per_op(time, 2 * n);
}

async fn spawn(n: u64) {
    let batch = n.min(1000);
    let ran = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    let start = Instant::now();
    for _ in 0..n / batch {
        for _ in 0..batch {
            let ran = ran.clone();
            tasks.push(tokio::spawn(async move {
                ran.fetch_add(1, Relaxed);
            }));
        }
        for t in tasks.drain(..) {
            t.await.unwrap();
        }
    }
    let time = start.elapsed();
    check(ran.load(Relaxed) == n / batch * batch);
    per_op(time, n / batch * batch);
}

async fn parked(n: u64) {
    let each = |total: f64| total / n as f64;
    let started = Arc::new(AtomicU64::new(0));
    let (to, from) = mpsc::channel::<u64>(1);
    let from = Arc::new(Mutex::new(from));
    let mut tasks = Vec::with_capacity(n as usize);
    let before = resident_bytes();
    let start = Instant::now();
    for _ in 0..n {
        let (started, from) = (started.clone(), from.clone());
        tasks.push(tokio::spawn(async move {
            started.fetch_add(1, Relaxed);
            from.lock().await.recv().await.unwrap()
        }));
    }
    while started.load(Relaxed) < n {
        yield_now().await;
    }
    let created = start.elapsed().as_nanos() as f64;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let full = resident_bytes();
    for _ in 0..n {
        to.send(1).await.unwrap();
    }
    let mut sum = 0;
    for t in tasks.drain(..) {
        sum += t.await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = resident_bytes();
    check(sum == n);
    println!(
        "bytes_per_task={:.1} create_ns={:.1} after_bytes={:.1}",
        each(full - before),
        each(created),
        each(after - before)
    );
}

async fn channel(n: u64, capacity: usize, sides: u64) {
    let per = (n / sides).max(1);
    let (to, mut from) = mpsc::channel::<u64>(capacity);
    let start = Instant::now();
    for _ in 0..sides {
        let to = to.clone();
        tokio::spawn(async move {
            for i in 0..per {
                to.send(i).await.unwrap();
            }
        });
    }
    drop(to);
    let mut consumers = Vec::new();
    if sides == 1 {
        consumers.push(tokio::spawn(async move {
            let mut sum = 0;
            while let Some(v) = from.recv().await {
                sum += v;
            }
            sum
        }));
    } else {
        let shared = Arc::new(Mutex::new(from));
        for _ in 0..sides {
            let shared = shared.clone();
            consumers.push(tokio::spawn(async move {
                let mut sum = 0;
                loop {
                    let v = shared.lock().await.recv().await;
                    match v {
                        Some(v) => sum += v,
                        None => return sum,
                    }
                }
            }));
        }
    }
    let mut sum = 0;
    for c in consumers {
        sum += c.await.unwrap();
    }
    let time = start.elapsed();
    check(sum == sides * sum_below(per));
    per_op(time, per * sides);
}

async fn selecting(n: u64, capacity: usize) {
    let per = (n / 2).max(1);
    let (to_a, mut a) = mpsc::channel::<u64>(capacity);
    let (to_b, mut b) = mpsc::channel::<u64>(capacity);
    let start = Instant::now();
    for c in [&to_a, &to_b] {
        let c = c.clone(); // the other end stays open: a closed channel would always be ready
        tokio::spawn(async move {
            for i in 0..per {
                c.send(i).await.unwrap();
            }
        });
    }
    let consumer = tokio::spawn(async move {
        let mut sum = 0;
        for _ in 0..2 * per {
            tokio::select! {
                v = a.recv() => sum += v.unwrap(),
                v = b.recv() => sum += v.unwrap(),
            }
        }
        sum
    });
    let sum = consumer.await.unwrap();
    let time = start.elapsed();
    drop((to_a, to_b));
    check(sum == 2 * sum_below(per));
    per_op(time, 2 * per);
}

async fn mutex(n: u64) {
    let sides = 8;
    let per = (n / sides).max(1);
    let count = Arc::new(Mutex::new(0u64));
    let start = Instant::now();
    let tasks: Vec<_> = (0..sides)
        .map(|_| {
            let count = count.clone();
            tokio::spawn(async move {
                for _ in 0..per {
                    *count.lock().await += 1;
                }
            })
        })
        .collect();
    for t in tasks {
        t.await.unwrap();
    }
    let time = start.elapsed();
    check(*count.lock().await == sides * per);
    per_op(time, sides * per);
}

async fn timer(n: u64) {
    let wakeups = Arc::new(AtomicU64::new(0));
    let before = processor_ns();
    let end = Instant::now() + Duration::from_secs(2);
    let tasks: Vec<_> = (0..n)
        .map(|i| {
            let wakeups = wakeups.clone();
            tokio::spawn(async move {
                let mut x = i * 2654435769 + 1;
                let mut woken = 0;
                while Instant::now() < end {
                    x ^= x << 13;
                    x ^= x >> 7;
                    x ^= x << 17;
                    tokio::time::sleep(Duration::from_nanos(1_000_000 + x % 49_000_000)).await;
                    woken += 1;
                }
                wakeups.fetch_add(woken, Relaxed);
            })
        })
        .collect();
    for t in tasks {
        t.await.unwrap();
    }
    let spent = processor_ns() - before;
    let wakeups = wakeups.load(Relaxed);
    check(wakeups > 0);
    println!("ns_per_op={:.3} wakeups={}", spent / wakeups as f64, wakeups);
}

fn forked_fib(n: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if n < 2 {
            return n;
        }
        let (to, from) = oneshot::channel();
        tokio::spawn(async move {
            let _ = to.send(forked_fib(n - 1).await);
        });
        let b = forked_fib(n - 2).await;
        from.await.unwrap() + b
    })
}

async fn steal(n: u64) {
    let start = Instant::now();
    let r = tokio::spawn(forked_fib(n)).await.unwrap();
    let time = start.elapsed();
    check(r == serial_fib(n));
    per_op(time, serial_fib(n + 1) - 1);
}

fn skynet_node(up: mpsc::Sender<u64>, number: u64, size: u64) -> Node {
    Box::pin(async move {
        if size == 1 {
            return up.send(number).await.unwrap();
        }
        let (to, mut down) = mpsc::channel(1);
        for i in 0..10 {
            tokio::spawn(skynet_node(to.clone(), number + i * (size / 10), size / 10));
        }
        let mut sum = 0;
        for _ in 0..10 {
            sum += down.recv().await.unwrap();
        }
        up.send(sum).await.unwrap();
    })
}

async fn skynet(n: u64) {
    let (to, mut from) = mpsc::channel(1);
    let start = Instant::now();
    tokio::spawn(skynet_node(to, 0, n));
    let r = from.recv().await.unwrap();
    let time = start.elapsed().as_nanos() as f64;
    check(r == sum_below(n));
    println!("ns_per_op={:.3} ms={:.2}", time / n as f64, time / 1e6);
}

async fn run(name: &str, n: u64) {
    match name {
        "pingpong" => pingpong(n, 1).await,
        "pingpong_1000" => pingpong(n, 1000).await,
        "switch" => yield_between_two(n).await,
        "spawn" => spawn(n).await,
        "parked" => parked(n).await,
        "skynet" => skynet(n).await,
        "chan128_1x1" => channel(n, 128, 1).await,
        "chan128_4x4" => channel(n, 128, 4).await,
        "chan1_1x1" => channel(n, 1, 1).await,
        "chan1_4x4" => channel(n, 1, 4).await,
        "select128" => selecting(n, 128).await,
        "mutex" => mutex(n).await,
        "timer" => timer(n).await,
        "steal" => steal(n).await,
        _ => fail(2, "this peer has no such workload"),
    }
}

fn main() {
    let a = peers::arguments();
    let (name, runtime) = match a.name.strip_suffix(":ct") {
        Some(name) if a.procs == 1 => (name, tokio::runtime::Builder::new_current_thread().enable_time().build()),
        Some(_) => fail(2, "the current-thread runtime has one thread: P is 1"),
        None => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            (a.name.as_str(), builder.worker_threads(a.procs).enable_time().build())
        }
    };
    match runtime {
        // A task of its own, so that on the multi-threaded runtime the worker threads run all of it.
        Ok(runtime) => {
            let name = name.to_string();
            runtime.block_on(async move { tokio::spawn(async move { run(&name, a.n).await }).await.unwrap() })
        }
        Err(e) => fail(1, &format!("no runtime: {e}")),
    }
}
