package pooltest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
)

const soon = 50 * time.Millisecond // the deadline of waits that are meant to fail

func newPool(t testing.TB, size int, change func(*pool.Config[*pooltest.Worker]), opts ...pooltest.Option) (*pooltest.Pool[*pooltest.Worker], *pooltest.Fakes) {
	t.Helper()
	fakes := pooltest.NewFakes(t, size)
	cfg := fakes.Config()
	cfg.MaxSize = size
	if change != nil {
		change(&cfg)
	}
	return pooltest.New(t, cfg, opts...), fakes
}

func acquire(t testing.TB, p *pooltest.Pool[*pooltest.Worker], id pool.SessionID) pool.Lease[*pooltest.Worker] {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), pooltest.DefaultDeadline)
	defer cancel()
	l, err := p.AcquireSession(ctx, id)
	if err != nil {
		t.Fatalf("acquire of session %q: %v", id, err)
	}
	return l
}

func TestWaits(t *testing.T) {
	wantSuccess(t, func(t testing.TB) {
		p, fakes := newPool(t, 3, nil, pooltest.Monitored(time.Millisecond))
		if held := pooltest.Warm(t, p, 3); !slices.Equal(held, []pool.WorkerID{1, 2, 3}) {
			t.Errorf("Warm: %v, want workers 1 to 3", held)
		}
		pooltest.WaitIdle(t, p, 3)
		pooltest.WaitReady(t, p)
		if peak := fakes.Books().Peak; peak != 3 {
			t.Errorf("%d workers live at once, want 3", peak)
		}
		var leases []pool.Lease[*pooltest.Worker]
		for range 3 {
			leases = append(leases, acquire(t, p, ""))
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			acquire(t, p, "").Release()
		}()
		pooltest.WaitWaiting(t, p, 1)
		leases[0].Discard(errors.New("broken"))
		if started := pooltest.WaitStarted(t, p, 4); len(started) != 4 {
			t.Errorf("WaitStarted: %v, want 4 workers", started)
		}
		<-done
		leases[1].Release()
		leases[2].Release()
		p.Monitor().Stop()
		sum := p.Monitor().Summary()
		if sum.Samples < 2 || sum.Last.Goroutines == 0 || sum.Last.Descriptors == 0 || sum.Last.RSSBytes == 0 || sum.Last.Stat.Counts.Granted == 0 {
			t.Errorf("summary %+v, want figures", sum)
		}
		if text := sum.String(); !strings.Contains(text, "goroutines") {
			t.Errorf("summary %q", text)
		}
	})
}

func TestWaitsFailInTime(t *testing.T) {
	refuse := func(cfg *pool.Config[*pooltest.Worker]) {
		cfg.StartBackoff = pool.Backoff{Min: time.Hour, Max: time.Hour}
	}
	broken := errors.New("no such program")
	for name, body := range map[string]func(t testing.TB, p *pooltest.Pool[*pooltest.Worker], f *pooltest.Fakes){
		"Warm: 0 of 2 leases held at once": func(t testing.TB, p *pooltest.Pool[*pooltest.Worker], f *pooltest.Fakes) {
			f.EveryStart(pooltest.Start{Err: broken})
			pooltest.Warm(t, p, 2)
		},
		"Warm: 2 of 3 leases held at once": func(t testing.TB, p *pooltest.Pool[*pooltest.Worker], _ *pooltest.Fakes) {
			pooltest.Warm(t, p, 3, pooltest.Within(soon))
		},
		"WaitReady: WaitReady: 50ms have passed": func(t testing.TB, p *pooltest.Pool[*pooltest.Worker], f *pooltest.Fakes) {
			f.EveryStart(pooltest.Start{Gate: pooltest.NewGate()})
			pooltest.WaitReady(t, p)
		},
		"WaitStarted: 1 workers started: not within 50ms": func(t testing.TB, p *pooltest.Pool[*pooltest.Worker], _ *pooltest.Fakes) {
			pooltest.WaitStarted(t, p, 1)
		},
		"WaitIdle: 1 workers idle: not within 50ms: got 0": func(t testing.TB, p *pooltest.Pool[*pooltest.Worker], _ *pooltest.Fakes) {
			pooltest.WaitIdle(t, p, 1)
		},
		"WaitWaiting: 1 acquires parked: not within 50ms": func(t testing.TB, p *pooltest.Pool[*pooltest.Worker], _ *pooltest.Fakes) {
			pooltest.WaitWaiting(t, p, 1)
		},
	} {
		wantFailure(t, func(t testing.TB) {
			p, fakes := newPool(t, 2, refuse, pooltest.Within(soon))
			body(t, p, fakes)
		}, name)
	}
}

func TestNewInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, fakes := newPool(t, 2, nil)
		fakes.EveryStart(pooltest.Start{Delay: time.Second})
		pooltest.Warm(t, p, 2)
	})
}

func TestNewRefusesABadConfig(t *testing.T) {
	wantFailure(t, func(t testing.TB) { pooltest.New(t, pool.Config[int]{}) }, "Start is nil")
}

func TestNamesDiffer(t *testing.T) {
	a, _ := newPool(t, 1, nil)
	b, _ := newPool(t, 1, nil)
	if a.Name() == b.Name() || !strings.Contains(a.Name(), t.Name()) {
		t.Errorf("names %q and %q, want different ones with the test's name", a.Name(), b.Name())
	}
}

func TestNewReportsALeaseThatIsOut(t *testing.T) {
	wantFailure(t, func(t testing.TB) {
		p, fakes := newPool(t, 1, nil, pooltest.Within(soon))
		fakes.Revoking()
		acquire(t, p, "")
	}, "want every lease released", "leases revoked on workers [1]")
}

func TestNewReportsAHookThatHangs(t *testing.T) {
	gate := pooltest.NewGate()
	wantFailure(t, func(t testing.TB) {
		p, fakes := newPool(t, 1, func(cfg *pool.Config[*pooltest.Worker]) { cfg.StopTimeout = soon }, pooltest.NoLeakCheck())
		fakes.EveryStart(pooltest.Start{Stop: pooltest.Stop{Gate: gate, Stuck: true}})
		pooltest.Warm(t, p, 1)
		if err := p.Close(); err == nil {
			t.Errorf("Close with a stuck Stop: no error")
		}
	}, "Stop of worker 1 has not returned", "I13: 1 workers or starts are left")
	gate.Open()
}

func TestNewAcceptsAForcedShutdown(t *testing.T) {
	wantSuccess(t, func(t testing.TB) {
		p, _ := newPool(t, 1, nil)
		acquire(t, p, "")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := p.Shutdown(ctx); err == nil {
			t.Errorf("forced Shutdown: no error")
		}
	})
}

func TestNewNoticesAWrongEvent(t *testing.T) {
	wantFailure(t, func(t testing.TB) {
		cfg := pool.Config[int]{Start: func(context.Context, pool.WorkerID) (int, error) { return 1, nil }, MaxSize: 1}
		p := pooltest.New(t, cfg)
		p.Tell(pool.Event{Kind: pool.WorkerStarted, Worker: 7})
	}, "worker 7 is said to have started")
}

func TestCheckLeaksFindsGoroutines(t *testing.T) {
	stop := make(chan struct{})
	wantFailure(t, func(t testing.TB) {
		pooltest.CheckLeaks(t)
		go func() { <-stop }()
	}, "leak: goroutines")
	close(stop)
}

func TestCheckLeaksFindsDescriptors(t *testing.T) {
	var file *os.File
	wantFailure(t, func(t testing.TB) {
		pooltest.CheckLeaks(t)
		var err error
		if file, err = os.Open(os.DevNull); err != nil {
			t.Fatalf("open: %v", err)
		}
	}, "leak: descriptor", os.DevNull)
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}

func TestCheckLeaksFindsChildProcesses(t *testing.T) {
	var cmd *exec.Cmd
	wantFailure(t, func(t testing.TB) {
		pooltest.CheckLeaks(t)
		cmd = exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatalf("start: %v", err)
		}
	}, "leak: child process", "sleep")
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
}

func TestCheckLeaksForgivesWhatEnds(t *testing.T) {
	wantSuccess(t, func(t testing.TB) {
		pooltest.CheckLeaks(t)
		ended := make(chan struct{})
		go func() { close(ended) }()
		<-ended
		if err := exec.Command("true").Run(); err != nil {
			t.Fatalf("true: %v", err)
		}
	})
}
