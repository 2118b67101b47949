// SPDX-License-Identifier: MIT
//
//	gobench NAME P N
//
// The workloads of bench/workload.cc, program by program, in Go: the same goroutines, channels, sums and order, the same columns printed.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "gobench: "+format+"\n", args...)
	os.Exit(1)
}

func check(right bool) {
	if !right {
		fail("a sum is wrong")
	}
}

func sumBelow(n int) int { return n * (n - 1) / 2 }

func most(a, b int) int {
	if a > b {
		return a
	}
	return b
}

func perOp(d time.Duration, ops int) {
	fmt.Printf("ns_per_op=%.3f\n", float64(d.Nanoseconds())/float64(ops))
}

// ---- ping-pong, directly and through four frames that the compiler must keep

//go:noinline
func sendThrough(more int, c chan int, v int) {
	if more == 0 {
		c <- v
	} else {
		sendThrough(more-1, c, v)
	}
}

//go:noinline
func recvThrough(more int, c chan int) int {
	if more == 0 {
		return <-c
	}
	return recvThrough(more-1, c)
}

func answer(ping, pong chan int, rounds, depth int) (sum int) {
	if depth == 0 {
		for i := 0; i < rounds; i++ {
			sum += <-ping
			pong <- i
		}
		return
	}
	for i := 0; i < rounds; i++ {
		sum += recvThrough(depth-1, ping)
		sendThrough(depth-1, pong, i)
	}
	return
}

func ask(ping, pong chan int, rounds, depth int) (sum int) {
	if depth == 0 {
		for i := 0; i < rounds; i++ {
			ping <- i
			sum += <-pong
		}
		return
	}
	for i := 0; i < rounds; i++ {
		sendThrough(depth-1, ping, i)
		sum += recvThrough(depth-1, pong)
	}
	return
}

func pingpong(n, pairs, depth int) {
	rounds := most(n/pairs, 1)
	sums := make([]int, 2*pairs)
	var done sync.WaitGroup
	done.Add(2 * pairs)
	start := time.Now()
	for k := 0; k < pairs; k++ {
		ping, pong, at := make(chan int), make(chan int), sums[2*k:]
		go func() {
			at[0] = answer(ping, pong, rounds, depth)
			done.Done()
		}()
		go func() {
			at[1] = ask(ping, pong, rounds, depth)
			done.Done()
		}()
	}
	done.Wait()
	d := time.Since(start)
	for _, s := range sums {
		check(s == sumBelow(rounds))
	}
	perOp(d, 2*rounds*pairs)
}

// ---- goroutines

func yieldBetweenTwo(n int) {
	var done sync.WaitGroup
	done.Add(2)
	start := time.Now()
	for k := 0; k < 2; k++ {
		go func() {
			for i := 0; i < n; i++ {
				runtime.Gosched()
			}
			done.Done()
		}()
	}
	done.Wait()
	perOp(time.Since(start), 2*n)
}

func spawn(n int) {
	batch := 1000
	if n < batch {
		batch = n
	}
	var done sync.WaitGroup
	start := time.Now()
	for i := 0; i < n/batch; i++ {
		done.Add(batch)
		for j := 0; j < batch; j++ {
			go done.Done()
		}
		done.Wait()
	}
	perOp(time.Since(start), n/batch*batch)
}

func resident() int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		fail("%v", err)
	}
	pages, _ := strconv.Atoi(strings.Fields(string(text))[1])
	return pages * os.Getpagesize()
}

// Memory "after" is what the operating system has back once Go has been asked for it, a second later.
func parked(n int) {
	debug.FreeOSMemory()
	before := resident()
	c := make(chan int)
	var sum int64
	var started, ended sync.WaitGroup
	started.Add(n)
	ended.Add(n)
	start := time.Now()
	for i := 0; i < n; i++ {
		go func() {
			started.Done()
			atomic.AddInt64(&sum, int64(<-c))
			ended.Done()
		}()
	}
	started.Wait()
	created := time.Since(start)
	time.Sleep(50 * time.Millisecond)
	full := resident()
	for i := 0; i < n; i++ {
		c <- 1
	}
	ended.Wait()
	time.Sleep(time.Second)
	debug.FreeOSMemory()
	after := resident()
	check(sum == int64(n))
	each := func(x int) float64 { return float64(x) / float64(n) }
	fmt.Printf("bytes_per_task=%.1f create_ns=%.1f after_bytes=%.1f\n", each(full-before), each(int(created.Nanoseconds())), each(after-before))
}

// ---- channels

func channel(n, capacity, each int) {
	per := most(n/each, 1)
	c := make(chan int, capacity)
	var sum int64
	var producers, consumers sync.WaitGroup
	producers.Add(each)
	consumers.Add(each)
	start := time.Now()
	for k := 0; k < each; k++ {
		go func() {
			for i := 0; i < per; i++ {
				c <- i
			}
			producers.Done()
		}()
		go func() {
			s := 0
			for v := range c {
				s += v
			}
			atomic.AddInt64(&sum, int64(s))
			consumers.Done()
		}()
	}
	producers.Wait()
	close(c)
	consumers.Wait()
	d := time.Since(start)
	check(sum == int64(each*sumBelow(per)))
	perOp(d, per*each)
}

// Two producers, one consumer that selects.
func selecting(n, capacity int) {
	per := most(n/2, 1)
	a, b := make(chan int, capacity), make(chan int, capacity)
	sum := make(chan int)
	start := time.Now()
	for _, c := range []chan int{a, b} {
		go func(c chan int) {
			for i := 0; i < per; i++ {
				c <- i
			}
		}(c)
	}
	go func() {
		s := 0
		for i := 0; i < 2*per; i++ {
			select {
			case v := <-a:
				s += v
			case v := <-b:
				s += v
			}
		}
		sum <- s
	}()
	s := <-sum
	d := time.Since(start)
	check(s == 2*sumBelow(per))
	perOp(d, 2*per)
}

// Nobody on the other side: one receive, or one send, or both, with a default.
func trySelect(n int, recv, send bool) {
	a, b := make(chan int), make(chan int)
	missed := 0
	start := time.Now()
	switch {
	case recv && send:
		for i := 0; i < n; i++ {
			select {
			case <-a:
			case b <- i:
			default:
				missed++
			}
		}
	case recv:
		for i := 0; i < n; i++ {
			select {
			case <-a:
			default:
				missed++
			}
		}
	case send:
		for i := 0; i < n; i++ {
			select {
			case b <- i:
			default:
				missed++
			}
		}
	}
	d := time.Since(start)
	check(missed == n)
	perOp(d, n)
}

// A buffered channel of its own: a send and a receive, each by a select with a default that is not taken.
func trySelectReady(n int) {
	c := make(chan int, 1)
	s := 0
	start := time.Now()
	for i := 0; i < n; i++ {
		select {
		case c <- i:
		default:
		}
		select {
		case v := <-c:
			s += v
		default:
		}
	}
	d := time.Since(start)
	check(s == sumBelow(n))
	perOp(d, 2*n)
}

// ---- mutex

func mutex(n, each int) {
	per := most(n/each, 1)
	var mu sync.Mutex
	var done sync.WaitGroup
	count := 0
	start := time.Now()
	for k := 0; k < each; k++ {
		done.Add(1)
		go func() {
			for i := 0; i < per; i++ {
				mu.Lock()
				count++
				mu.Unlock()
			}
			done.Done()
		}()
	}
	done.Wait()
	d := time.Since(start)
	check(count == each*per)
	perOp(d, each*per)
}

// ---- timers

func processCPU() int64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		fail("%v", err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}

// n goroutines sleep 1 to 50 ms in a loop, for two seconds. One op is one wakeup, and its cost is processor time.
func timers(n int) {
	var done sync.WaitGroup
	var wakeups int64
	end := time.Now().Add(2 * time.Second)
	before := processCPU()
	done.Add(n)
	for i := 0; i < n; i++ {
		go func(x uint64) {
			woken := int64(0)
			for time.Now().Before(end) {
				x ^= x << 13
				x ^= x >> 7
				x ^= x << 17
				time.Sleep(time.Duration(1_000_000 + x%49_000_000))
				woken++
			}
			atomic.AddInt64(&wakeups, woken)
			done.Done()
		}(uint64(i)*2654435769 + 1)
	}
	done.Wait()
	cpu := processCPU() - before
	fmt.Printf("ns_per_op=%.3f wakeups=%d\n", float64(cpu)/float64(wakeups), wakeups)
}

// How late one sleeper of 1 ms rises; n sleeps.
func late(n int) {
	lates := make([]int, n)
	for i := range lates {
		start := time.Now()
		time.Sleep(time.Millisecond)
		lates[i] = int(time.Since(start)) - 1_000_000
	}
	sort.Ints(lates)
	fmt.Printf("median_ns=%d p99_ns=%d max_ns=%d\n", lates[n/2], lates[n*99/100], lates[n-1])
}

// ---- fork and join

func serialFib(n int) int {
	if n < 2 {
		return n
	}
	return serialFib(n-1) + serialFib(n-2)
}

func forkedFib(n int) int {
	if n < 2 {
		return n
	}
	c := make(chan int, 1)
	go func() { c <- forkedFib(n - 1) }()
	b := forkedFib(n - 2)
	return <-c + b
}

func steal(n int) {
	c := make(chan int)
	start := time.Now()
	go func() { c <- forkedFib(n) }()
	r := <-c
	d := time.Since(start)
	check(r == serialFib(n))
	perOp(d, serialFib(n+1)-1)
}

func skynetNode(up chan int, number, size int) {
	if size == 1 {
		up <- number
		return
	}
	down := make(chan int)
	for i := 0; i < 10; i++ {
		go skynetNode(down, number+i*(size/10), size/10)
	}
	sum := 0
	for i := 0; i < 10; i++ {
		sum += <-down
	}
	up <- sum
}

func skynet(n int) {
	c := make(chan int)
	start := time.Now()
	go skynetNode(c, 0, n)
	r := <-c
	d := time.Since(start)
	check(r == sumBelow(n))
	fmt.Printf("ns_per_op=%.3f ms=%.2f\n", float64(d.Nanoseconds())/float64(n), float64(d.Nanoseconds())/1e6)
}

var workloads = map[string]func(n int){
	"pingpong":        func(n int) { pingpong(n, 1, 0) },
	"pingpong_deep4":  func(n int) { pingpong(n, 1, 4) },
	"pingpong_1000":   func(n int) { pingpong(n, 1000, 0) },
	"switch":          yieldBetweenTwo,
	"spawn":           spawn,
	"parked":          parked,
	"skynet":          skynet,
	"chan128_1x1":     func(n int) { channel(n, 128, 1) },
	"chan128_4x4":     func(n int) { channel(n, 128, 4) },
	"chan1_1x1":       func(n int) { channel(n, 1, 1) },
	"chan1_4x4":       func(n int) { channel(n, 1, 4) },
	"contended":       func(n int) { channel(n, 0, 8) },
	"select0":         func(n int) { selecting(n, 0) },
	"select128":       func(n int) { selecting(n, 128) },
	"tryselect_recv":  func(n int) { trySelect(n, true, false) },
	"tryselect_send":  func(n int) { trySelect(n, false, true) },
	"tryselect_both":  func(n int) { trySelect(n, true, true) },
	"tryselect_ready": trySelectReady,
	"mutex":           func(n int) { mutex(n, 8) },
	"mutex_alone":     func(n int) { mutex(n, 1) },
	"timer":           timers,
	"late":            late,
	"steal":           steal,
}

func main() {
	names := make([]string, 0, len(workloads))
	for name := range workloads {
		names = append(names, name)
	}
	sort.Strings(names)
	if len(os.Args) != 4 {
		fail("usage: gobench NAME P N, where NAME is one of: %s", strings.Join(names, " "))
	}
	run, known := workloads[os.Args[1]]
	p, badP := strconv.Atoi(os.Args[2])
	n, badN := strconv.Atoi(os.Args[3])
	if !known || badP != nil || badN != nil || p < 1 || n < 1 {
		fail("NAME must be one of: %s; P and N numbers above zero", strings.Join(names, " "))
	}
	runtime.GOMAXPROCS(p)
	run(n)
}
