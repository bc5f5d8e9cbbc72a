// Command everything uses all that is rewritten, in every form that the language allows.
// It prints what comes of it, with line numbers, which must be the same after rewriting.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	v2 "math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	clock "time"
)

type (
	ring  chan int
	named map[string]int
)

type pair struct{ a, b *int }

type counter struct {
	sync.Mutex
	n    int
	seen atomic.Int64
}

func (c *counter) add(n int) { c.Lock(); defer c.Unlock(); c.n += n; c.seen.Add(1) }

func line() int {
	_, _, n, _ := runtime.Caller(1)
	return n
}

func main() {
	for _, part := range []func() string{
		channels, directions, selects, labels, terminating, ranges, mapRanges, goStatements, times, random, generics, once, lines,
	} {
		fmt.Println(part())
	}
}

func channels() string {
	c := make(chan any, 4)
	c <- 1
	c <- "two"
	c <- error(nil)
	c <- func() int {
		return 3
	}()
	one := <-c
	two, ok := <-c
	var three, ok2 = <-c
	four := (<-c).(int) + len(fmt.Sprint(<-filled("x")))
	close(c)
	_, open := <-c
	defer close(make(chan int))
	return fmt.Sprint(one, two, ok, three, ok2, four, open, line())
}

func filled[T any](values ...T) chan T {
	c := make(chan T, len(values))
	for _, v := range values {
		c <- v
	}
	return c
}

func directions() string {
	r := make(ring, 2)
	send, receive := (chan<- int)(r), (<-chan int)(r)
	send <- 1
	r <- 2
	defer func() { close(send) }()
	return fmt.Sprint(<-receive, <-r, len(r))
}

func selects() string {
	var out []any
	a, b := filled(1, 2, 3), make(chan error, 1)
	m := map[string]int{}
	var x int
	var ok bool
	select {
	case x = <-a:
		out = append(out, x)
	}
	select {
	case m["k"], ok = <-a:
		out = append(out, m["k"], ok)
	case <-context.Background().Done():
	}
	select {
	case b <- errors.New(
		"over two lines",
	):
		out = append(out, "sent", line())
	}
	select {
	case err := <-func() chan error {
		out = append(out, "operand", line())
		return b
	}():
		out = append(out, err, line())
	}
	select {
	case b <- nil:
	default:
		out = append(out, "full")
	}
	select {
	case _, ok := <-(<-chan error)(b):
		out = append(out, ok)
	default:
	}
	select {
	default:
		out = append(out, "default", line())
	}
	for i := 0; ; i++ {
		select {
		case (<-a):
			continue
		default:
		}
		if i > 0 {
			break
		}
	}
	return fmt.Sprint(out...)
}

func labels() string {
	c := filled(1, 2, 3)
	sum := 0
outer:
	for {
	inner:
		select {
		case v := <-c:
			if v == 2 {
				break inner
			}
			sum += v
			continue outer
		default:
			break outer
		}
		sum += 100
	}
	return fmt.Sprint("labels ", sum)
}

func terminating() string {
	c := filled("terminating")
	select {
	case s := <-c:
		return s
	}
}

func ranges() string {
	c := filled(1, 2, 3, 4)
	close(c)
	sum := 0
	for v := range c {
		if v == 2 {
			continue
		}
		if v == 4 {
			break
		}
		sum += v
	}
	var last int
	d := filled(5, 6)
	close(d)
	for last = range d {
	}
	e := filled(1, 1)
	close(e)
	n := 0
	for range e {
		n++
	}
	return fmt.Sprint("ranges ", sum, last, n, line())
}

func mapRanges() string {
	m := named{"a": 1, "b": 2, "c": 3}
	sum := 0
	for k, v := range m {
		sum += v * len(k)
		delete(m, k)
	}
	x, y := new(int), new(int)
	p := map[pair]int{}
	p[pair{x, y}]++
	p[pair{x, y}] += 2
	p[pair{y, x}] = 1
	byInterface := map[any]bool{}
	byInterface[x], byInterface["s"], byInterface[nil] = true, true, true
	n := 0
	for range byInterface {
		n++
	}
	for k := range p {
		n += p[k]
	}
	var keys []string
	for k := range map[string]bool{"x": true, "y": true} {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return fmt.Sprint("maps ", sum, len(m), n, keys)
}

func two() (int, string) { return 2, "two" }

func goStatements() string {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var got []string
	note := func(parts ...any) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprint(parts...))
		wg.Done()
	}
	wg.Add(8)
	go note("values", 1, nil)
	go note([]any{"dots", 2}...)
	go func(a int, b string) { note("tuple", a, b) }(two())
	n := 1
	go func(n int64) { note("argument", n) }(int64(n))
	go func(f float32) {
		note("constant", f)
	}(7)
	n = 2
	go func() {
		note("literal", line())
	}()
	c := &counter{}
	add := c.add
	go func() int { add(n); note("result"); return n }()
	done := make(chan bool)
	go close(done)
	<-done
	go filled[int](1)
	wg.Go(func() { c.add(1) })
	wg.Done()
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(got)
	return fmt.Sprint("go ", got, c.n, c.seen.Load())
}

func times() string {
	done := make(chan string, 2)
	clock.AfterFunc(clock.Microsecond, func() { done <- "timer" })
	first := <-done
	after := clock.AfterFunc
	timer := after(clock.Hour, func() {})
	ctx, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, func() { done <- "context" })
	cancel()
	second := <-done
	clock.Sleep(clock.Microsecond)
	runtime.Gosched()
	return fmt.Sprint(first, timer.Stop(), second, stop())
}

func random() string {
	seeded := rand.New(rand.NewSource(1))
	pcg := v2.New(v2.NewPCG(1, 2))
	n := rand.Intn(1) + v2.IntN(1) + v2.N(1)
	return fmt.Sprint("random ", seeded.Intn(1000), pcg.IntN(1000), n)
}

func drain[C ~chan T, T any](c C) (all []T) {
	close(c)
	for v := range c {
		all = append(all, v)
	}
	return all
}

func generics() string {
	var p atomic.Pointer[int]
	p.Store(new(int))
	return fmt.Sprint("generics ", drain(filled("a", "b")), *p.Load(), line())
}

func once() string {
	var once sync.Once
	n := 0
	for range 3 {
		once.Do(func() { n++ })
	}
	value := sync.OnceValue(func() int { n++; return n })
	fail := sync.OnceFunc(func() { panic("once") })
	for range 2 {
		func() {
			defer func() { n += len(recover().(string)) }()
			fail()
		}()
	}
	return fmt.Sprint("once ", value(), value(), n)
}

func lines() string {
	c := make(chan int, 1)
	select {
	case c <- line(): /* comment */
	}
	a := <-c
	go func(
		n int,
	) {
		c <- n + line()
	}(
		line(),
	)
	return fmt.Sprint("lines ", a, <-c,
		line())
}
