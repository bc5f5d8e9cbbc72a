package process_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// parent returns the PID of a process's parent.
func parent(t *testing.T, pid int) (ppid int) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	if _, err := fmt.Sscanf(after[1:], "%d", &ppid); err != nil {
		t.Fatal(err)
	}
	return ppid
}

func TestForkedWorkersAnswer(t *testing.T) {
	cfg := forkedConfig(t, "demo")
	if pid := cfg.Fork.PID(); pid != 0 {
		t.Errorf("the fork server has PID %d before its first use", pid)
	}
	var workers []*process.Worker
	for range 3 {
		before := descriptors(t)
		w := start(t, cfg)
		workers = append(workers, w)
		var pid int
		if err := w.Call(t.Context(), "pid", nil, &pid); err != nil || pid != w.PID() || parent(t, pid) != cfg.Fork.PID() {
			t.Errorf("pid: got %d, error %v; want %d, a child of %d", pid, err, w.PID(), cfg.Fork.PID())
		}
		if got := len(descriptors(t)) - len(before); len(workers) > 1 && got != 4 {
			t.Errorf("%d descriptors more than before, want 4: requests, replies, output and the process", got)
		}
	}
	for _, w := range workers {
		checkSession(t, w)
		if err := w.Stop(t.Context()); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if alive(w.PID()) {
			t.Errorf("process %d is alive after Stop", w.PID())
		}
	}
	if err := cfg.Fork.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestForkedCrashIsReportedWithItsCause(t *testing.T) {
	cfg := forkedConfig(t, "demo")
	for name, test := range map[string]struct {
		crash func(w *process.Worker) error
		want  process.ExitError
	}{
		"exit in a call": {
			func(w *process.Worker) error {
				return w.Call(context.Background(), "crash", map[string]int{"code": 3}, nil)
			},
			process.ExitError{Kind: process.ExitCode, Code: 3},
		},
		"killed when idle": {
			func(w *process.Worker) error {
				syscall.Kill(w.PID(), syscall.SIGKILL)
				<-w.Done()
				return w.Call(context.Background(), "echo", "x", nil)
			},
			process.ExitError{Kind: process.ExitSignal, Signal: syscall.SIGKILL},
		},
	} {
		t.Run(name, func(t *testing.T) {
			reports := make(chan error, 2)
			cfg := cfg
			cfg.OnExit = func(_ pool.WorkerID, cause error) { reports <- cause }
			w := start(t, cfg)
			checkExit(t, "Call", test.crash(w), test.want)
			select {
			case report := <-reports:
				checkExit(t, "OnExit", report, test.want)
			case <-time.After(patience):
				t.Fatal("the crash was not reported")
			}
			await(t, w.Done(), "Done")
		})
	}
}

func TestForkedStopLadder(t *testing.T) {
	killed := &process.ExitError{Kind: process.ExitSignal, Signal: syscall.SIGKILL}
	for _, test := range []struct {
		role  string
		first syscall.Signal
		want  *process.ExitError
	}{{"demo", 0, nil}, {"endless", 0, nil}, {"termless", 0, killed}, {"demo", syscall.SIGSTOP, killed}} {
		t.Run(fmt.Sprint(test.role, test.first), func(t *testing.T) {
			cfg := forkedConfig(t, test.role)
			cfg.CloseGrace, cfg.TermGrace = 50*time.Millisecond, 50*time.Millisecond
			if test.want == nil {
				cfg.TermGrace = patience
			}
			w := start(t, cfg)
			if test.first != 0 {
				syscall.Kill(w.PID(), test.first)
				eventually(t, "the signal is taken", func() bool { return stopped(t, w.PID()) })
			}
			if err := w.Stop(t.Context()); test.want != nil {
				checkExit(t, "Stop", err, *test.want)
			} else if err != nil {
				t.Errorf("Stop: %v", err)
			}
			if alive(w.PID()) {
				t.Errorf("process %d is alive after Stop", w.PID())
			}
		})
	}
}

// stopped reports whether all threads of a process are stopped.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads of process %d: %v, %v", pid, threads, err)
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if _, state, _ := strings.Cut(string(stat), ") "); err != nil || !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

func TestForkedGroupDiesWithTheWorker(t *testing.T) {
	cfg := forkedConfig(t, "family")
	for name, end := range map[string]func(w *process.Worker){
		"stopped": func(w *process.Worker) { w.Stop(context.Background()) },
		"crashed": func(w *process.Worker) { syscall.Kill(w.PID(), syscall.SIGKILL) },
		"server crashed": func(w *process.Worker) {
			syscall.Kill(cfg.Fork.PID(), syscall.SIGKILL)
		},
	} {
		w := start(t, cfg)
		var child int
		if err := w.Call(t.Context(), "child", nil, &child); err != nil {
			t.Fatal(err)
		}
		end(w)
		await(t, w.Done(), "Done")
		eventually(t, name+": the worker's child is gone", func() bool { return !alive(child) })
	}
}

func TestForkServersEndIsItsWorkers(t *testing.T) {
	cfg := forkedConfig(t, "termless")
	reports := make(chan error, 3)
	cfg.OnExit = func(_ pool.WorkerID, cause error) { reports <- cause }
	var workers []*process.Worker
	for range 3 {
		workers = append(workers, start(t, cfg))
	}
	first := cfg.Fork.PID()
	syscall.Kill(first, syscall.SIGKILL)
	for _, w := range workers {
		var exit, server *process.ExitError
		select {
		case err := <-reports:
			if !errors.As(err, &exit) || exit.Kind != process.ExitForkServer || !errors.As(exit.Server, &server) ||
				server.ID != 0 || server.PID != first || server.Signal != syscall.SIGKILL {
				t.Errorf("got %v, want an exit because of the fork server's, by SIGKILL", err)
			}
		case <-time.After(patience):
			t.Fatal("a worker's end was not reported")
		}
		await(t, w.Done(), "Done")
		if alive(w.PID()) {
			t.Errorf("worker %d outlives its fork server", w.PID())
		}
	}
	w := start(t, cfg)
	if again := cfg.Fork.PID(); again == first || parent(t, w.PID()) != again {
		t.Errorf("the next worker, %d, has parent %d; want a new fork server, %d", w.PID(), parent(t, w.PID()), again)
	}
}

func TestBadForkServersFailTheStart(t *testing.T) {
	exited := func(kind process.ExitKind, code int) func(error) bool {
		return func(err error) bool {
			var exit *process.ExitError
			return errors.As(err, &exit) && exit.ID == 0 && exit.Kind == kind && exit.Code == code
		}
	}
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	for role, test := range map[string]struct {
		match func(error) bool
		says  string
	}{
		"forker-stillborn": {exited(process.ExitCode, 7), `exited with code 7; its last output: "no such module"`},
		"forker-mute":      {func(error) bool { return true }, `not ready after 300ms; its last output: "importing"`},
		"forker-old": {func(err error) bool {
			var version *process.VersionError
			return errors.As(err, &version) && version.Got == 99
		}, "speaks protocol version 99"},
		"forker-babbling":  {is(process.ErrProtocol), "malformed packet"},
		"forker-unknown":   {is(process.ErrProtocol), `unknown packet of the fork server: "{\"hello`},
		"forker-twice":     {is(process.ErrProtocol), "ready twice"},
		"forker-unasked":   {is(process.ErrProtocol), "key 9, which it was not asked"},
		"forker-refusing":  {func(error) bool { return true }, `fork server: "no memory"`},
		"forker-bare":      {is(process.ErrProtocol), "sent 0 descriptors"},
		"forker-lying":     {is(process.ErrProtocol), "is not its pidfd"},
		"forker-confused":  {is(process.ErrProtocol), "which it was not asked"},
		"forker-crashing":  {exited(process.ExitCode, 3), "exited with code 3"},
		"forker-stuck":     {func(error) bool { return true }, "did not answer within 300ms"},
		"forker-departing": {is(process.ErrProtocol), "closed its socket and lives on"},
	} {
		t.Run(role, func(t *testing.T) {
			checkLeftovers(t)
			server := forkServer(t, role, "demo", func(cfg *process.ForkConfig) {
				switch role {
				case "forker-mute":
					cfg.StartTimeout = 300 * time.Millisecond
				case "forker-stuck":
					cfg.AnswerTimeout = 300 * time.Millisecond
				}
			})
			w, err := process.Start(t.Context(), process.Config{Fork: server}, 4)
			var launch *process.LaunchError
			if w != nil || !errors.As(err, &launch) || launch.ID != 4 || !test.match(err) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want *LaunchError of worker 4 that says %q", err, test.says)
			}
		})
	}
}

func TestForkServerThatCannotBeLaunched(t *testing.T) {
	checkLeftovers(t)
	server := forkServer(t, "", "", func(cfg *process.ForkConfig) { cfg.Command = []string{"/no/such/program"} })
	for range 2 {
		if _, err := process.Start(t.Context(), process.Config{Fork: server}, 1); !errors.Is(err, fs.ErrNotExist) ||
			!strings.Contains(err.Error(), "worker 1 not launched") || !strings.Contains(err.Error(), "fork server not launched") {
			t.Errorf("got %v, want that worker and fork server were not launched", err)
		}
	}
}

func TestStartFromAStuckForkServerMindsItsContext(t *testing.T) {
	checkLeftovers(t)
	for role, change := range map[string]string{"forker-stuck": "answer", "forker-mute": "ready"} {
		server := forkServer(t, role, "demo", nil)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		cfg := process.Config{Fork: server, KillGrace: 50 * time.Millisecond}
		if _, err := process.Start(ctx, cfg, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no %s: got %v, want the deadline", change, err)
		}
	}
}

func TestForkServerClose(t *testing.T) {
	t.Run("unused", func(t *testing.T) {
		server := forkServer(t, "forker", "demo", nil)
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if _, err := process.Start(t.Context(), process.Config{Fork: server}, 1); !errors.Is(err, process.ErrForkServerClosed) {
			t.Errorf("Start after Close: %v, want ErrForkServerClosed", err)
		}
	})
	t.Run("with workers", func(t *testing.T) {
		cfg := forkedConfig(t, "termless")
		w, other := start(t, cfg), start(t, cfg)
		var closing sync.WaitGroup
		for range 2 {
			closing.Go(func() {
				if err := cfg.Fork.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		}
		closing.Wait()
		if alive(w.PID()) || alive(other.PID()) || cfg.Fork.PID() != 0 {
			t.Error("workers or the server outlive Close")
		}
		if err := w.Call(t.Context(), "echo", "x", nil); !errors.Is(err, process.ErrForkServerClosed) {
			t.Errorf("got %v, want ErrForkServerClosed as the cause of the worker's end", err)
		}
	})
	t.Run("by SIGKILL", func(t *testing.T) {
		checkLeftovers(t)
		cfg := process.Config{Fork: forkServer(t, "forker-termless", "demo", func(cfg *process.ForkConfig) {
			cfg.CloseGrace, cfg.TermGrace = 50*time.Millisecond, 50*time.Millisecond
		})}
		w := start(t, cfg)
		checkExit(t, "Stop", cfg.Fork.Close(), process.ExitError{Kind: process.ExitSignal, Signal: syscall.SIGKILL})
		if alive(w.PID()) {
			t.Error("a worker outlives Close")
		}
	})
}

// TestPoolRecoversFromTheForkServersDeath kills the server under load, again and again.
func TestPoolRecoversFromTheForkServersDeath(t *testing.T) {
	cfg := forkedConfig(t, "demo")
	p := newPool(t, cfg, pool.Config[*process.Worker]{
		MaxSize: 3, StartBackoff: pool.Backoff{Min: time.Millisecond, Max: time.Millisecond},
	})
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	served := make(chan int, 6)
	for range cap(served) {
		clients.Go(func() {
			for ctx.Err() == nil {
				err := p.Do(ctx, "", func(ctx context.Context, w *process.Worker) error {
					var pid int
					if err := w.Call(ctx, "pid", nil, &pid); err != nil {
						return err
					}
					select {
					case served <- parent(t, pid):
					default:
					}
					return nil
				})
				var failure *pool.StartError
				if err != nil && ctx.Err() == nil && !errors.Is(err, process.ErrBroken) && !errors.As(err, &failure) {
					t.Errorf("got %v, want ErrBroken or *StartError", err)
				}
			}
		})
	}
	var killed []int
	for range 3 {
		var server int
		eventually(t, "a worker of a new fork server serves", func() bool {
			server = <-served
			return server == cfg.Fork.PID() && !slices.Contains(killed, server)
		})
		syscall.Kill(server, syscall.SIGKILL)
		killed = append(killed, server)
	}
	cancel()
	clients.Wait()
}
