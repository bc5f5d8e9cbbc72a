package pooltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// Warm makes sure that n workers have started: it takes n leases at once, so that the
// starts run in parallel, and releases them when all are held. It returns the workers
// in order. It fails the test if the leases are not on n distinct workers whose Starts
// were seen to return, or if the deadline passes. n may not exceed MaxSize.
func Warm[T any](t testing.TB, p *Pool[T], n int, opts ...Option) []pool.WorkerID {
	t.Helper()
	deadline := p.deadline(opts)
	ctx, cancel := context.WithTimeoutCause(context.Background(), deadline, fmt.Errorf("Warm: %v have passed", deadline))
	defer cancel()
	leases, errs := make([]pool.Lease[T], n), make([]error, n)
	var acquires sync.WaitGroup
	for i := range n {
		acquires.Go(func() {
			leases[i], errs[i] = p.Acquire(ctx)
		})
	}
	acquires.Wait()
	var held []pool.WorkerID
	for i, err := range errs {
		if err == nil {
			held = append(held, leases[i].WorkerID())
			leases[i].Release()
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("Warm: %d of %d leases held at once: %v; pool: %s%s", len(held), n, err, describe(p.Stat()), p.watch.startFailures())
	}
	slices.Sort(held)
	if distinct := slices.Compact(slices.Clone(held)); len(distinct) != n {
		t.Fatalf("Warm: %d leases held at once were on workers %v; want %d distinct ones (I1)", n, held, n)
	}
	seen := p.watch.shaken()
	for _, id := range held {
		if !slices.Contains(seen, id) {
			t.Fatalf("Warm: worker %d was leased, but its Start was not seen to return; seen: %v", id, seen)
		}
	}
	return held
}

// WaitReady waits until the pool says that it is ready, and fails the test if fewer than
// max(1, MinSize) Starts were then seen to return, or if the deadline passes.
func WaitReady[T any](t testing.TB, p *Pool[T], opts ...Option) {
	t.Helper()
	deadline := p.deadline(opts)
	ctx, cancel := context.WithTimeoutCause(context.Background(), deadline, fmt.Errorf("WaitReady: %v have passed", deadline))
	defer cancel()
	if err := p.Ready(ctx); err != nil {
		t.Fatalf("WaitReady: %v; pool: %s%s", err, describe(p.Stat()), p.watch.startFailures())
	}
	if seen := p.watch.shaken(); len(seen) < max(1, p.Stat().MinSize) {
		t.Fatalf("WaitReady: Ready returned when %d Starts were seen to return; want %d", len(seen), max(1, p.Stat().MinSize))
	}
}

// WaitStarted waits until n workers, dead ones included, have started since New: their
// Starts were seen to return, and the pool has told of it. It returns them in order, and fails
// the test when the deadline passes.
func WaitStarted[T any](t testing.TB, p *Pool[T], n int, opts ...Option) []pool.WorkerID {
	t.Helper()
	wait(t, p, opts, fmt.Sprintf("WaitStarted: %d workers started", n), func() (bool, string) {
		seen := p.watch.seen()
		return len(seen) >= n, fmt.Sprintf("workers %v", seen)
	})
	return p.watch.seen()
}

// WaitIdle waits until at least n workers are idle at once, and fails the test when the
// deadline passes.
func WaitIdle[T any](t testing.TB, p *Pool[T], n int, opts ...Option) {
	t.Helper()
	wait(t, p, opts, fmt.Sprintf("WaitIdle: %d workers idle", n), func() (bool, string) {
		idle := p.Stat().Idle
		return idle >= n, fmt.Sprint(idle)
	})
}

// WaitWaiting waits until at least n acquires are parked at once, and fails the test
// when the deadline passes.
func WaitWaiting[T any](t testing.TB, p *Pool[T], n int, opts ...Option) {
	t.Helper()
	wait(t, p, opts, fmt.Sprintf("WaitWaiting: %d acquires parked", n), func() (bool, string) {
		waiting := p.Stat().Waiting
		return waiting >= n, fmt.Sprint(waiting)
	})
}

// wait asks holds after every event until it says yes.
func wait[T any](t testing.TB, p *Pool[T], opts []Option, what string, holds func() (ok bool, got string)) {
	t.Helper()
	deadline := p.deadline(opts)
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	for {
		next := p.watch.next() // before asking, so that no event is missed
		if ok, _ := holds(); ok {
			return
		}
		select {
		case <-next:
		case <-timer.C:
			ok, got := holds()
			if ok {
				t.Fatalf("%s only without an event within %v: got %s; every change must be told to the Observer", what, deadline, got)
			}
			t.Fatalf("%s: not within %v: got %s; pool: %s%s", what, deadline, got, describe(p.Stat()), p.watch.startFailures())
		}
	}
}

func (p *Pool[T]) deadline(opts []Option) time.Duration {
	s := p.within
	for _, opt := range opts {
		opt(&s)
	}
	return s.deadline
}

func describe(s pool.Stat) string {
	text := fmt.Sprintf("%d starting, %d idle, %d checking, %d leased, %d stopping, %d waiting, %d sessions",
		s.Starting, s.Idle, s.Checking, s.Leased, s.Stopping, s.Waiting, s.Sessions)
	if s.BackingOff {
		text += ", backing off"
	}
	if s.Closing {
		text += ", closing"
	}
	return text
}
