package process_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool/process"
)

// nodeConfig returns a configuration whose workers are written for Node, from
// docs/protocol.md alone. Without node the test is skipped, but under CI it fails.
func nodeConfig(t *testing.T) process.Config {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return process.Config{Command: []string{node, "../../testdata/workers/worker.mjs"}}
}

func TestNodeWorker(t *testing.T) {
	for _, stdio := range []bool{false, true} {
		t.Run("stdio="+strconv.FormatBool(stdio), func(t *testing.T) {
			cfg := nodeConfig(t)
			cfg.Stdio = stdio
			cfg.FrameLimit = 1 << 20
			w := start(t, cfg)
			checkDemo(t, w)
			var remote *process.RemoteError
			if err := w.Call(t.Context(), "absent", nil, nil); !errors.As(err, &remote) || remote.Code != process.CodeUnknownMethod {
				t.Errorf("absent: got %v, want code %d", err, process.CodeUnknownMethod)
			}
			if err := w.Call(t.Context(), "put", nil, nil); !errors.As(err, &remote) || !strings.Contains(remote.Traceback(), "worker.mjs") {
				t.Errorf("put without params: got %v, want a traceback", err)
			}
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

func TestNodeWorkerEnds(t *testing.T) {
	w := start(t, nodeConfig(t))
	err := w.Call(t.Context(), "crash", map[string]int{"code": 9}, nil)
	checkExit(t, "Call", err, process.ExitError{Kind: process.ExitCode, Code: 9})

	cfg := nodeConfig(t)
	cfg.TermGrace = patience
	w = start(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Call(ctx, "sleep", map[string]int{"seconds": 600}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Errorf("Stop amid a call: %v", err)
	}
}
