package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// stateOf returns the state letter of a worker's process.
func stateOf(t *testing.T, w *process.Worker) (state string) {
	t.Helper()
	if err := w.Hold(func(pid int) error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, after, _ := strings.Cut(string(stat), ") ")
		state = after[:min(1, len(after))]
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return state
}

// TestSignalsReachTheProcessAlone stops and kills a worker that has a child.
func TestSignalsReachTheProcessAlone(t *testing.T) {
	checkLeftovers(t)
	for name, cfg := range map[string]process.Config{
		"plain":  roleConfig("family"),
		"forked": forkedConfig(t, "family"),
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, cfg)
			var child int
			if err := w.Call(t.Context(), "child", nil, &child); err != nil {
				t.Fatal(err)
			}
			if exit := w.Exit(); exit != nil {
				t.Errorf("a live process is said to have ended: %v", exit)
			}
			if err := w.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the process has stopped", func() bool { return stateOf(t, w) == "T" })
			if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child)); err != nil || strings.Contains(string(stat), ") T") {
				t.Errorf("its child has %q, error %v; want it to go on", stat, err)
			}
			if err := w.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			if err := w.Ping(t.Context()); err != nil {
				t.Errorf("after it was continued: %v", err)
			}
			if err := w.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			await(t, w.Done(), "the worker's end")
			if exit := w.Exit(); exit == nil || exit.Kind != process.ExitSignal || exit.Signal != syscall.SIGKILL {
				t.Errorf("got %v, want death by SIGKILL", exit)
			}
			called := false
			hold := w.Hold(func(int) error { called = true; return nil })
			if signal := w.Signal(syscall.SIGKILL); !errors.Is(signal, os.ErrProcessDone) || !errors.Is(hold, os.ErrProcessDone) || called {
				t.Errorf("once it is gone Signal says %v and Hold %v, calling %v; want os.ErrProcessDone of both", signal, hold, called)
			}
		})
	}
}

// TestHoldKeepsTheNumber kills a process and sees that it is not reaped while it is held.
func TestHoldKeepsTheNumber(t *testing.T) {
	w := start(t, roleConfig("demo"))
	want := errors.New("what f says")
	if err := w.Hold(func(pid int) error {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
		path := fmt.Sprintf("/proc/%d/stat", pid)
		eventually(t, "the process is a zombie", func() bool {
			stat, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("it was reaped while it was held: %v", err)
			}
			return strings.Contains(string(stat), ") Z")
		})
		return want
	}); err != want {
		t.Errorf("got %v, want %v", err, want)
	}
	await(t, w.Done(), "the worker's end")
}

func TestNothingToHoldBehindADial(t *testing.T) {
	cfg := process.Config{Dial: func(context.Context, pool.WorkerID) (io.ReadWriteCloser, error) {
		host, there := net.Pipe()
		go worker.Serve(context.Background(), there, worker.Demo(nil))
		return host, nil
	}}
	w := start(t, cfg)
	hold := w.Hold(func(int) error { t.Error("f was called"); return nil })
	if signal := w.Signal(syscall.SIGKILL); !errors.Is(signal, errors.ErrUnsupported) || !errors.Is(hold, errors.ErrUnsupported) {
		t.Errorf("Signal says %v and Hold %v, want errors.ErrUnsupported of both", signal, hold)
	}
	if exit := w.Exit(); exit != nil {
		t.Errorf("it is said to have exited: %v", exit)
	}
}
