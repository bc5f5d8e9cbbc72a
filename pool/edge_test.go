package pool_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

// The release of a session's lease sets the timer for the session's end, although nothing
// else happens in the pool afterwards.
func TestSessionEndsInAQuietPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told time.Time
		cfg := quick(1)
		cfg.SessionTTL = time.Second
		cfg.SessionEnded = func(context.Context, pool.WorkerID, pool.SessionID) error {
			told = time.Now()
			return nil
		}
		p := pooltest.New(t, cfg, pooltest.Unobserved())
		lease, err := p.AcquireSession(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * pool.DefaultStartTimeout) // no timer of the start is left
		lease.Release()
		released := time.Now()
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := told.Sub(released); got != time.Second {
			t.Errorf("the worker was told %v after the release, want 1s", got)
		}
	})
}

func TestReadyFollowsResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick(2)
		cfg.MinSize = 2
		cfg.Start = func(ctx context.Context, id pool.WorkerID) (pool.WorkerID, error) {
			if id == 2 {
				<-ctx.Done()
			}
			return id, ctx.Err()
		}
		p := pooltest.New(t, cfg)
		ready := make(chan error, 1)
		go func() { ready <- p.Ready(t.Context()) }()
		synctest.Wait()
		if err := p.Resize(1, 2); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case err := <-ready:
			if err != nil {
				t.Errorf("Ready = %v", err)
			}
		default:
			t.Error("Ready waits for a worker that is not wanted any more")
		}
	})
}

func TestMaxWaitersAsHighAsAnIntGoes(t *testing.T) {
	cfg := quick(2)
	cfg.MaxWaiters = math.MaxInt
	p := pooltest.New(t, cfg)
	acquire(t, p, "").Release()
}

func TestStoppedWorkerIsNotReachable(t *testing.T) {
	type big struct{ _ [1 << 20]byte }
	var made atomic.Pointer[weak.Pointer[big]]
	p := pooltest.New(t, pool.Config[*big]{MaxSize: 4, Start: func(context.Context, pool.WorkerID) (*big, error) {
		w := new(big)
		to := weak.Make(w)
		made.Store(&to)
		return w, nil
	}}, pooltest.Unobserved())
	func() {
		lease, err := p.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lease.Discard(nil)
	}()
	for end := time.Now().Add(10 * time.Second); made.Load().Value() != nil; runtime.GC() {
		if time.Now().After(end) {
			t.Fatalf("a stopped worker is reachable after 10s: %+v", p.Stat())
		}
	}
}

func TestRandThatPanicsLeavesNothingLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick(1)
		cfg.Rand = func() float64 { panic("test") }
		cfg.Start = func(context.Context, pool.WorkerID) (pool.WorkerID, error) { return 0, errTest }
		p := pooltest.New(t, cfg)
		if _, err := p.Acquire(t.Context()); !errors.Is(err, errTest) {
			t.Errorf("Acquire = %v", err)
		}
	})
}

// panicky is a log handler that panics.
type panicky struct{ slog.Handler }

func (panicky) Handle(context.Context, slog.Record) error { panic("test") }

func TestLoggerThatPanicsKeepsNoStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stops := 0
		cfg := quick(1)
		cfg.Logger = slog.New(panicky{slog.NewTextHandler(new(bytes.Buffer), nil)})
		cfg.Stop = func(context.Context, pool.WorkerID, error) error {
			stops++
			return nil
		}
		p := pooltest.New(t, cfg, pooltest.Unobserved())
		lease, err := p.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lease.Discard(errTest)
		synctest.Wait()
		if stops != 1 {
			t.Errorf("Stop was called %d times", stops)
		}
	})
}

func TestCheckThatYieldsIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		cfg := quick(1)
		cfg.MinSize = 1
		cfg.HealthCheckPeriod = time.Second
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		cfg.Check = func(ctx context.Context, _ pool.WorkerID) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		p := pooltest.New(t, cfg)
		time.Sleep(1500 * time.Millisecond)
		acquire(t, p, "").Release()
		if log.Len() > 0 {
			t.Errorf("a check that yielded was logged: %s", log.String())
		}
	})
}

func TestEventsAndCountsWhileClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []pool.Event
		var cause error
		cfg := quick(2)
		cfg.Observer = func(e pool.Event) {
			if e.Kind == pool.LeaseEnded {
				ended = append(ended, e)
			}
		}
		cfg.Stop = func(_ context.Context, id pool.WorkerID, err error) error {
			if id == 2 {
				cause = err
			}
			return nil
		}
		p := pooltest.New(t, cfg, pooltest.Unobserved())
		first, err := p.AcquireSession(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Acquire(t.Context()); err != nil { // revoked below
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		closed := make(chan error)
		go func() { closed <- p.Shutdown(ctx) }()
		synctest.Wait()
		first.Release()
		if err := <-closed; err == nil {
			t.Error("Shutdown that revoked a lease = nil")
		}
		if len(ended) != 1 || ended[0].Session != "a" {
			t.Errorf("events of the end of a's lease: %+v", ended)
		}
		var failed *pool.WorkerError
		if !errors.As(cause, &failed) || failed.ID != 2 {
			t.Errorf("Stop of the revoked worker got %v, want a *WorkerError", cause)
		}
	})
}

// lateContext ends after its caller was granted a lease and before the caller looks.
type lateContext struct {
	context.Context
	looks int
	late  func()
}

func (c *lateContext) Err() error {
	switch c.looks++; c.looks {
	case 1:
		return nil
	case 2:
		c.late()
	}
	return context.Canceled
}

// A grant is given back: the worker that it took and those that are idle besides are offered
// to a waiter whose session that unbinds, and the one without bindings is preferred (I7).
func TestGivenBackWorkerIsOneOfThoseThatAreIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick(3)
		cfg.MinSize = 1
		p := pooltest.New(t, cfg)
		synctest.Wait()
		acquire(t, p, "b").Release()
		held := acquire(t, p, "b") // worker 1, bound to b
		second, third := acquire(t, p, ""), acquire(t, p, "")
		result := make(chan pool.Lease[pool.WorkerID], 1)
		ctx := &lateContext{Context: context.Background(), late: func() {
			second.Release() // idle; a is bound to worker 1
			go func() {
				lease, err := p.AcquireSession(t.Context(), "a")
				if err != nil {
					t.Error(err)
				}
				result <- lease
			}()
			synctest.Wait()
		}}
		gone := make(chan error, 1)
		go func() {
			_, err := p.AcquireSession(ctx, "a")
			gone <- err
		}()
		synctest.Wait()
		held.Release()
		if err := <-gone; err == nil {
			t.Fatal("the acquire whose context ended got a lease")
		}
		lease := <-result
		if lease.WorkerID() != second.WorkerID() || !lease.Fresh() {
			t.Errorf("session a got worker %d, fresh %t; want worker %d, which nobody is bound to", lease.WorkerID(), lease.Fresh(), second.WorkerID())
		}
		if live := p.Stat().Live(); live != 3 {
			t.Errorf("%d workers live, want 3", live)
		}
		lease.Release()
		third.Release()
	})
}
