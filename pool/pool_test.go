package pool_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

var errTest = errors.New("test")

// quick is a configuration whose workers are their IDs and start at once.
func quick(maxSize int) pool.Config[pool.WorkerID] {
	return pool.Config[pool.WorkerID]{
		Start:   func(_ context.Context, id pool.WorkerID) (pool.WorkerID, error) { return id, nil },
		MaxSize: maxSize,
	}
}

func acquire(t *testing.T, p *pooltest.Pool[pool.WorkerID], id pool.SessionID) pool.Lease[pool.WorkerID] {
	t.Helper()
	lease, err := p.AcquireSession(t.Context(), id)
	if err != nil {
		t.Fatalf("AcquireSession(%q): %v", id, err)
	}
	return lease
}

// mustPanic returns what f panics with.
func mustPanic(t *testing.T, f func()) (value string) {
	t.Helper()
	defer func() {
		v := recover()
		if v == nil {
			t.Fatal("no panic")
		}
		value, _ = v.(string)
	}()
	f()
	return ""
}

func TestConfigReportsEveryComplaint(t *testing.T) {
	_, err := pool.New(pool.Config[int]{
		MinSize: -1, MaxSize: -2, MaxWaiters: -3, AcquireTimeout: -time.Second, MaxLeases: 1, MaxLifetime: time.Second,
		MaxLifetimeJitter: time.Minute, Affinity: 9, StartBackoff: pool.Backoff{Min: time.Second, Max: time.Millisecond},
	})
	if err == nil {
		t.Fatal("New accepted it")
	}
	for _, field := range []string{
		"Start is nil", "MinSize is -1", "MaxSize is -2", "MaxWaiters is -3", "AcquireTimeout is -1s",
		"StartBackoff.Max is 1ms", "Affinity is 9", "MaxLifetimeJitter is 1m0s",
	} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("complaint %q is missing in:\n%v", field, err)
		}
	}
	cfg := quick(1)
	cfg.MaxLeases = 1
	if _, err := pool.New(cfg); err == nil || !strings.Contains(err.Error(), "SessionTTL") {
		t.Errorf("MaxLeases under Strict without SessionTTL: err = %v", err)
	}
}

func TestDoneContextTakesNothing(t *testing.T) {
	p := pooltest.New(t, quick(1))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errTest)
	if _, err := p.Acquire(ctx); err != errTest {
		t.Errorf("Acquire = %v, want the context's cause", err)
	}
	if got := p.Stat().Counts.Granted; got != 0 {
		t.Errorf("%d leases were granted", got)
	}
}

// A grant that reaches a caller whose context has ended goes on to the next waiter, and
// the binding that it made is undone.
func TestGrantThatRacesCancelIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.New(t, quick(1))
		held := acquire(t, p, "")
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		go func() {
			_, err := p.AcquireSession(ctx, "a")
			result <- err
		}()
		synctest.Wait()
		cancel()
		held.Release() // the cancelled waiter is parked still, or leaves now
		if err := <-result; err != context.Canceled {
			t.Fatalf("the cancelled acquire got %v", err)
		}
		synctest.Wait()
		if s := p.Stat(); s.Idle != 1 || s.Sessions != 0 {
			t.Errorf("the grant was not undone: %+v", s)
		}
		if lease := acquire(t, p, "a"); !lease.Fresh() {
			t.Error("the session is bound though nobody got its lease")
		} else {
			lease.Release()
		}
	})
}

func TestLeaseIsCheckedByToken(t *testing.T) {
	p := pooltest.New(t, quick(1))
	lease := acquire(t, p, "")
	lease.Release()
	again := acquire(t, p, "") // the same worker, another lease
	for verb, f := range map[string]func(){
		"release": lease.Release,
		"discard": func() { lease.Discard(nil) },
		"use":     func() { lease.Worker() },
	} {
		if got := mustPanic(t, f); !strings.Contains(got, "I14: "+verb) {
			t.Errorf("%s after release panics with %q", verb, got)
		}
	}
	if got := mustPanic(t, pool.Lease[int]{}.Release); !strings.Contains(got, "zero Lease") {
		t.Errorf("the zero Lease panics with %q", got)
	}
	if again.Worker() != again.WorkerID() {
		t.Error("the running lease was disturbed")
	}
	again.Release()
	if s := p.Stat(); s.Idle != 1 || s.Leased != 0 {
		t.Errorf("counts are off: %+v", s)
	}
}

func TestDoEndsTheLeaseHoweverTheFunctionEnds(t *testing.T) {
	ctx := t.Context()
	for name, tt := range map[string]struct {
		f      func(context.Context, pool.WorkerID) error
		reused bool
	}{
		"nil":    {func(context.Context, pool.WorkerID) error { return nil }, true},
		"error":  {func(context.Context, pool.WorkerID) error { return errTest }, true},
		"panic":  {func(context.Context, pool.WorkerID) error { panic("test") }, false},
		"goexit": {func(context.Context, pool.WorkerID) error { runtime.Goexit(); return nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := pooltest.New(t, quick(1))
			first := acquire(t, p, "")
			first.Release()
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { _ = recover() }()
				_ = p.Do(ctx, "", tt.f)
			}()
			<-done
			lease := acquire(t, p, "")
			defer lease.Release()
			if reused := lease.WorkerID() == first.WorkerID(); reused != tt.reused {
				t.Errorf("worker reused: %v, want %v", reused, tt.reused)
			}
		})
	}
}

func TestHooksThatPanicOrExitAffectTheirWorkerAlone(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("test") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bad := true
				cfg := quick(1)
				cfg.Start = func(_ context.Context, id pool.WorkerID) (pool.WorkerID, error) {
					if id == 1 {
						end()
					}
					return id, nil
				}
				cfg.Stop = func(context.Context, pool.WorkerID, error) error { end(); return nil }
				cfg.Check = func(context.Context, pool.WorkerID) error {
					if bad {
						bad = false
						end()
					}
					return nil
				}
				cfg.HealthCheckPeriod = time.Second
				p := pooltest.New(t, cfg)
				var failed *pool.StartError
				var panicked *pool.PanicError
				if _, err := p.Acquire(t.Context()); !errors.As(err, &failed) || !errors.As(err, &panicked) || failed.ID != 1 {
					t.Fatalf("the first start: %v", err)
				}
				time.Sleep(time.Second)
				acquire(t, p, "").Release() // worker 2
				time.Sleep(2 * time.Second) // its check panics, and so does its stop
				lease := acquire(t, p, "")
				if lease.WorkerID() != 3 {
					t.Errorf("granted worker %d, want 3", lease.WorkerID())
				}
				lease.Release()
			})
		})
	}
}

func TestUsableThatPanicsDiscards(t *testing.T) {
	cfg := quick(1)
	cfg.Usable = func(id pool.WorkerID) bool {
		if id == 1 {
			panic("test")
		}
		return id != 2
	}
	p := pooltest.New(t, cfg)
	for want := pool.WorkerID(1); want <= 3; want++ {
		lease := acquire(t, p, "")
		if lease.WorkerID() != want {
			t.Errorf("granted worker %d, want %d", lease.WorkerID(), want)
		}
		lease.Release()
	}
}

func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick(4)
		cfg.Start = func(_ context.Context, id pool.WorkerID) (pool.WorkerID, error) {
			time.Sleep(time.Second)
			if id == 1 {
				return 0, errTest
			}
			return id, nil
		}
		p := pooltest.New(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 1050*time.Millisecond)
		defer cancel()
		if err := p.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errTest) {
			t.Errorf("Ready while starts fail = %v, want the deadline joined with the start's error", err)
		}
		if err := p.Ready(t.Context()); err != nil {
			t.Errorf("Ready = %v", err)
		}
		if got := p.Stat().Idle; got != 1 {
			t.Errorf("%d workers are idle, want 1", got)
		}
		if err := p.Resize(3, 4); err != nil {
			t.Fatal(err)
		}
		if err := p.Ready(t.Context()); err != nil || p.Stat().Idle != 3 {
			t.Errorf("Ready after Resize = %v with %d idle, want 3", err, p.Stat().Idle)
		}
		if err := p.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		if err := p.Ready(t.Context()); err != pool.ErrClosed {
			t.Errorf("Ready on a closed pool = %v", err)
		}
	})
}

func TestShutdownNamesWhatItForced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		cfg := quick(2)
		cfg.StopTimeout = time.Minute
		cfg.Stop = func(_ context.Context, id pool.WorkerID, _ error) error {
			if id == 1 {
				<-release
			}
			return nil
		}
		p := pooltest.New(t, cfg)
		held, other := acquire(t, p, ""), acquire(t, p, "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		closed := make(chan error, 1)
		go func() { closed <- p.Close() }()
		begin := time.Now()
		err := p.Shutdown(ctx)
		if took := time.Since(begin); took != time.Second+time.Minute {
			t.Errorf("Shutdown took %v, want its context and StopTimeout", took)
		}
		var forced *pool.ShutdownError
		if !errors.As(err, &forced) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Shutdown = %v", err)
		}
		if len(forced.Revoked) != 2 || len(forced.Running) != 1 || forced.Running[0] != (pool.Hook{Name: "Stop", ID: 1}) {
			t.Errorf("Shutdown reports %+v", forced)
		}
		if err := <-closed; !errors.As(err, &forced) {
			t.Errorf("Close = %v, want a *ShutdownError as well", err)
		}
		if !held.Revoked() || !other.Revoked() {
			t.Error("a lease was not revoked")
		}
		held.Release()
		mustPanic(t, held.Release)
		other.Discard(errTest)
		close(release)
		synctest.Wait()
	})
}

func TestObserverPanicIsContainedAndSeqOrdersEvents(t *testing.T) {
	var log bytes.Buffer
	var seqs []uint64
	cfg := quick(1)
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	cfg.Observer = func(e pool.Event) {
		if e.Kind == pool.LeaseGranted || e.Kind == pool.LeaseEnded {
			seqs = append(seqs, e.Seq)
			panic("test")
		}
	}
	p := pooltest.New(t, cfg)
	if err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	acquire(t, p, "").Release()
	if len(seqs) != 2 || seqs[0] >= seqs[1] {
		t.Errorf("seqs of a grant and its end: %v", seqs)
	}
	if !strings.Contains(log.String(), "observer failed") {
		t.Errorf("the panic was not logged: %s", log.String())
	}
}

func TestUncontendedPairsAllocateNothing(t *testing.T) {
	p := pooltest.New(t, quick(2), pooltest.Unobserved())
	ctx := t.Context()
	for _, id := range []pool.SessionID{"", "a"} {
		got := testing.AllocsPerRun(1000, func() {
			lease, err := p.AcquireSession(ctx, id)
			if err != nil {
				t.Error(err)
				return
			}
			lease.Release()
		})
		if got != 0 {
			t.Errorf("session %q: %v allocations a pair, want 0", id, got)
		}
	}
}

func TestLeaseThroughEndsOnceAndAsItWasAsked(t *testing.T) {
	p := pooltest.New(t, quick(1))
	var causes []error
	through := func() pool.Lease[pool.WorkerID] {
		lease, err := p.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return lease.Through(func(cause error, end func()) {
			causes = append(causes, cause)
			end()
		})
	}
	first := through()
	first.Release()
	if said := mustPanic(t, first.Release); !strings.Contains(said, "I14") {
		t.Errorf("a second release says %q, want I14", said)
	}
	if err := through().Do(t.Context(), func(context.Context, pool.WorkerID) error { return errTest }); err != errTest {
		t.Errorf("Do returns %v, want %v", err, errTest)
	}
	second := through()
	if second.WorkerID() != first.WorkerID() {
		t.Error("a released worker was not used again")
	}
	second.Discard(errTest)
	through().Discard(nil)
	if len(causes) != 5 || causes[0] != nil || causes[1] != nil || causes[2] != nil || causes[3] != errTest || causes[4] == nil {
		t.Errorf("the ends were for %v; want nil three times, the test's and another", causes)
	}
}

func TestStatSaysWhetherTheObserverKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick(1)
		slow := make(chan struct{})
		cfg.Observer = func(e pool.Event) {
			if e.Kind == pool.WorkerStarted {
				<-slow
			}
		}
		p := pooltest.New(t, cfg)
		acquire(t, p, "").Release()
		synctest.Wait()
		if got := p.Stat().Telling; got != 1 {
			t.Errorf("%d changes are being told, want the start", got)
		}
		close(slow)
		synctest.Wait()
		if got := p.Stat().Telling; got != 0 {
			t.Errorf("%d changes are being told in the end, want none", got)
		}
	})
}
