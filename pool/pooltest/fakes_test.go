package pooltest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

// hooks returns fakes and their hooks, for playing a pool that is wrong.
func hooks(t testing.TB, limit int) (*pooltest.Fakes, pool.Config[*pooltest.Worker]) {
	f := pooltest.NewFakes(t, limit)
	return f, f.Config()
}

func start(t testing.TB, cfg pool.Config[*pooltest.Worker], id pool.WorkerID) *pooltest.Worker {
	t.Helper()
	w, err := cfg.Start(context.Background(), id)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	return w
}

func TestFakesNoticeABrokenPool(t *testing.T) {
	background := context.Background()
	for part, body := range map[string]func(t testing.TB){
		"I2: start of worker 2 makes 2 live, want at most 1": func(t testing.TB) {
			_, cfg := hooks(t, 1)
			start(t, cfg, 1)
			start(t, cfg, 2)
		},
		"I3: worker 1 is stopped for the 2. time": func(t testing.TB) {
			_, cfg := hooks(t, 1)
			w := start(t, cfg, 1)
			_ = cfg.Stop(background, w, nil)
			_ = cfg.Stop(background, w, nil)
		},
		"I3: worker 1 was stopped 0 times": func(t testing.TB) {
			_, cfg := hooks(t, 1)
			start(t, cfg, 1)
		},
		"I3: worker 1 is used after its stop": func(t testing.TB) {
			_, cfg := hooks(t, 1)
			w := start(t, cfg, 1)
			_ = cfg.Stop(background, w, nil)
			_ = w.Use(nil)
		},
		"I1: worker 1 is used by 2 callers at once": func(t testing.TB) {
			_, cfg := hooks(t, 1)
			w := start(t, cfg, 1)
			_ = w.Use(func() { _ = w.Use(nil) })
		},
		"I12: worker 1 is checked while it is in use": func(t testing.TB) {
			_, cfg := hooks(t, 1)
			w := start(t, cfg, 1)
			_ = w.Use(func() { _ = cfg.Check(background, w) })
		},
		"I3: worker 1 is checked after its stop": func(t testing.TB) {
			_, cfg := hooks(t, 1)
			w := start(t, cfg, 1)
			_ = cfg.Stop(background, w, nil)
			_ = cfg.Check(background, w)
		},
		"worker 1 was started before": func(t testing.TB) {
			_, cfg := hooks(t, 2)
			start(t, cfg, 1)
			start(t, cfg, 1)
		},
		"1 planned starts have not begun": func(t testing.TB) {
			f, _ := hooks(t, 1)
			f.NextStarts(pooltest.Start{Err: errors.New("planned")})
		},
		"fault has not landed: worker 3 is not alive": func(t testing.TB) {
			f, _ := hooks(t, 1)
			f.Break(3)
		},
		"Gate: 0 have arrived within 50ms, want 1": func(t testing.TB) {
			pooltest.NewGate().WaitArrived(t, 1, pooltest.Within(soon))
		},
	} {
		wantFailure(t, body, part)
	}
}

func TestFakesDoAsPlanned(t *testing.T) {
	wantSuccess(t, func(t testing.TB) {
		p, fakes := newPool(t, 1, func(cfg *pool.Config[*pooltest.Worker]) {
			cfg.StartBackoff = pool.Backoff{Min: time.Nanosecond, Max: time.Nanosecond}
		})
		gate := pooltest.NewGate()
		broken := errors.New("planned")
		fakes.NextStarts(pooltest.Start{Err: broken}, pooltest.Start{Panic: "planned"}, pooltest.Start{Goexit: true}, pooltest.Start{Gate: gate})
		if _, err := p.Acquire(context.Background()); !errors.Is(err, broken) {
			t.Errorf("first start: %v, want the planned error", err)
		}
		for range 2 {
			var panicked *pool.PanicError
			if _, err := retry(t, p); !errors.As(err, &panicked) {
				t.Errorf("next start: %v, want a panic", err)
			}
		}
		done := make(chan pool.Lease[*pooltest.Worker])
		go func() {
			l, err := retry(t, p)
			if err != nil {
				t.Errorf("last start: %v", err)
			}
			done <- l
		}()
		gate.WaitArrived(t, 1)
		gate.Open()
		l := <-done
		if err := l.Worker().Use(nil); err != nil || fakes.Uses(l.WorkerID()) != 1 {
			t.Errorf("use: %v, %d uses", err, fakes.Uses(l.WorkerID()))
		}
		fakes.Kill(p, l.WorkerID())
		if err := l.Worker().Use(nil); !errors.Is(err, pooltest.ErrDead) || len(fakes.Alive()) != 0 {
			t.Errorf("use of a dead worker: %v; alive: %v", err, fakes.Alive())
		}
		l.Release()
		if books := fakes.Books(); books.Begun != 4 || books.Failed != 3 || books.Made != 1 || books.Peak != 1 {
			t.Errorf("books %+v, want 4 begun, 3 failed, 1 made, 1 at once", books)
		}
	})
}

// retry acquires until the back-off of the start before is over.
func retry(t testing.TB, p *pooltest.Pool[*pooltest.Worker]) (pool.Lease[*pooltest.Worker], error) {
	t.Helper()
	begun := p.Stat().Counts.StartFailures
	for {
		l, err := p.Acquire(context.Background())
		if err == nil || p.Stat().Counts.StartFailures != begun {
			return l, err
		}
	}
}

func TestFakesHaveChecksFail(t *testing.T) {
	wantSuccess(t, func(t testing.TB) {
		p, fakes := newPool(t, 1, func(cfg *pool.Config[*pooltest.Worker]) {
			cfg.HealthCheckPeriod = time.Millisecond
			cfg.MinSize = 1
		})
		gate := pooltest.NewGate()
		fakes.HoldChecks(gate)
		pooltest.WaitReady(t, p)
		gate.WaitArrived(t, 1)
		fakes.Sicken(1, errors.New("feverish"))
		gate.Open()
		pooltest.WaitStarted(t, p, 2)
		if fakes.Books().Checks == 0 {
			t.Errorf("no checks")
		}
	})
}
