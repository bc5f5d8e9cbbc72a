package broken_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest/broken"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	testPool  = broken.Pool[pool.WorkerID]
	testLease = broken.Lease[pool.WorkerID]
)

// bubble runs body in a bubble with a correct pool whose starts take a second.
func bubble(t *testing.T, cfg pool.Config[pool.WorkerID], body func(t *testing.T, p *testPool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if cfg.Start == nil {
			cfg.Start = func(_ context.Context, id pool.WorkerID) (pool.WorkerID, error) {
				time.Sleep(time.Second)
				return id, nil
			}
		}
		p, err := broken.New(cfg, broken.None)
		if err != nil {
			t.Fatal(err)
		}
		body(t, p)
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Shutdown(ended)
		if counts := p.Counts(); counts != (broken.Counts{}) {
			t.Errorf("after Shutdown: %+v, want nothing", counts)
		}
	})
}

type outcome struct {
	lease testLease
	err   error
}

// park begins an acquire and returns, at rest, where its outcome will be.
func park(ctx context.Context, p *testPool, id pool.SessionID) *outcome {
	o := &outcome{err: errors.New("parked")}
	go func() { o.lease, o.err = p.AcquireSession(ctx, id) }()
	synctest.Wait()
	return o
}

func mustAcquire(t *testing.T, p *testPool, id pool.SessionID) testLease {
	t.Helper()
	l, err := p.AcquireSession(t.Context(), id)
	if err != nil {
		t.Fatalf("acquire of session %q: %v", id, err)
	}
	return l
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %v", what, got, want)
	}
}

func TestWaitersAreServedInOrder(t *testing.T) {
	bubble(t, pool.Config[pool.WorkerID]{MaxSize: 1}, func(t *testing.T, p *testPool) {
		l := mustAcquire(t, p, "")
		first, second := park(t.Context(), p, ""), park(t.Context(), p, "")
		l.Release()
		synctest.Wait()
		if first.err != nil || second.err == nil {
			t.Fatalf("after one release: first %v, second %v, want the first served", first.err, second.err)
		}
		first.lease.Discard(errors.New("bad"))
		time.Sleep(time.Second)
		synctest.Wait()
		if second.err != nil || second.lease.WorkerID() != 2 {
			t.Fatalf("after a discard: %v on worker %d, want worker 2", second.err, second.lease.WorkerID())
		}
	})
}

func TestCancelLosesNothing(t *testing.T) {
	bubble(t, pool.Config[pool.WorkerID]{MaxSize: 1}, func(t *testing.T, p *testPool) {
		ctx, cancel := context.WithCancelCause(t.Context())
		gone, stays := park(ctx, p, "a"), park(t.Context(), p, "")
		left := errors.New("left")
		cancel(left)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		wantErr(t, "cancelled acquire", gone.err, left)
		if stays.err != nil || p.Counts().Sessions != 0 {
			t.Fatalf("other waiter: %v, want a lease; %+v, want no session", stays.err, p.Counts())
		}
		_, err := p.AcquireSession(ctx, "a")
		wantErr(t, "acquire with a context done", err, left)
	})
}

// lateContext ends without waking who waits for it, as if a grant had been first.
type lateContext struct {
	context.Context
	ended atomic.Bool
}

func (c *lateContext) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return nil
}

func TestGrantThatMeetsACancelIsGivenBack(t *testing.T) {
	bubble(t, pool.Config[pool.WorkerID]{MaxSize: 1}, func(t *testing.T, p *testPool) {
		ctx := &lateContext{Context: context.Background()}
		gone, stays := park(ctx, p, "a"), park(t.Context(), p, "")
		ctx.ended.Store(true)
		time.Sleep(time.Second)
		synctest.Wait()
		wantErr(t, "acquire", gone.err, context.Canceled)
		if counts := p.Counts(); stays.err != nil || counts.Leased != 1 || counts.Sessions != 0 {
			t.Fatalf("other waiter: %v, want a lease; %+v, want no session", stays.err, counts)
		}
	})
}

func TestStrictSessionIsLost(t *testing.T) {
	cfg := pool.Config[pool.WorkerID]{MaxSize: 2, SessionTTL: time.Minute}
	bubble(t, cfg, func(t *testing.T, p *testPool) {
		l := mustAcquire(t, p, "a")
		waiter := park(t.Context(), p, "a")
		p.Retire(l.WorkerID(), errors.New("dead"))
		synctest.Wait()
		wantErr(t, "waiter of a lost session", waiter.err, pool.ErrSessionLost)
		l.Release()
		time.Sleep(time.Minute - time.Nanosecond)
		_, err := p.AcquireSession(t.Context(), "a")
		wantErr(t, "acquire before the TTL", err, pool.ErrSessionLost)
		time.Sleep(time.Nanosecond)
		if l := mustAcquire(t, p, "a"); !l.Fresh() || l.WorkerID() != 2 {
			t.Errorf("after the TTL: worker %d, fresh %t, want worker 2, fresh", l.WorkerID(), l.Fresh())
		}
	})
}

func TestStickySessionMovesWhenLost(t *testing.T) {
	cfg := pool.Config[pool.WorkerID]{MaxSize: 2, Affinity: pool.Sticky}
	bubble(t, cfg, func(t *testing.T, p *testPool) {
		l := mustAcquire(t, p, "a")
		waiter := park(t.Context(), p, "a")
		l.Discard(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if waiter.err != nil || !waiter.lease.Fresh() || waiter.lease.WorkerID() != 2 {
			t.Errorf("waiter: %v, worker %d, want worker 2, fresh", waiter.err, waiter.lease.WorkerID())
		}
	})
}

func TestPreferTakesAnotherWorker(t *testing.T) {
	var told []pool.WorkerID
	cfg := pool.Config[pool.WorkerID]{MinSize: 2, MaxSize: 2, Affinity: pool.Prefer}
	cfg.SessionEnded = func(_ context.Context, id pool.WorkerID, _ pool.SessionID) error {
		told = append(told, id)
		return nil
	}
	bubble(t, cfg, func(t *testing.T, p *testPool) {
		time.Sleep(time.Second)
		synctest.Wait()
		first := mustAcquire(t, p, "a")
		second := mustAcquire(t, p, "a")
		if !second.Fresh() || second.WorkerID() == first.WorkerID() {
			t.Fatalf("second lease: worker %d, fresh %t, want another worker than %d", second.WorkerID(), second.Fresh(), first.WorkerID())
		}
		first.Release()
		synctest.Wait()
		if len(told) != 1 || told[0] != first.WorkerID() {
			t.Errorf("told %v, want worker %d once", told, first.WorkerID())
		}
	})
}

func TestEndSessionBeginsAnEpoch(t *testing.T) {
	bubble(t, pool.Config[pool.WorkerID]{MaxSize: 2}, func(t *testing.T, p *testPool) {
		old := mustAcquire(t, p, "a")
		waiter := park(t.Context(), p, "a")
		p.EndSession("a")
		time.Sleep(time.Second)
		synctest.Wait()
		if waiter.err != nil || !waiter.lease.Fresh() {
			t.Fatalf("waiter: %v, want a fresh lease", waiter.err)
		}
		old.Discard(nil)
		waiter.lease.Release()
		if l := mustAcquire(t, p, "a"); l.Fresh() {
			t.Error("the end of an old lease touched the new binding")
		}
	})
}

func TestFailedStartBacksOff(t *testing.T) {
	failure := errors.New("no such program")
	starts, healed := 0, false
	cfg := pool.Config[pool.WorkerID]{MaxSize: 1, Rand: func() float64 { return 0.5 }}
	cfg.StartBackoff = pool.Backoff{Min: 4 * time.Second, Max: 6 * time.Second}
	cfg.Start = func(_ context.Context, id pool.WorkerID) (pool.WorkerID, error) {
		starts++
		if healed {
			return id, nil
		}
		return 0, failure
	}
	bubble(t, cfg, func(t *testing.T, p *testPool) {
		for i, pause := range []time.Duration{0, 3 * time.Second, 4500 * time.Millisecond, 4500 * time.Millisecond} {
			time.Sleep(pause - time.Nanosecond)
			_, err := p.Acquire(t.Context())
			wantErr(t, "acquire during the back-off", err, failure)
			time.Sleep(time.Nanosecond)
			_, err = p.Acquire(t.Context())
			wantErr(t, "acquire after the back-off", err, failure)
			if starts != i+1 {
				t.Fatalf("%d starts, want %d", starts, i+1)
			}
		}
		healed = true
		time.Sleep(time.Minute)
		mustAcquire(t, p, "")
	})
}

func TestLimits(t *testing.T) {
	cfg := pool.Config[pool.WorkerID]{MaxSize: 1, MaxWaiters: 1, MaxSessions: 2, AcquireTimeout: 10 * time.Second}
	bubble(t, cfg, func(t *testing.T, p *testPool) {
		mustAcquire(t, p, "a")
		late := park(t.Context(), p, "b")
		_, err := p.AcquireSession(t.Context(), "c")
		wantErr(t, "third session", err, pool.ErrSessionLimit)
		_, err = p.Acquire(t.Context())
		wantErr(t, "second waiter", err, pool.ErrSaturated)
		_, err = p.TryAcquire()
		wantErr(t, "try", err, pool.ErrNotAvailable)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		wantErr(t, "waiter", late.err, pool.ErrAcquireTimeout)
	})
}

func TestCheckYieldsToCallers(t *testing.T) {
	cfg := pool.Config[pool.WorkerID]{MinSize: 1, MaxSize: 1, HealthCheckPeriod: time.Minute}
	cfg.Check = func(ctx context.Context, _ pool.WorkerID) error {
		<-ctx.Done()
		return ctx.Err()
	}
	bubble(t, cfg, func(t *testing.T, p *testPool) {
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if counts := p.Counts(); counts.Checking != 1 {
			t.Fatalf("%+v, want a check", counts)
		}
		if l := mustAcquire(t, p, ""); l.WorkerID() != 1 {
			t.Errorf("worker %d, want 1: a cancelled check is no failure", l.WorkerID())
		}
	})
}

func TestShutdownRevokes(t *testing.T) {
	bubble(t, pool.Config[pool.WorkerID]{MaxSize: 1}, func(t *testing.T, p *testPool) {
		l := mustAcquire(t, p, "")
		waiter := park(t.Context(), p, "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := p.Shutdown(ctx)
		synctest.Wait()
		var report *pool.ShutdownError
		if !errors.As(err, &report) || len(report.Revoked) != 1 || len(report.Running) != 0 {
			t.Errorf("Shutdown: %v, want one revoked lease", err)
		}
		wantErr(t, "Shutdown", err, context.DeadlineExceeded)
		wantErr(t, "waiter", waiter.err, pool.ErrClosed)
		if !l.Revoked() {
			t.Error("lease not revoked")
		}
		l.Release()
		defer func() {
			if recover() == nil {
				t.Error("second release of a revoked lease: no panic")
			}
		}()
		l.Release()
	})
}

func TestStopsAreBounded(t *testing.T) {
	cfg := pool.Config[pool.WorkerID]{MaxSize: 1, StopTimeout: time.Second}
	cfg.Stop = func(context.Context, pool.WorkerID, error) error {
		time.Sleep(time.Minute)
		return nil
	}
	synctest.Test(t, func(t *testing.T) {
		cfg.Start = func(_ context.Context, id pool.WorkerID) (pool.WorkerID, error) { return id, nil }
		p, err := broken.New(cfg, broken.None)
		if err != nil {
			t.Fatal(err)
		}
		mustAcquire(t, p, "").Release()
		begun := time.Now()
		var report *pool.ShutdownError
		if err := p.Close(); !errors.As(err, &report) || len(report.Running) != 1 || time.Since(begun) != time.Second {
			t.Errorf("Close after %v: %v, want one running hook after 1s", time.Since(begun), err)
		}
		time.Sleep(time.Minute)
		if err := p.Close(); err != nil {
			t.Errorf("Close after the hook returned: %v", err)
		}
	})
}

func TestNewRefusesNonsense(t *testing.T) {
	start := func(context.Context, pool.WorkerID) (pool.WorkerID, error) { return 0, nil }
	for name, cfg := range map[string]pool.Config[pool.WorkerID]{
		"no start":         {},
		"sizes":            {Start: start, MinSize: 2, MaxSize: 1},
		"back-off":         {Start: start, StartBackoff: pool.Backoff{Min: 2, Max: 1}},
		"jitter":           {Start: start, SessionTTL: 1, MaxLifetime: 1, MaxLifetimeJitter: 1},
		"endless sessions": {Start: start, MaxLeases: 1},
	} {
		if _, err := broken.New(cfg, broken.None); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
