package process_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// residentLimit is far above what a worker has resident that does nothing.
const residentLimit = 128 << 20

// playGlutton is a worker that takes memory, and keeps it.
func playGlutton(methods map[string]worker.Method) {
	var kept []byte
	methods["grow"] = worker.Func(func(_ context.Context, bytes int) (int, error) {
		kept = make([]byte, bytes)
		for i := 0; i < len(kept); i += 4 << 10 {
			kept[i] = 1
		}
		return len(kept), nil
	})
	methods["grow_later"] = worker.Func(func(_ context.Context, bytes int) (bool, error) {
		go func() {
			grown := make([]byte, bytes)
			for i := 0; i < len(grown); i += 4 << 10 {
				grown[i] = 1
			}
			kept = grown
		}()
		return true, nil
	})
	worker.Main(methods)
}

func checkResident(t *testing.T, err error, pid int) {
	t.Helper()
	var over *process.ResidentError
	if !errors.As(err, &over) || over.PID != pid || over.Bytes <= residentLimit || over.Limit != residentLimit ||
		errors.Is(err, process.ErrBroken) || !strings.Contains(err.Error(), "bytes of memory resident, limit 134217728") {
		t.Errorf("got %v, want a *ResidentError of pid %d above %d bytes", err, pid, residentLimit)
	}
}

func TestWorkerAboveItsResidentLimitIsNotUsable(t *testing.T) {
	for name, cfg := range map[string]process.Config{"plain": roleConfig("glutton"), "forked": forkedConfig(t, "glutton")} {
		t.Run(name, func(t *testing.T) {
			reports := make(chan error, 2)
			cfg.ResidentLimit, cfg.CloseGrace = residentLimit, patience
			cfg.OnExit = func(_ pool.WorkerID, cause error) { reports <- cause }
			w := start(t, cfg)
			if err := w.Call(t.Context(), "grow", 1<<20, nil); err != nil || !w.Usable() {
				t.Fatalf("usable %v within the limit, error %v", w.Usable(), err)
			}
			if err := w.Call(t.Context(), "grow", residentLimit*5/4, nil); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the worker is not usable", func() bool { return !w.Usable() })
			select {
			case err := <-reports:
				checkResident(t, err, w.PID())
			case <-time.After(patience):
				t.Fatal("nothing was reported")
			}
			if err := w.Ping(t.Context()); err != nil {
				t.Errorf("a worker above its limit answers %v", err)
			}
			if err := w.Stop(t.Context()); err != nil {
				t.Errorf("Stop: %v", err)
			}
			if len(reports) > 0 {
				t.Errorf("a second report: %v", <-reports)
			}
		})
	}
}

// TestPoolRetiresAWorkerAboveItsResidentLimit has one grow in a call, and one when it is
// idle.
func TestPoolRetiresAWorkerAboveItsResidentLimit(t *testing.T) {
	for _, method := range []string{"grow", "grow_later"} {
		t.Run(method, func(t *testing.T) {
			cfg := roleConfig("glutton")
			cfg.ResidentLimit = residentLimit
			var mu sync.Mutex
			causes := make(map[pool.WorkerID]error)
			p := newPool(t, cfg, pool.Config[*process.Worker]{MaxSize: 1, Observer: func(e pool.Event) {
				if e.Kind == pool.WorkerStopping {
					mu.Lock()
					defer mu.Unlock()
					causes[e.Worker] = e.Err
				}
			}})
			lease, err := p.AcquireSession(t.Context(), "s")
			if err != nil {
				t.Fatal(err)
			}
			id, pid := lease.WorkerID(), lease.Worker().PID()
			if err := lease.Worker().Call(t.Context(), method, residentLimit*5/4, nil); err != nil {
				t.Error(err)
			}
			lease.Release()
			eventually(t, "the session is lost", func() bool {
				lease, err := p.AcquireSession(t.Context(), "s")
				if err == nil {
					lease.Release()
				}
				return errors.Is(err, pool.ErrSessionLost)
			})
			eventually(t, "the observer is told of the stop", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return causes[id] != nil
			})
			mu.Lock()
			checkResident(t, causes[id], pid)
			mu.Unlock()
			if err := p.Do(t.Context(), "", func(ctx context.Context, w *process.Worker) error {
				if w.ID() == id {
					t.Error("the worker above its limit serves again")
				}
				return w.Ping(ctx)
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// BenchmarkUsable measures what is asked at each release.
func BenchmarkUsable(b *testing.B) {
	for name, limit := range map[string]int64{"limit=none": 0, "limit=resident": residentLimit} {
		b.Run(name, func(b *testing.B) {
			cfg := roleConfig("demo")
			cfg.ResidentLimit = limit
			w, err := process.Start(b.Context(), cfg, 1)
			if err != nil {
				b.Fatal(err)
			}
			defer w.Stop(context.Background())
			b.ReportAllocs()
			for b.Loop() {
				if !w.Usable() {
					b.Fatal("not usable")
				}
			}
		})
	}
}
