package pooltest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// Barrier lets n goroutines go on together.
type Barrier struct {
	n int

	mu      sync.Mutex
	arrived int
	open    chan struct{}
}

// NewBarrier returns a barrier for n goroutines.
func NewBarrier(n int) *Barrier { return &Barrier{n: n, open: make(chan struct{})} }

// Wait blocks until n goroutines have called it, this one included; then all go on, and
// the barrier may be used again. If ctx ends first it returns the context's cause, and
// the caller does not count.
func (b *Barrier) Wait(ctx context.Context) error {
	b.mu.Lock()
	open := b.open
	b.arrived++
	if b.arrived == b.n {
		b.arrived, b.open = 0, make(chan struct{})
		close(open)
	}
	b.mu.Unlock()
	select {
	case <-open:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if open != b.open {
		return nil // it opened at the same moment
	}
	b.arrived--
	return context.Cause(ctx)
}

// Gauge counts who is inside a section at once. The zero Gauge is ready for use.
type Gauge struct{ now, peak atomic.Int64 }

// Enter counts the caller in; the function that it returns counts it out.
func (g *Gauge) Enter() (leave func()) {
	now := g.now.Add(1)
	for {
		peak := g.peak.Load()
		if now <= peak || g.peak.CompareAndSwap(peak, now) {
			break
		}
	}
	return sync.OnceFunc(func() { g.now.Add(-1) })
}

// Peak returns the most callers that were inside at once.
func (g *Gauge) Peak() int { return int(g.peak.Load()) }

// Outcome is the kind of an operation's result.
type Outcome string

// The outcomes. Every error is of exactly one kind.
const (
	Succeeded      Outcome = "succeeded"
	Closed         Outcome = "closed"
	Saturated      Outcome = "saturated"
	NotAvailable   Outcome = "not available"
	SessionLost    Outcome = "session lost"
	SessionLimit   Outcome = "session limit"
	AcquireTimeout Outcome = "acquire timeout"
	StartFailed    Outcome = "start failed"
	WorkerFailed   Outcome = "worker failed"
	Cancelled      Outcome = "cancelled" // a context ended, for whatever cause
	Panicked       Outcome = "panicked"
	Exited         Outcome = "exited" // the goroutine, by runtime.Goexit
	Failed         Outcome = "failed" // any other error
)

// OutcomeOf returns the kind of an error.
func OutcomeOf(err error) Outcome {
	var start *pool.StartError
	var worker *pool.WorkerError
	var panicked *pool.PanicError
	switch {
	case err == nil:
		return Succeeded
	case errors.Is(err, pool.ErrClosed):
		return Closed
	case errors.Is(err, pool.ErrSaturated):
		return Saturated
	case errors.Is(err, pool.ErrNotAvailable):
		return NotAvailable
	case errors.Is(err, pool.ErrSessionLost):
		return SessionLost
	case errors.Is(err, pool.ErrSessionLimit):
		return SessionLimit
	case errors.Is(err, pool.ErrAcquireTimeout):
		return AcquireTimeout
	case errors.As(err, &start):
		return StartFailed
	case errors.As(err, &worker):
		return WorkerFailed
	case errors.As(err, &panicked):
		return Panicked
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Cancelled
	}
	return Failed
}

// Op is one operation of Concurrently.
type Op struct {
	Client, Number int
	ctx            context.Context
	held           *Gauge
}

// Context ends at the deadline of Concurrently.
func (op *Op) Context() context.Context { return op.ctx }

// Hold runs f and counts it in Result.Held: call it while the operation holds a worker.
func (op *Op) Hold(f func()) {
	defer op.held.Enter()()
	f()
}

// Result says what came of Concurrently.
type Result struct {
	Outcomes map[Outcome]int
	First    map[Outcome]error // the first error of each kind
	Inside   int               // the most operations under way at once
	Held     int               // the most inside Op.Hold at once: the concurrency achieved
	Took     time.Duration
}

// Total returns the number of operations that ended.
func (r Result) Total() (n int) {
	for _, count := range r.Outcomes {
		n += count
	}
	return n
}

// String lists the outcomes with their counts.
func (r Result) String() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(r.Outcomes)) {
		part := fmt.Sprintf("%d %s", r.Outcomes[kind], kind)
		if err := r.First[kind]; err != nil {
			part += fmt.Sprintf(" (first: %v)", err)
		}
		parts = append(parts, part)
	}
	return fmt.Sprintf("%s; at most %d under way, %d holding, at once", strings.Join(parts, ", "), r.Inside, r.Held)
}

// Concurrently has clients goroutines do ops operations each, one after the other. The
// first operations of all clients start together. It returns when all have ended, with
// their outcomes counted. At the deadline the operations' context ends; operations that
// have still not ended soon after fail the test.
//
// A panic in an operation is its outcome; so is Goexit, which ends its client.
func Concurrently(t testing.TB, clients, ops int, do func(op *Op) error, opts ...Option) Result {
	t.Helper()
	deadline := newSettings(opts).deadline
	ctx, cancel := context.WithTimeoutCause(context.Background(), deadline, fmt.Errorf("Concurrently: %v have passed: %w", deadline, context.DeadlineExceeded))
	defer cancel()
	run := &together{
		do: do, start: NewBarrier(clients), left: map[[2]int]bool{},
		result: Result{Outcomes: map[Outcome]int{}, First: map[Outcome]error{}},
	}
	begun := time.Now()
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() { run.client(ctx, client, ops) })
	}
	ended := make(chan struct{})
	go func() {
		group.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		grace := time.NewTimer(deadline/10 + time.Second)
		defer grace.Stop()
		select {
		case <-ended:
		case <-grace.C:
			t.Fatalf("Concurrently: operations %v have not ended soon after %v: %v", run.underWay(), deadline, run.judge())
		}
	}
	result := run.judge()
	result.Took = time.Since(begun)
	return result
}

// together is a run of Concurrently.
type together struct {
	do           func(op *Op) error
	start        *Barrier
	inside, held Gauge

	mu     sync.Mutex
	left   map[[2]int]bool // operations under way: client, number
	result Result
}

func (run *together) client(ctx context.Context, client, ops int) {
	_ = run.start.Wait(ctx) // if ctx has ended the operations find out
	for number := range ops {
		run.one(&Op{Client: client, Number: number, ctx: ctx, held: &run.held})
	}
}

func (run *together) one(op *Op) {
	key := [2]int{op.Client, op.Number}
	run.note(func() { run.left[key] = true })
	leave := run.inside.Enter()
	kind, err := Exited, error(nil)
	defer func() {
		if v := recover(); v != nil {
			err = &pool.PanicError{Value: v, Stack: debug.Stack()}
			kind = Panicked
		}
		leave()
		run.note(func() {
			delete(run.left, key)
			run.result.Outcomes[kind]++
			if _, known := run.result.First[kind]; !known && err != nil {
				run.result.First[kind] = err
			}
		})
	}()
	err = run.do(op)
	kind = OutcomeOf(err)
}

func (run *together) note(change func()) {
	run.mu.Lock()
	defer run.mu.Unlock()
	change()
}

func (run *together) underWay() (ops []string) {
	run.note(func() {
		for key := range run.left {
			ops = append(ops, fmt.Sprintf("%d/%d", key[0], key[1]))
		}
	})
	slices.Sort(ops)
	return ops
}

// judge returns the result so far.
func (run *together) judge() (r Result) {
	run.note(func() {
		r = run.result
		r.Outcomes, r.First = maps.Clone(r.Outcomes), maps.Clone(r.First)
	})
	r.Inside, r.Held = run.inside.Peak(), run.held.Peak()
	return r
}
