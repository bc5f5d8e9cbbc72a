package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
)

// pythonConfig returns a configuration whose workers are Python programs of the source.
// Without python3 the test is skipped, but under CI it fails.
func pythonConfig(t testing.TB, source string) process.Config {
	t.Helper()
	dir := t.TempDir()
	if err := python.Write(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "program.py")
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	command, err := python.Command(t.Context(), "-S", "-E", "-u", path)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return process.Config{Command: command}
}

func TestPythonCommandNamesTheRealInterpreter(t *testing.T) {
	command := pythonConfig(t, "").Command
	if !filepath.IsAbs(command[0]) || strings.Contains(command[0], "shims") {
		t.Errorf("got %q, want the absolute path of an interpreter", command[0])
	}
}

// checkDemo holds a process to what the first methods of a demo do.
func checkDemo(t *testing.T, w *process.Worker) {
	t.Helper()
	var pid int
	if err := w.Call(t.Context(), "pid", nil, &pid); err != nil || pid != w.PID() {
		t.Errorf("pid: got %d, error %v; want %d", pid, err, w.PID())
	}
	want := map[string]string{"text": strings.Repeat("größe ", 1<<16)}
	var got map[string]string
	if err := w.Call(t.Context(), "echo", want, &got); err != nil || got["text"] != want["text"] {
		t.Errorf("echo of %d bytes: got %d, error %v", len(want["text"]), len(got["text"]), err)
	}
	checkSession(t, w)
}

func TestPythonDemo(t *testing.T) {
	for _, stdio := range []bool{false, true} {
		t.Run("stdio="+strconv.FormatBool(stdio), func(t *testing.T) {
			cfg := pythonConfig(t, python.Demo())
			cfg.Stdio = stdio
			cfg.FrameLimit = 1 << 20
			w := start(t, cfg)
			checkDemo(t, w)
			for range 3 {
				if err := w.Ping(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if err := w.Stop(t.Context()); err != nil {
				t.Errorf("Stop: %v", err)
			}
		})
	}
}

func TestPythonCrash(t *testing.T) {
	w := start(t, pythonConfig(t, python.Demo()))
	err := w.Call(t.Context(), "crash", map[string]int{"code": 9}, nil)
	checkExit(t, "Call", err, process.ExitError{Kind: process.ExitCode, Code: 9})
}

func TestPythonEndsOnSIGTERM(t *testing.T) {
	cfg := pythonConfig(t, python.Demo())
	cfg.TermGrace = patience
	w := start(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Call(ctx, "sleep", map[string]int{"seconds": 600}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Errorf("Stop amid a call: %v", err)
	}
}

func TestPythonErrorsAreReplies(t *testing.T) {
	cfg := pythonConfig(t, `
from poolproof_worker import MethodError, method, run

@method
def fail(n: int) -> None:
    raise ValueError(f"no {n}")

@method
def refuse() -> None:
    raise MethodError("never", code=5, data={"traceback": "mine"})

@method
def inner() -> None:
    int([])

@method
def odd() -> object:
    return object()

@method
def nan() -> float:
    return float("nan")

@method
def large() -> str:
    return "x" * 100_000

@method
def add(a: int, b: int = 1) -> int:
    return a + b

run()
`)
	cfg.FrameLimit = 50_000
	w := start(t, cfg)
	for _, test := range []struct {
		method, params string
		code           int
		message        string
		traceback      string
	}{
		{"fail", `{"n":3}`, process.CodeFailed, "ValueError: no 3", "in fail"},
		{"refuse", `[]`, 5, "never", "mine"},
		{"inner", `null`, process.CodeFailed, "TypeError", "in inner"},
		{"fail", `{"m":3}`, process.CodeInvalidParams, "unexpected keyword", ""},
		{"fail", `[1,2]`, process.CodeInvalidParams, "positional", ""},
		{"add", `"12"`, process.CodeInvalidParams, "object or an array", ""},
		{"absent", `null`, process.CodeUnknownMethod, "absent", ""},
		{"odd", `null`, process.CodeInternal, "not JSON", ""},
		{"nan", `null`, process.CodeInternal, "not JSON", ""},
		{"large", `null`, process.CodeTooLarge, "frame limit", ""},
	} {
		err := w.Call(t.Context(), test.method, json.RawMessage(test.params), nil)
		var remote *process.RemoteError
		if !errors.As(err, &remote) || remote.Code != test.code || !strings.Contains(remote.Message, test.message) ||
			!strings.Contains(remote.Traceback(), test.traceback) {
			t.Errorf("%s%s: got %v with traceback %q; want code %d, %q, %q",
				test.method, test.params, err, remote.Traceback(), test.code, test.message, test.traceback)
		}
		if !w.Usable() {
			t.Fatalf("%s: unusable after an error reply", test.method)
		}
	}
	for params, want := range map[string]int{`{"a":2,"b":3}`: 5, `[2]`: 3} {
		var sum int
		if err := w.Call(t.Context(), "add", json.RawMessage(params), &sum); err != nil || sum != want {
			t.Errorf("add%s: got %d, error %v; want %d", params, sum, err, want)
		}
	}
}

func TestPythonNoiseNeverShiftsAFrame(t *testing.T) {
	for _, stdio := range []bool{false, true} {
		t.Run("stdio="+strconv.FormatBool(stdio), func(t *testing.T) {
			cfg := pythonConfig(t, `
import os, subprocess, sys
from poolproof_worker import method, run

print("stray print at import")

@method
def noise(lines: int) -> bool:
    for i in range(lines):
        print("stray line", i)
        os.write(1, b"\x00\x00\x00\x02{}\n")
        sys.stderr.write(f"error line {i}\n")
    subprocess.run(["echo", "from a child"], check=True)
    return True

@method
def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))

@method
def inherited() -> str:
    return subprocess.run(["sh", "-c", "for f in 3 4 5 6 7; do test -e /proc/self/fd/$f && echo $f; done; env"],
                          capture_output=True, text=True).stdout

run()
`)
			cfg.Stdio = stdio
			logged := newLog()
			cfg.Logger, cfg.LogRate = logged.logger(), math.MaxInt
			w := start(t, cfg)
			const lines = 20_000
			if err := w.Call(t.Context(), "noise", map[string]int{"lines": lines}, nil); err != nil {
				t.Fatal(err)
			}
			var inherited string
			if err := w.Call(t.Context(), "inherited", nil, &inherited); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(inherited, "POOLPROOF") {
				t.Errorf("a process that the worker starts is told of the channel: %q", inherited)
			}
			for _, text := range []string{
				"stray print at import", "from a child",
				fmt.Sprintf("stray line %d", lines-1), fmt.Sprintf("error line %d", lines-1),
			} {
				await(t, logged.has(text), text)
			}
		})
	}
}

func TestPythonRefusesAnOversizeFrame(t *testing.T) {
	cfg := pythonConfig(t, `
from poolproof_worker import _channel, method, run

@method
def shrink() -> None:
    _channel.claimed.limit = 60

run()
`)
	w := start(t, cfg)
	if err := w.Call(t.Context(), "shrink", nil, nil); err != nil {
		t.Fatal(err)
	}
	err := w.Call(t.Context(), "shrink", []string{"longer than the limit that the worker has now"}, nil)
	checkExit(t, "Call", err, process.ExitError{Kind: process.ExitCode, Code: 1})
	if err == nil || !strings.Contains(err.Error(), "exceeds the limit of 60") {
		t.Errorf("got %v, want the worker's complaint", err)
	}
}

func TestPythonWorkerRunByHandSaysSo(t *testing.T) {
	cfg := pythonConfig(t, `
import os
os.environ.pop("POOLPROOF_CHANNEL")
from poolproof_worker import run
run()
`)
	checkLeftovers(t)
	_, err := process.Start(t.Context(), cfg, 1)
	if err == nil || !strings.Contains(err.Error(), "started by a poolproof host") {
		t.Errorf("got %v, want the worker's explanation", err)
	}
}

func TestPythonForkedChildLeavesTheChannelAlone(t *testing.T) {
	w := start(t, pythonConfig(t, `
import os, signal, time
from poolproof_worker import _channel, method, run

@method
def fork() -> int:
    child = os.fork()
    if child == 0:
        try:
            os.write(_channel.claimed._replies, b"garbage")
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]

run()
`))
	var status int
	if err := w.Call(t.Context(), "fork", nil, &status); err != nil || syscall.WaitStatus(status).ExitStatus() != 0 {
		t.Errorf("fork: status %d, error %v", status, err)
	}
	if err := w.Ping(t.Context()); err != nil {
		t.Errorf("Ping after the fork: %v", err)
	}
}
