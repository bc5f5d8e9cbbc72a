package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/fallback"
	"github.com/poolproof/poolproof/pool/pooltest"
)

// newLayer returns a fake layer over a real pool of one test.
func newLayer(t *testing.T, name string, cfg pool.Config[worker]) *fakeLayer {
	t.Helper()
	cfg.Start = func(_ context.Context, id pool.WorkerID) (worker, error) { return worker{name, id}, nil }
	p, err := recorded.Open(t, cfg, func(cfg pool.Config[worker]) (*pool.Pool[worker], error) {
		return pooltest.New(t, cfg, pooltest.NoLeakCheck()).Pool, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return &fakeLayer{layerPool: p, name: name, told: new([]string)}
}

func (l *fakeLayer) set(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = a
}

// newChain returns a chain over layers, whose breakers open after two failures, for a minute.
func newChain(t *testing.T, cfg fallback.Config[worker], layers ...fallback.Pool[worker]) *fallback.Chain[worker] {
	t.Helper()
	for i, l := range layers {
		cfg.Layers = append(cfg.Layers, fallback.Layer[worker]{
			Name: string(rune('A' + i)), Pool: l, Breaker: fallback.Breaker{FailuresInRow: 2, OpenFor: time.Minute},
		})
	}
	c, err := fallback.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func returning(err error) func(context.Context, worker) error {
	return func(context.Context, worker) error { return err }
}

func TestNewReportsEveryComplaint(t *testing.T) {
	l := newLayer(t, "A", pool.Config[worker]{MaxSize: 1})
	ok := fallback.Layer[worker]{Name: "A", Pool: l}
	with := func(b fallback.Breaker) fallback.Config[worker] {
		return fallback.Config[worker]{Layers: []fallback.Layer[worker]{{Name: "A", Pool: l, Breaker: b}}}
	}
	for name, c := range map[string]struct {
		cfg  fallback.Config[worker]
		want []string
	}{
		"least":     {fallback.Config[worker]{Layers: []fallback.Layer[worker]{ok}}, nil},
		"by ratio":  {with(fallback.Breaker{FailureRatio: 1}), nil},
		"no layers": {fallback.Config[worker]{}, []string{"Config.Layers has 0; it must have 1 to 64"}},
		"too many layers": {
			fallback.Config[worker]{Layers: slices.Repeat([]fallback.Layer[worker]{ok}, 65)},
			[]string{"Config.Layers has 65; it must have 1 to 64", `Layers[64].Name is "A"; it must differ from that of Layers[0]`},
		},
		"layers": {
			fallback.Config[worker]{Layers: []fallback.Layer[worker]{ok, {}, ok}},
			[]string{"Layers[1].Name is empty; it is required", "Layers[1].Pool is nil; it is required", `Layers[2].Name is "A"; it must differ from that of Layers[0]`},
		},
		"chain": {
			fallback.Config[worker]{Layers: []fallback.Layer[worker]{ok}, Affinity: 3, SessionTTL: -1, MaxSessions: -2},
			[]string{"Affinity is 3; it must be Strict, Sticky or Prefer", "SessionTTL is -1ns; it must not be negative", "MaxSessions is -2; it must be at least 0"},
		},
		"breaker": {
			with(fallback.Breaker{FailuresInRow: -1, MinCalls: 2, Window: time.Second, OpenFor: time.Microsecond, Probes: -1, ProbeTimeout: -1}),
			[]string{
				"Layers[0].Breaker.FailuresInRow is -1; it must be at least 1", "Breaker.MinCalls is 2; it requires FailureRatio",
				"Breaker.Window is 1s; it requires FailureRatio", "Breaker.OpenFor is 1µs; it must be at least 1ms",
				"Breaker.Probes is -1; it must be 1 to 1000000", "Breaker.ProbeTimeout is -1ns; it must not be negative",
			},
		},
		"ratio": {
			with(fallback.Breaker{FailureRatio: 1.5, FailuresInRow: 2, MinCalls: -1, Window: time.Microsecond}),
			[]string{
				"Breaker.FailureRatio is 1.5; it must be from 0 to 1", "Breaker.FailuresInRow is 2; it must be 0 where FailureRatio is set, which is 1.5",
				"Breaker.MinCalls is -1; it must be at least 1", "Breaker.Window is 1µs; it must be at least 1ms",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fallback.New(c.cfg)
			got := 0
			if err != nil {
				got = len(strings.Split(err.Error(), "\n"))
			}
			if name == "too many layers" {
				got -= 63 // the same complaint about each of the others
			}
			if got != len(c.want) {
				t.Errorf("%d complaints: %v; want %d", got, err, len(c.want))
			}
			for _, want := range c.want {
				if !strings.Contains(fmt.Sprint(err), want) {
					t.Errorf("got %v; want a complaint that %q", err, want)
				}
			}
		})
	}
}

// wayToEnd is a way for a probe to end, and what the breaker is then.
type wayToEnd struct {
	probe func(*fallback.Chain[worker], *fakeLayer)
	want  fallback.State
}

// functionsThatEnd are the ways in which a function makes a probe end.
func functionsThatEnd() map[string]wayToEnd {
	return map[string]wayToEnd{
		"success": {func(c *fallback.Chain[worker], _ *fakeLayer) {
			_, _ = c.Do(context.Background(), "", returning(nil))
		}, fallback.Closed},
		"broken worker": {func(c *fallback.Chain[worker], _ *fakeLayer) {
			_, _ = c.Do(context.Background(), "", returning(errBroken))
		}, fallback.Open},
		"unclassified error": {func(c *fallback.Chain[worker], _ *fakeLayer) {
			_, _ = c.Do(context.Background(), "", returning(errApp))
		}, fallback.HalfOpen},
		"panic": {func(c *fallback.Chain[worker], _ *fakeLayer) {
			defer func() { _ = recover() }()
			_, _ = c.Do(context.Background(), "", func(context.Context, worker) error { panic("as planned") })
		}, fallback.Open},
		"goexit": {func(c *fallback.Chain[worker], _ *fakeLayer) {
			_, _ = c.Do(context.Background(), "", func(context.Context, worker) error { runtime.Goexit(); return nil })
		}, fallback.Open},
		"cancelled in the function": {func(c *fallback.Chain[worker], _ *fakeLayer) {
			ctx, cancel := context.WithCancel(context.Background())
			_, _ = c.Do(ctx, "", func(context.Context, worker) error { cancel(); return errBroken })
		}, fallback.HalfOpen},
		"function that does not return": {func(c *fallback.Chain[worker], _ *fakeLayer) {
			go func() {
				_, _ = c.Do(context.Background(), "", func(context.Context, worker) error { time.Sleep(time.Hour); return nil })
			}()
			time.Sleep(time.Minute)
		}, fallback.HalfOpen},
		"function that succeeds late": {func(c *fallback.Chain[worker], _ *fakeLayer) {
			_, _ = c.Do(context.Background(), "", func(context.Context, worker) error {
				time.Sleep(time.Hour)
				return nil
			})
		}, fallback.Closed},
	}
}

// poolsThatRefuse are the ways in which a pool does.
func poolsThatRefuse() map[string]wayToEnd {
	return map[string]wayToEnd{
		"cancelled in the acquire": {func(c *fallback.Chain[worker], l *fakeLayer) {
			l.set(hangs)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, _ = c.Do(ctx, "", returning(nil))
		}, fallback.HalfOpen},
		"acquire panics": {func(c *fallback.Chain[worker], l *fakeLayer) {
			defer func() { _ = recover() }()
			l.set(blowsUp)
			_, _ = c.Do(context.Background(), "s", returning(nil))
		}, fallback.Open},
		"saturated": {func(c *fallback.Chain[worker], l *fakeLayer) {
			l.set(saturated)
			_, _ = c.Do(context.Background(), "", returning(nil))
		}, fallback.HalfOpen},
		"closed pool": {func(c *fallback.Chain[worker], l *fakeLayer) {
			l.set(closed)
			_, _ = c.Do(context.Background(), "", returning(nil))
		}, fallback.Open},
		"odd error": {func(c *fallback.Chain[worker], l *fakeLayer) {
			l.set(odd)
			_, _ = c.Do(context.Background(), "", returning(nil))
		}, fallback.HalfOpen},
	}
}

// leasesThatEnd are the ways in which the holder of a lease does.
func leasesThatEnd() map[string]wayToEnd {
	return map[string]wayToEnd{
		"released lease": {func(c *fallback.Chain[worker], _ *fakeLayer) {
			lease, _ := c.Acquire(context.Background(), "")
			lease.Release()
		}, fallback.Closed},
		"discarded lease": {func(c *fallback.Chain[worker], _ *fakeLayer) {
			lease, _ := c.Acquire(context.Background(), "")
			lease.Discard(errBroken)
		}, fallback.Open},
		"lease whose context has ended": {func(c *fallback.Chain[worker], _ *fakeLayer) {
			ctx, cancel := context.WithCancel(context.Background())
			lease, _ := c.Acquire(ctx, "")
			cancel()
			lease.Discard(errBroken)
		}, fallback.HalfOpen},
		"lease that is kept": {func(c *fallback.Chain[worker], _ *fakeLayer) {
			lease, _ := c.Acquire(context.Background(), "")
			time.AfterFunc(time.Hour, lease.Release)
			time.Sleep(time.Minute) // the timeout of probes
		}, fallback.HalfOpen},
	}
}

// L12: every way for a probe to end, and what the breaker is then. It is never stuck: one
// probe later that succeeds, it is closed.
func TestBreakerAlwaysLeavesHalfOpen(t *testing.T) {
	ways := functionsThatEnd()
	maps.Copy(ways, poolsThatRefuse())
	maps.Copy(ways, leasesThatEnd())
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLayer(t, "A", pool.Config[worker]{MaxSize: 3})
				c := newChain(t, fallback.Config[worker]{}, l)
				for range 2 {
					_, _ = c.Do(t.Context(), "", returning(errBroken))
				}
				if _, err := c.Do(t.Context(), "", returning(nil)); !errors.Is(err, fallback.ErrBreakerOpen) {
					t.Fatalf("after two failures: %v, want ErrBreakerOpen", err)
				}
				time.Sleep(time.Minute)
				if got := c.Stat().Layers[0].State; got != fallback.HalfOpen {
					t.Fatalf("after a minute: %v, want half-open", got)
				}
				over := make(chan struct{})
				go func() {
					defer close(over)
					way.probe(c, l)
				}()
				<-over
				if got := c.Stat().Layers[0].State; got != way.want {
					t.Errorf("after the probe: %v, want %v", got, way.want)
				}
				l.set(grants)
				if way.want == fallback.Open {
					time.Sleep(time.Minute)
				}
				if _, err := c.Do(t.Context(), "", returning(nil)); err != nil || c.Stat().Layers[0].State != fallback.Closed {
					t.Errorf("one probe later: %v, %+v; want success, and closed", err, c.Stat())
				}
				time.Sleep(2 * time.Hour) // what is kept is given back
			})
		})
	}
}

func TestOnChangeAndLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var changes []fallback.Change
		l := newLayer(t, "A", pool.Config[worker]{MaxSize: 1})
		c := newChain(t, fallback.Config[worker]{
			OnChange: func(x fallback.Change) {
				changes = append(changes, x)
				panic("as planned")
			},
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}, l)
		for range 2 {
			_, _ = c.Do(t.Context(), "", returning(errBroken))
		}
		time.Sleep(time.Minute)
		if _, err := c.Do(t.Context(), "", returning(nil)); err != nil {
			t.Error(err)
		}
		want := []fallback.Change{
			{Seq: 1, Layer: "A", From: fallback.Closed, To: fallback.Open, Cause: errBroken},
			{Seq: 2, Layer: "A", From: fallback.Open, To: fallback.HalfOpen},
			{Seq: 3, Layer: "A", From: fallback.HalfOpen, To: fallback.Closed},
		}
		if !slices.Equal(changes, want) {
			t.Errorf("changes %v, want %v", changes, want)
		}
		for text, n := range map[string]int{"breaker opens": 1, "breaker changes": 2, "OnChange panicked": 3} {
			if got := strings.Count(log.String(), text); got != n {
				t.Errorf("%q is logged %d times, want %d:\n%s", text, got, n, log.String())
			}
		}
	})
}

func TestServedAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newLayer(t, "A", pool.Config[worker]{MaxSize: 1}), newLayer(t, "B", pool.Config[worker]{MaxSize: 1})
		c := newChain(t, fallback.Config[worker]{Affinity: pool.Prefer}, a, b)
		var served []string
		do := func() {
			s, err := c.Do(t.Context(), "s", returning(nil))
			served = append(served, fmt.Sprintf("%s fresh=%v moved=%v from=%q passed=%v %v", s.Layer, s.Fresh, s.Moved, s.From, s.Passed, err))
		}
		do()
		do()
		a.set(closed)
		do()
		do()
		a.set(grants)
		do()
		b.set(closed)
		do()
		want := []string{
			`A fresh=true moved=false from="" passed=[] <nil>`,
			`A fresh=false moved=false from="" passed=[] <nil>`,
			`B fresh=true moved=true from="A" passed=[A: pool closed] <nil>`,
			`B fresh=false moved=false from="" passed=[] <nil>`,
			`B fresh=false moved=false from="" passed=[] <nil>`,
			`A fresh=true moved=true from="B" passed=[B: pool closed] <nil>`,
		}
		if !slices.Equal(served, want) {
			t.Errorf("served\n%s\nwant\n%s", strings.Join(served, "\n"), strings.Join(want, "\n"))
		}
		stat := c.Stat()
		if got, want := stat.Layers[0], (fallback.LayerStat{Name: "A", Served: 3, Failed: 1, Passed: 1}); got != want {
			t.Errorf("layer A: %+v, want %+v", got, want)
		}
		if got, want := stat.Layers[1], (fallback.LayerStat{Name: "B", Served: 3, Failed: 1, Passed: 1}); got != want {
			t.Errorf("layer B: %+v, want %+v", got, want)
		}
	})
}

// The refusals of real pools move calls, and traffic returns when they heal.
func TestRealPools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fakes := pooltest.NewFakes(t, 1)
		cfg := fakes.Config()
		cfg.MaxSize, cfg.MaxWaiters, cfg.AcquireTimeout = 1, 1, time.Second
		cfg.StartBackoff = pool.Backoff{Min: time.Second, Max: time.Second}
		pooltest.CheckLeaks(t) // after the histories are closed
		recordedNew := func(cfg pool.Config[*pooltest.Worker]) *recorded.Pool[*pooltest.Worker] {
			p, err := recorded.Open(t, cfg, func(cfg pool.Config[*pooltest.Worker]) (*pool.Pool[*pooltest.Worker], error) {
				return pooltest.New(t, cfg, pooltest.NoLeakCheck()).Pool, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		first := recordedNew(cfg)
		spare := pooltest.NewFakes(t, 1)
		cfg = spare.Config()
		cfg.MaxSize = 1
		second := recordedNew(cfg)
		c, err := fallback.New(fallback.Config[*pooltest.Worker]{Layers: []fallback.Layer[*pooltest.Worker]{
			{Name: "A", Pool: first, Breaker: fallback.Breaker{FailuresInRow: 3, OpenFor: time.Minute}}, {Name: "B", Pool: second},
		}})
		if err != nil {
			t.Fatal(err)
		}
		do := func(want string) {
			t.Helper()
			got, err := c.Do(t.Context(), "", func(_ context.Context, w *pooltest.Worker) error { return w.Use(nil) })
			if text := fmt.Sprintf("%s%v %v", got.Layer, got.Passed, err); text != want {
				t.Errorf("served %s, want %s", text, want)
			}
		}
		lease, err := c.Acquire(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		do("B[A: acquire timeout] <nil>")
		waiting := make(chan struct{})
		go func() {
			defer close(waiting)
			do("A[] <nil>")
		}()
		synctest.Wait()
		do("B[A: saturated] <nil>")
		lease.Release()
		<-waiting
		fakes.EveryStart(pooltest.Start{Err: errApp})
		fakes.Kill(first, lease.WorkerID())
		synctest.Wait()
		do("B[A: start failed] <nil>")
		do("B[A: start failed] <nil>")
		do("B[A: start failed] <nil>")
		do("B[A: breaker open] <nil>")
		fakes.EveryStart(pooltest.Start{})
		time.Sleep(time.Minute)
		do("A[] <nil>")
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		do("B[A: pool closed] <nil>")
	})
}
