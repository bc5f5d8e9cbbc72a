package process_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

func TestProcessAnswersCalls(t *testing.T) {
	for _, stdio := range []bool{false, true} {
		t.Run("stdio="+strconv.FormatBool(stdio), func(t *testing.T) {
			cfg := roleConfig("demo")
			cfg.Stdio = stdio
			w := start(t, cfg)
			var pid int
			if err := w.Call(t.Context(), "pid", nil, &pid); err != nil || pid != w.PID() {
				t.Errorf("pid: got %d, error %v; want %d", pid, err, w.PID())
			}
			want := strings.Repeat("payload ", 1<<18)
			var got string
			if err := w.Call(t.Context(), "echo", want, &got); err != nil || got != want {
				t.Errorf("echo of %d bytes: got %d, error %v", len(want), len(got), err)
			}
			checkSession(t, w)
			if err := w.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			if err := w.Stop(t.Context()); err != nil {
				t.Errorf("Stop: %v", err)
			}
			if alive(w.PID()) {
				t.Errorf("process %d is alive after Stop", w.PID())
			}
			if err := w.Stop(t.Context()); err != nil {
				t.Errorf("second Stop: %v", err)
			}
		})
	}
}

func TestWorkerThatExitsBeforeHelloFailsTheStart(t *testing.T) {
	checkLeftovers(t)
	_, err := process.Start(t.Context(), roleConfig("stillborn"), 5)
	var exit *process.ExitError
	if !errors.As(err, &exit) || exit.Kind != process.ExitCode || exit.Code != 7 || exit.ID != 5 {
		t.Fatalf("got %v, want exit code 7 of worker 5", err)
	}
	if !strings.Contains(err.Error(), "no licence found") {
		t.Errorf("message %q lacks the process's last words", err)
	}
}

// TestExitComesWithAllOfTheOutput has a slow logger, so that the process is dead before its
// output is read.
func TestExitComesWithAllOfTheOutput(t *testing.T) {
	cfg := roleConfig("demo")
	cfg.Command = []string{"sh", "-c", "echo one >&2; echo two >&2; echo last words >&2; exit 4"}
	checkLeftovers(t)
	cfg.Logger = slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		eventually(t, "the process is dead", func() bool {
			return !slices.ContainsFunc(children(t), func(pid string) bool { n, _ := strconv.Atoi(pid); return alive(n) })
		})
		return len(p), nil
	}), nil))
	_, err := process.Start(t.Context(), cfg, 1)
	var exit *process.ExitError
	if !errors.As(err, &exit) || exit.Code != 4 || exit.Output != "one\ntwo\nlast words\n" {
		t.Errorf("got %#v in %v, want exit code 4 with all of the output", exit, err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRunningWorkerCostsFourDescriptors(t *testing.T) {
	checkLeftovers(t)
	before := descriptors(t)
	w := start(t, roleConfig("demo"))
	if got := len(descriptors(t)) - len(before); got != 4 {
		t.Errorf("%d descriptors more than before, want 4: requests, replies, output and the process", got)
	}
	if err := w.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestHangingHelloIsKilled(t *testing.T) {
	checkLeftovers(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	cfg := roleConfig("mute")
	logged := newLog()
	cfg.Logger = logged.logger()
	cause := errors.New("took too long")
	go func() {
		<-logged.has("loading")
		cancel(cause)
	}()
	_, err := process.Start(ctx, cfg, 1)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "loading") {
		t.Errorf("got %v, want the context's cause and the process's last words", err)
	}
}

func TestStartFailuresLeaveNothing(t *testing.T) {
	checkLeftovers(t)
	for name, cfg := range map[string]process.Config{
		"no such program":    {Command: []string{"/no/such/program"}},
		"not executable":     {Command: []string{"/etc/passwd"}},
		"no such directory":  {Command: []string{self()}, Dir: "/no/such/directory"},
		"not a worker":       {Command: []string{"true"}},
		"prints on channel":  {Command: []string{"echo", "loading model, please wait"}, Stdio: true},
		"nothing configured": {},
	} {
		if w, err := process.Start(t.Context(), cfg, 1); w != nil || err == nil {
			t.Errorf("%s: got worker %v, error %v; want an error", name, w, err)
		}
	}
}

// logRecorder collects log lines.
type logRecorder struct {
	mu      sync.Mutex
	lines   []string // guarded by mu
	waiting map[string]chan struct{}
}

func newLog() *logRecorder { return &logRecorder{waiting: make(map[string]chan struct{})} }

func (l *logRecorder) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logRecorder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := string(p)
	l.lines = append(l.lines, line)
	for text, found := range l.waiting {
		if strings.Contains(line, text) {
			close(found)
			delete(l.waiting, text)
		}
	}
	return len(p), nil
}

// has returns a channel that is closed once a line contains text.
func (l *logRecorder) has(text string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := make(chan struct{})
	if slices.ContainsFunc(l.lines, func(line string) bool { return strings.Contains(line, text) }) {
		close(found)
	} else {
		l.waiting[text] = found
	}
	return found
}

func TestNoiseNeverShiftsAFrame(t *testing.T) {
	for _, stdio := range []bool{false, true} {
		t.Run("stdio="+strconv.FormatBool(stdio), func(t *testing.T) {
			cfg := roleConfig("noisy")
			if stdio {
				// In this mode a worker may print only once it has claimed the channel.
				cfg.Env[0] = roleVariable + "=noisy-stdio"
			}
			cfg.Stdio = stdio
			logged := newLog()
			cfg.Logger, cfg.LogRate = logged.logger(), math.MaxInt
			w := start(t, cfg)
			const lines = 50_000 // megabytes: far more than a pipe holds
			if err := w.Call(t.Context(), "noise", lines, nil); err != nil {
				t.Fatal(err)
			}
			var got string
			if err := w.Call(t.Context(), "echo", "intact", &got); err != nil || got != "intact" {
				t.Errorf("after the noise: got %q, error %v", got, err)
			}
			await(t, logged.has(fmt.Sprintf(`worker=1 pid=%d line="error line %d"`, w.PID(), lines-1)), "the last line on standard error")
			await(t, logged.has(fmt.Sprintf(`line="stray line %d `, lines-1)), "the last line on standard output")
		})
	}
}

func TestCrashIsReportedWithItsCause(t *testing.T) {
	for name, test := range map[string]struct {
		crash func(w *process.Worker) error
		want  process.ExitError
		idle  bool
	}{
		"exit in a call": {
			crash: func(w *process.Worker) error {
				return w.Call(context.Background(), "crash", map[string]int{"code": 3}, nil)
			},
			want: process.ExitError{Kind: process.ExitCode, Code: 3},
		},
		"killed in a call": {
			crash: func(w *process.Worker) error {
				called := make(chan error)
				go func() { called <- w.Call(context.Background(), "sleep", map[string]int{"seconds": 600}, nil) }()
				for w.Usable() {
					runtime.Gosched()
				}
				syscall.Kill(w.PID(), syscall.SIGKILL)
				return <-called
			},
			want: process.ExitError{Kind: process.ExitSignal, Signal: syscall.SIGKILL},
		},
		"killed when idle": {
			crash: func(w *process.Worker) error {
				syscall.Kill(w.PID(), syscall.SIGKILL)
				<-w.Done()
				return w.Call(context.Background(), "echo", "x", nil)
			},
			want: process.ExitError{Kind: process.ExitSignal, Signal: syscall.SIGKILL},
		},
	} {
		t.Run(name, func(t *testing.T) {
			reports := make(chan error, 2)
			cfg := roleConfig("demo")
			cfg.OnExit = func(_ pool.WorkerID, cause error) { reports <- cause }
			w := start(t, cfg)
			err := test.crash(w)
			select {
			case report := <-reports:
				checkExit(t, "OnExit", report, test.want)
			case <-time.After(patience):
				t.Fatal("the crash was not reported")
			}
			checkExit(t, "Call", err, test.want)
			if w.Usable() {
				t.Error("usable after a crash")
			}
			await(t, w.Done(), "Done")
			if err := w.Stop(t.Context()); err != nil {
				t.Errorf("Stop of a worker that is gone: %v", err)
			}
			if len(reports) > 0 {
				t.Errorf("a second report: %v", <-reports)
			}
		})
	}
}

func checkExit(t *testing.T, who string, err error, want process.ExitError) {
	t.Helper()
	var exit *process.ExitError
	if !errors.As(err, &exit) || exit.Kind != want.Kind || exit.Code != want.Code || exit.Signal != want.Signal {
		t.Errorf("%s: got %v, want exit %v with code %d and signal %v", who, err, want.Kind, want.Code, want.Signal)
	}
	if who != "Stop" && !errors.Is(err, process.ErrBroken) {
		t.Errorf("%s: %v does not wrap ErrBroken", who, err)
	}
}

func TestStopLadder(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, test := range []struct {
		name string
		ctx  context.Context
		role string
		want *process.ExitError // nil: in good order
	}{
		{"end of file is enough", context.Background(), "demo", nil},
		{"SIGTERM is enough", context.Background(), "endless", nil},
		{"SIGKILL is needed", context.Background(), "termless", &process.ExitError{Kind: process.ExitSignal, Signal: syscall.SIGKILL}},
		{"no time left", cancelled, "termless", &process.ExitError{Kind: process.ExitSignal, Signal: syscall.SIGKILL}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := roleConfig(test.role)
			cfg.TermGrace = 50 * time.Millisecond
			switch {
			case test.role == "endless":
				cfg.CloseGrace, cfg.TermGrace = 50*time.Millisecond, patience
			case test.role == "demo":
				cfg.CloseGrace = patience
			case test.ctx == cancelled:
				cfg.CloseGrace, cfg.TermGrace = time.Hour, time.Hour
			default:
				cfg.CloseGrace = 50 * time.Millisecond
			}
			w := start(t, cfg)
			err := w.Stop(test.ctx)
			if test.want == nil && err != nil {
				t.Errorf("Stop: %v", err)
			}
			if test.want != nil {
				checkExit(t, "Stop", err, *test.want)
			}
			if alive(w.PID()) {
				t.Errorf("process %d is alive after Stop", w.PID())
			}
			await(t, w.Done(), "Done")
		})
	}
}

func TestStopJumpsToKillWhenItsContextEnds(t *testing.T) {
	cfg := roleConfig("termless")
	cfg.CloseGrace, cfg.TermGrace = time.Hour, time.Hour
	w := start(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	checkExit(t, "Stop", w.Stop(ctx), process.ExitError{Kind: process.ExitSignal, Signal: syscall.SIGKILL})
}

func TestStopOfABusyWorkerDoesNotWaitForItsCall(t *testing.T) {
	cfg := roleConfig("endless")
	cfg.CloseGrace = time.Hour
	w := start(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	called := make(chan error)
	go func() { called <- w.Call(ctx, "sleep", map[string]int{"seconds": 600}, nil) }()
	for w.Usable() {
		runtime.Gosched()
	}
	cancel()
	if err := <-called; !errors.Is(err, context.Canceled) || !errors.Is(err, process.ErrBroken) {
		t.Errorf("got %v, want ErrBroken because of context.Canceled", err)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

func TestStoppedProcessIsKilled(t *testing.T) {
	cfg := roleConfig("demo")
	cfg.CloseGrace, cfg.TermGrace = 20*time.Millisecond, 20*time.Millisecond
	w := start(t, cfg)
	if err := syscall.Kill(w.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the signal is taken", func() bool { return stopped(t, w.PID()) })
	checkExit(t, "Stop", w.Stop(t.Context()), process.ExitError{Kind: process.ExitSignal, Signal: syscall.SIGKILL})
}

func TestGroupDiesWithTheWorker(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, w *process.Worker){
		"stopped": func(t *testing.T, w *process.Worker) {
			if err := w.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"crashed": func(_ *testing.T, w *process.Worker) {
			syscall.Kill(w.PID(), syscall.SIGKILL)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, roleConfig("family"))
			var child int
			if err := w.Call(t.Context(), "child", nil, &child); err != nil {
				t.Fatal(err)
			}
			if !alive(child) {
				t.Fatalf("the worker's child %d is not alive before the end", child)
			}
			end(t, w)
			await(t, w.Done(), "Done")
			eventually(t, "the worker's child is gone", func() bool { return !alive(child) })
		})
	}
}

func TestNoWorkerOutlivesAKilledHost(t *testing.T) {
	checkLeftovers(t)
	host := exec.Command(self())
	host.Env = []string{roleVariable + "=host"}
	host.Stderr = os.Stderr
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var pids []int
	if err == nil {
		err = json.Unmarshal(line, &pids)
	}
	if err != nil || len(pids) != 3 || slices.ContainsFunc(pids, func(pid int) bool { return !alive(pid) }) {
		t.Errorf("the host says %q, error %v; want the PIDs of 3 live workers", line, err)
	}
	host.Process.Kill()
	host.Wait()
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("worker %d is gone", pid), func() bool { return !alive(pid) })
	}
}

func TestWorkerOutlivesTheHostsOtherThreads(t *testing.T) {
	w := start(t, roleConfig("demo"))
	var ended sync.WaitGroup
	for range 32 {
		ended.Go(func() {
			runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		})
	}
	ended.Wait()
	if err := w.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestProcessGetsOnlyTheEnvironmentItNeeds(t *testing.T) {
	t.Setenv("SECRET", "host only")
	w := start(t, roleConfig("nosy"))
	var got given
	if err := w.Call(t.Context(), "given", nil, &got); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.Env)
	if want := []string{raceVariable, "PATH=" + os.Getenv("PATH"), roleVariable + "=nosy"}; !slices.Equal(got.Env, want) {
		t.Errorf("environment %q, want %q", got.Env, want)
	}
}

func TestWorkersOfOneHostDoNotTouchEachOther(t *testing.T) {
	survivor := start(t, roleConfig("demo"))
	instance := survivor.Instance()
	for range 3 {
		victim := start(t, roleConfig("family"))
		if victim.Instance() == instance {
			t.Fatal("two workers have one instance token")
		}
		syscall.Kill(victim.PID(), syscall.SIGKILL)
		await(t, victim.Done(), "the victim's end")
		victim.Stop(t.Context())
	}
	if err := survivor.Ping(t.Context()); err != nil || survivor.Instance() != instance {
		t.Errorf("the survivor answers %v", err)
	}
}
