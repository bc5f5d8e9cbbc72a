package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// openPool makes a pool whose calls are recorded, and judged when the test has ended. Every
// pool of these tests is made here.
func openPool(t testing.TB, cfg process.Config, poolCfg pool.Config[*process.Worker]) (*recorded.Pool[*process.Worker], error) {
	t.Helper()
	return recorded.Open(t, poolCfg, func(poolCfg pool.Config[*process.Worker]) (*pool.Pool[*process.Worker], error) {
		return process.NewPool(cfg, poolCfg)
	})
}

// newPool makes a pool that is shut down when the test ends, after which nothing of its
// workers may be left.
func newPool(t *testing.T, cfg process.Config, poolCfg pool.Config[*process.Worker]) *recorded.Pool[*process.Worker] {
	t.Helper()
	if cfg.Fork == nil {
		checkLeftovers(t)
	}
	p, err := openPool(t, cfg, poolCfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return p
}

// layers are the ways to reach a demo worker.
func layers() map[string]process.Config {
	return map[string]process.Config{"process": roleConfig("demo"), "wire": demoConfig()}
}

func TestPoolServesSessions(t *testing.T) {
	for name, cfg := range layers() {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, cfg, pool.Config[*process.Worker]{MaxSize: 2})
			item := worker.Item{Session: "s", Key: "k", Value: json.RawMessage(`"v"`)}
			var got string
			for _, call := range []struct {
				method string
				result any
			}{{"put", nil}, {"get", &got}} {
				if err := p.Do(t.Context(), "s", func(ctx context.Context, w *process.Worker) error {
					return w.Call(ctx, call.method, item, call.result)
				}); err != nil {
					t.Fatal(err)
				}
			}
			if got != "v" {
				t.Errorf("got %q in the session, want v", got)
			}
			p.EndSession("s")
			eventually(t, "the worker has forgotten the session", func() bool {
				if err := p.Do(t.Context(), "", func(ctx context.Context, w *process.Worker) error {
					got = ""
					return w.Call(ctx, "get", item, &got)
				}); err != nil {
					t.Fatal(err)
				}
				return got == ""
			})
		})
	}
}

func TestCancelledCallCostsTheWorker(t *testing.T) {
	for name, cfg := range layers() {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, cfg, pool.Config[*process.Worker]{MaxSize: 1})
			lease, err := p.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			first := lease.WorkerID()
			if err := lease.Worker().Call(ctx, "sleep", map[string]int{"seconds": 600}, nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the deadline", err)
			}
			lease.Release()
			if lease, err = p.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer lease.Release()
			if lease.WorkerID() == first || !lease.Worker().Usable() {
				t.Errorf("worker %d after worker %d was cancelled, usable %v; want a fresh one",
					lease.WorkerID(), first, lease.Worker().Usable())
			}
		})
	}
}

func TestErrorReplyCostsNothing(t *testing.T) {
	p := newPool(t, roleConfig("demo"), pool.Config[*process.Worker]{MaxSize: 1})
	seen := make(map[pool.WorkerID]bool)
	for range 3 {
		lease, err := p.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen[lease.WorkerID()] = true
		var remote *process.RemoteError
		if err := lease.Worker().Call(t.Context(), "absent", nil, nil); !errors.As(err, &remote) {
			t.Errorf("got %v, want *RemoteError", err)
		}
		lease.Release()
	}
	if len(seen) != 1 {
		t.Errorf("workers %v served, want one alone", seen)
	}
}

func TestKilledWorkerLosesItsSessionAndIsReplaced(t *testing.T) {
	reported := make(chan pool.WorkerID, 1)
	cfg := roleConfig("demo")
	cfg.OnExit = func(id pool.WorkerID, _ error) { reported <- id }
	p := newPool(t, cfg, pool.Config[*process.Worker]{MinSize: 1, MaxSize: 1})
	lease, err := p.AcquireSession(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	victim, pid := lease.WorkerID(), lease.Worker().PID()
	lease.Release()
	syscall.Kill(pid, syscall.SIGKILL)
	select {
	case id := <-reported:
		if id != victim {
			t.Errorf("worker %d reported, want %d", id, victim)
		}
	case <-time.After(patience):
		t.Fatal("the exit was not reported")
	}
	if _, err := p.AcquireSession(t.Context(), "s"); !errors.Is(err, pool.ErrSessionLost) {
		t.Errorf("the session after the crash: %v, want ErrSessionLost", err)
	}
	if lease, err = p.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	if err := lease.Worker().Ping(t.Context()); err != nil || lease.WorkerID() == victim {
		t.Errorf("worker %d after worker %d crashed answers %v", lease.WorkerID(), victim, err)
	}
}

func TestTwoPoolsDoNotTouchEachOther(t *testing.T) {
	poolCfg := pool.Config[*process.Worker]{MinSize: 2, MaxSize: 2}
	first := newPool(t, roleConfig("demo"), poolCfg)
	if err := first.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	lease, err := first.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	instance := lease.Worker().Instance()

	second := newPool(t, roleConfig("family"), poolCfg)
	victim, err := second.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	syscall.Kill(victim.Worker().PID(), syscall.SIGKILL)
	<-victim.Worker().Done()
	victim.Release()
	if err := second.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := lease.Worker().Ping(t.Context()); err != nil || lease.Worker().Instance() != instance {
		t.Errorf("the first pool's worker answers %v", err)
	}
	if stat := first.Stat(); stat.Leased != 1 || stat.Idle+stat.Starting != 1 {
		t.Errorf("the first pool has %+v, want 1 worker leased and 1 idle", stat)
	}
}

func TestShutdownDuringStartLeavesNothing(t *testing.T) {
	cfg := roleConfig("mute")
	logged := newLog()
	cfg.Logger = logged.logger()
	p := newPool(t, cfg, pool.Config[*process.Worker]{MinSize: 2, MaxSize: 2})
	await(t, logged.has("loading"), "a process that hangs in its start")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.Shutdown(ctx)
}

// TestEarlyExitWaitsForThePool has the first worker exit before pool.New returns.
func TestEarlyExitWaitsForThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		reports := 0
		cfg := process.Config{
			Dial: func(context.Context, pool.WorkerID) (io.ReadWriteCloser, error) {
				host, remote := net.Pipe()
				go func() {
					defer remote.Close()
					s := &script{Conn: remote, frames: process.NewFrameReader(remote, 1000)}
					s.next()
					s.result(`{"protocol":1,"pid":1,"instance":"brief","methods":[]}`)
					time.Sleep(time.Second)
				}()
				return host, nil
			},
			OnExit: func(pool.WorkerID, error) {
				mu.Lock()
				defer mu.Unlock()
				reports++
			},
		}
		p, err := openPool(t, cfg, pool.Config[*process.Worker]{
			MinSize: 1, MaxSize: 1,
			Observer: func(e pool.Event) {
				if e.Seq == 1 {
					time.Sleep(time.Minute) // in pool.New, while the worker starts and exits
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		time.Sleep(time.Minute) // the last worker's other side comes to its end
		mu.Lock()
		defer mu.Unlock()
		if reports < 2 {
			t.Errorf("%d exits reported, want one for each worker", reports)
		}
	})
}

func TestPoolHooksRunAfterTheWorkersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checks, ends int
		p, err := openPool(t, demoConfig(), pool.Config[*process.Worker]{
			MaxSize:           1,
			HealthCheckPeriod: time.Second,
			Check:             func(context.Context, *process.Worker) error { checks++; return nil },
			Usable:            func(w *process.Worker) bool { return w.ID() != 1 },
			SessionEnded:      func(context.Context, *process.Worker, pool.SessionID) error { ends++; return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		for want := range pool.WorkerID(2) {
			lease, err := p.AcquireSession(t.Context(), pool.SessionID([]string{"a", "b"}[want]))
			if err != nil {
				t.Fatal(err)
			}
			if lease.WorkerID() != want+1 {
				t.Errorf("worker %d, want %d: the first is not usable twice", lease.WorkerID(), want+1)
			}
			lease.Release()
			synctest.Wait()
		}
		time.Sleep(3 * time.Second)
		p.EndSession("b")
		synctest.Wait()
		if checks == 0 || ends != 1 {
			t.Errorf("%d checks and %d ends of sessions, want some and 1", checks, ends)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestNewPoolValidates(t *testing.T) {
	start := func(context.Context, pool.WorkerID) (*process.Worker, error) { return nil, nil }
	for name, test := range map[string]struct {
		cfg     process.Config
		poolCfg pool.Config[*process.Worker]
	}{
		"process": {process.Config{}, pool.Config[*process.Worker]{}},
		"pool":    {demoConfig(), pool.Config[*process.Worker]{MinSize: 2, MaxSize: 1}},
		"start":   {demoConfig(), pool.Config[*process.Worker]{Start: start}},
	} {
		if p, err := openPool(t, test.cfg, test.poolCfg); p != nil || err == nil {
			t.Errorf("%s: got %v and error %v, want an error", name, p, err)
		}
	}
}
