package otelpool_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/otelpool"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

func TestMetricsSayWhatHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, d := range history(t, wired) {
			t.Error(d)
		}
	})
}

// The check of the metrics fails where the observer is wired wrongly.
func TestBrokenWiringIsFound(t *testing.T) {
	dropping := func(drop func(pool.Event) bool) func(*otelpool.Telemetry) func(pool.Event) {
		return func(tel *otelpool.Telemetry) func(pool.Event) {
			observe := tel.Observer(nil)
			return func(e pool.Event) {
				if !drop(e) {
					observe(e)
				}
			}
		}
	}
	wirings := map[string]func(*otelpool.Telemetry) func(pool.Event){
		"none": func(*otelpool.Telemetry) func(pool.Event) { return nil },
		"twice": func(tel *otelpool.Telemetry) func(pool.Event) {
			return tel.Observer(tel.Observer(nil))
		},
		"no errors": func(tel *otelpool.Telemetry) func(pool.Event) {
			observe := tel.Observer(nil)
			return func(e pool.Event) {
				e.Err = nil
				observe(e)
			}
		},
	}
	for _, kind := range []pool.EventKind{
		pool.WorkerStarting, pool.WorkerStarted, pool.WorkerStartFailed, pool.WorkerStopping, pool.CheckEnded,
		pool.AcquireRefused, pool.LeaseGranted, pool.LeaseEnded, pool.LeaseRevoked, pool.SessionLost,
	} {
		wirings["without "+kind.String()] = dropping(func(e pool.Event) bool { return e.Kind == kind })
	}
	for name, wire := range wirings {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				found := history(t, wire)
				if len(found) == 0 {
					t.Error("nothing differs from what should have been measured")
				}
				t.Log(found)
			})
		})
	}
}

// Observer passes every event on.
func TestObserverCallsTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var granted atomic.Int64
		b := newBench(t, otelpool.Config{}, func(tel *otelpool.Telemetry) func(pool.Event) {
			return tel.Observer(func(e pool.Event) {
				if e.Kind == pool.LeaseGranted {
					granted.Add(1)
				}
			})
		}, nil)
		b.do("", 0, nil)
		synctest.Wait()
		if got := values(t, b.reader)["poolproof.acquire.outcomes granted"]; granted.Load() != 1 || got != "1" {
			t.Errorf("told of %d grants, measured %q, want 1", granted.Load(), got)
		}
	})
}

// However events are ordered, each pair is measured once and nothing is kept.
func TestEventsInAnyOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var observe func(pool.Event)
		b := newBench(t, otelpool.Config{}, func(tel *otelpool.Telemetry) func(pool.Event) {
			observe = tel.Observer(nil)
			return nil
		}, nil)
		for worker := range pool.WorkerID(3) {
			for _, e := range []pool.Event{
				{Kind: pool.WorkerStarted, Seq: 2},
				{Kind: pool.WorkerStarting, Seq: 1},
				{Kind: pool.LeaseEnded, Seq: 4},
				{Kind: pool.LeaseEnded, Seq: 6},
				{Kind: pool.LeaseGranted, Seq: 3},
				{Kind: pool.LeaseGranted, Seq: 5},
				{Kind: pool.LeaseGranted, Seq: 7},
				{Kind: pool.LeaseEnded, Seq: 8},
			} {
				e.Worker = worker
				observe(e)
				time.Sleep(time.Second)
			}
		}
		want := map[string]string{
			"poolproof.worker.use_time": "9 in 3s", "poolproof.worker.create_time started": "3 in 0s",
			"poolproof.worker.starts started": "3", "poolproof.acquire.outcomes granted": "9",
		}
		got := pick(values(t, b.reader), "poolproof.worker.use", "poolproof.worker.create", "poolproof.worker.starts", "poolproof.acquire.outcomes")
		for _, d := range differences(got, want) {
			t.Error(d)
		}
		if n := b.Telemetry().Kept(); n != 0 {
			t.Errorf("%d events are kept, want none", n)
		}
	})
}

// Nothing of the workers and sessions that were is kept.
func TestBooksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, otelpool.Config{}, wired, nil)
		for range 200 {
			b.acquire("s").Discard(errApp)
			b.EndSession("s")
		}
		synctest.Wait()
		if n := b.Telemetry().Kept(); n != 0 {
			t.Errorf("%d events are kept after 200 workers, want none", n)
		}
		gate := pooltest.NewGate()
		b.fakes.EveryStart(pooltest.Start{Gate: gate})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b.refused(ctx, "", context.DeadlineExceeded)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := b.Telemetry().Kept(); n != 0 {
			t.Errorf("%d events are kept of a start that the close cut short, want none", n)
		}
		if got := values(t, b.reader); len(pick(got, "poolproof.worker.count")) != 0 {
			t.Errorf("the Stat of a closed pool is reported: %v", got)
		}
	})
}

func TestNewAndDefaults(t *testing.T) {
	if _, err := otelpool.New(otelpool.Config{}); err == nil {
		t.Error("New without a name: no error")
	}
	if _, err := otelpool.New(otelpool.Config{Name: "global"}); err != nil {
		t.Errorf("New with otel's global providers: %v", err)
	}
}
