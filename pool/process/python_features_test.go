package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
)

func TestPythonPayloads(t *testing.T) {
	for name, memory := range map[string]int{"frames": -1, "shared": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			cfg := pythonConfig(t, python.Demo())
			cfg.SharedMemory = memory
			w := start(t, cfg)
			if got := slices.Contains(w.Features(), process.FeatureSharedMemory); got != (memory > 0) {
				t.Errorf("the worker announces %v", w.Features())
			}
			checkRawEcho(t, w)
		})
	}
}

func TestNodePayloads(t *testing.T) { checkRawEcho(t, start(t, nodeConfig(t))) }

// checkRawEcho sends payloads of many sizes to a worker with the demo's methods.
func checkRawEcho(t *testing.T, w *process.Worker) {
	t.Helper()
	var into []byte
	for _, size := range []int{0, 1, 16, 4096, 32 << 10, 64 << 10, 512 << 10, 512<<10 + 1, 3 << 20} {
		payload := bytes.Repeat([]byte("0123456789abcde"), size/15+1)[:size]
		got, err := w.CallRaw(t.Context(), "raw_echo", payload, into)
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("%d bytes: got %d, error %v", size, len(got), err)
		}
		into = got
	}
	var remote *process.RemoteError
	if _, err := w.CallRaw(t.Context(), "pid", []byte("x"), nil); !errors.As(err, &remote) || remote.Code != process.CodeInvalidParams {
		t.Errorf("a payload for pid: got %v, want code %d", err, process.CodeInvalidParams)
	}
}

func TestPythonStreams(t *testing.T) {
	cfg := pythonConfig(t, python.Demo())
	cfg.CancelGrace = patience
	w := start(t, cfg)
	for _, size := range []int{0, 5000} {
		s, err := w.Stream(t.Context(), &process.Request{Method: "count", Params: map[string]int{"n": 100, "size": size}, Window: 3})
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for ; s.Next(); seen++ {
			if c := s.Chunk(); string(c.Value) != fmt.Sprint(seen) || len(c.Payload) != size {
				t.Fatalf("chunk %d: got value %s and %d bytes, want %d bytes", seen, c.Value, len(c.Payload), size)
			}
		}
		if err := errors.Join(s.Err(), s.Close()); err != nil || seen != 100 {
			t.Errorf("got %d chunks, error %v; want 100", seen, err)
		}
	}
	s, err := w.Stream(t.Context(), &process.Request{Method: "count", Params: map[string]int{"n": 1 << 30}, Window: 3})
	if err != nil || !s.Next() {
		t.Fatalf("no stream: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close amid the stream: %v", err)
	}
	if err := w.Ping(t.Context()); err != nil {
		t.Errorf("Ping after a cancelled stream: %v", err)
	}
}

func TestPythonCancel(t *testing.T) {
	cfg := pythonConfig(t, python.Demo())
	cfg.CancelGrace = patience
	w := start(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Call(ctx, "nap", []int{600}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nap: got %v, want the deadline", err)
	}
	if err := w.Ping(t.Context()); err != nil {
		t.Errorf("Ping after a cancelled call: %v", err)
	}
}

func TestPythonNotifications(t *testing.T) {
	cfg := pythonConfig(t, python.Demo())
	logged := newLog()
	cfg.Logger = logged.logger()
	cfg.OnNotification = func(_ pool.WorkerID, method string, params json.RawMessage) {
		t.Errorf("unexpected notification %s of %s", method, params)
	}
	w := start(t, cfg)
	var steps []string
	err := w.Exchange(t.Context(), &process.Request{
		Method: "steps", Params: []int{3}, Progress: func(v json.RawMessage) { steps = append(steps, string(v)) },
	}, nil)
	if want := []string{`{"step":0}`, `{"step":1}`, `{"step":2}`}; err != nil || !slices.Equal(steps, want) {
		t.Errorf("progress: got %v, error %v; want %v", steps, err, want)
	}
	if err := w.Call(t.Context(), "log", []string{"warning", "over the bridge"}, nil); err != nil {
		t.Error(err)
	}
	await(t, logged.has("over the bridge"), "the log line")
}

func TestPythonBatch(t *testing.T) {
	w := start(t, pythonConfig(t, python.Demo()))
	calls := make([]*process.BatchCall, process.MaxBatch)
	for i := range calls {
		calls[i] = &process.BatchCall{Method: "echo", Params: []int{i}, Result: new([]int)}
	}
	calls[7].Method = "absent"
	if err := w.Batch(t.Context(), calls); err != nil {
		t.Fatal(err)
	}
	for i, call := range calls {
		var remote *process.RemoteError
		if i == 7 {
			if !errors.As(call.Err, &remote) || remote.Code != process.CodeUnknownMethod {
				t.Errorf("call 7: got %v, want code %d", call.Err, process.CodeUnknownMethod)
			}
		} else if got := *call.Result.(*[]int); call.Err != nil || !slices.Equal(got, []int{i}) {
			t.Fatalf("call %d: got %v, error %v", i, got, call.Err)
		}
	}
}

// pythonForkConfig returns a configuration whose workers are forked from a server that has
// loaded a Python program.
func pythonForkConfig(t testing.TB, source string, change ...func(*process.ForkConfig)) process.Config {
	t.Helper()
	program := pythonConfig(t, source).Command // for what it saves, and where
	path := program[len(program)-1]
	command, err := python.ForkServerCommand(t.Context(), filepath.Dir(path), path)
	if err != nil {
		t.Fatal(err)
	}
	cfg := process.ForkConfig{Command: command}
	for _, c := range change {
		c(&cfg)
	}
	server, err := process.NewForkServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() }) // its error says how the server ended, which some tests bring about
	return process.Config{Fork: server}
}

func TestPythonForkServer(t *testing.T) {
	checkLeftovers(t)
	cfg := pythonForkConfig(t, python.Demo())
	workers := []*process.Worker{start(t, cfg), start(t, cfg)}
	for _, w := range workers {
		var pid int
		if err := w.Call(t.Context(), "pid", nil, &pid); err != nil || pid != w.PID() || parent(t, pid) != cfg.Fork.PID() {
			t.Errorf("pid: got %d, error %v; want %d, a child of %d", pid, err, w.PID(), cfg.Fork.PID())
		}
		if !slices.Contains(w.Features(), process.FeatureSharedMemory) {
			t.Errorf("the worker announces %v", w.Features())
		}
		checkRawEcho(t, w)
		checkSession(t, w)
	}
	if workers[0].Instance() == workers[1].Instance() {
		t.Error("two workers share an instance token")
	}
	err := workers[0].Call(t.Context(), "crash", []int{9}, nil)
	checkExit(t, "Call", err, process.ExitError{Kind: process.ExitCode, Code: 9})
	if err := workers[1].Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if err := cfg.Fork.Close(); err != nil {
		t.Errorf("Close of the fork server: %v", err)
	}
}

func TestPythonForkServerThatCannotLoad(t *testing.T) {
	checkLeftovers(t)
	for source, complaint := range map[string]string{
		"from poolproof_worker import run\nrun()": "put it under if __name__",
		"raise ValueError('no model')":            "no model",
	} {
		_, err := process.Start(t.Context(), pythonForkConfig(t, source), 1)
		if err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("got %v, want the complaint %q", err, complaint)
		}
	}
}

func TestPythonForkServersWorkersEndWithIt(t *testing.T) {
	checkLeftovers(t)
	cfg := pythonForkConfig(t, python.Demo())
	w := start(t, cfg)
	server, err := os.FindProcess(cfg.Fork.PID())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Release()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, w.Done(), "the worker's end")
	if err := start(t, cfg).Ping(t.Context()); err != nil {
		t.Errorf("a worker of the next server: %v", err)
	}
}
