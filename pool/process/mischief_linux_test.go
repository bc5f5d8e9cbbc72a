package process_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// limitTo sets a soft limit of a worker's process, and returns what sets it back.
func limitTo(t *testing.T, w *process.Worker, resource int, most uint64) (restore func()) {
	t.Helper()
	var before unix.Rlimit
	set := func(limit *unix.Rlimit, old *unix.Rlimit) {
		if err := w.Hold(func(pid int) error { return unix.Prlimit(pid, resource, limit, old) }); err != nil {
			t.Fatal(err)
		}
	}
	set(nil, &before)
	set(&unix.Rlimit{Cur: most, Max: before.Max}, nil)
	return func() { set(&before, nil) }
}

// TestMischiefIsTheSameInBothDemos has workers in Go and Python meet their limits.
func TestMischiefIsTheSameInBothDemos(t *testing.T) {
	for name, cfg := range map[string]process.Config{
		"go":     roleConfig("mischievous"),
		"python": pythonConfig(t, python.Demo()),
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, cfg)
			call := func(method string, params map[string]any, result any) {
				t.Helper()
				if err := w.Call(t.Context(), method, params, result); err != nil {
					t.Fatalf("%s: %v", method, err)
				}
			}
			var before, after int
			call("hog", map[string]any{"bytes": 0}, &before)
			if call("hog", map[string]any{"bytes": 30 << 20}, &after); after < before+29<<20 {
				t.Errorf("%d bytes are resident after 30 MiB more, %d before", after, before)
			}

			var f worker.Failure
			if call("exhaust", map[string]any{"most": 2}, &f); f != (worker.Failure{Done: 2}) {
				t.Errorf("exhaust, of what is allowed: got %+v", f)
			}
			restore := limitTo(t, w, unix.RLIMIT_NOFILE, 50)
			if call("exhaust", map[string]any{"most": 100}, &f); f.Done >= 50 || f.Error != "EMFILE" {
				t.Errorf("exhaust, beyond the limit: got %+v, want EMFILE", f)
			}
			restore()

			path := filepath.Join(t.TempDir(), "file")
			if call("write_file", map[string]any{"path": path, "bytes": 9}, &f); f != (worker.Failure{Done: 9}) {
				t.Errorf("write_file: got %+v", f)
			}
			restore = limitTo(t, w, unix.RLIMIT_FSIZE, 5)
			if call("write_file", map[string]any{"path": path, "bytes": 9}, &f); f != (worker.Failure{Done: 5, Error: "EFBIG"}) {
				t.Errorf("write_file, beyond the limit: got %+v, want 5 bytes and EFBIG", f)
			}
			restore()
			if info, err := os.Stat(path); err != nil || info.Size() != 5 {
				t.Errorf("the file: %v, error %v; want 5 bytes", info, err)
			}
			call("noise", map[string]any{"bytes": 100_001}, nil)
			var child int
			if call("spawn", nil, &child); !alive(child) {
				t.Errorf("process %d was spawned and is not there", child)
			}
			if err := w.Ping(t.Context()); err != nil {
				t.Errorf("after the mischief: %v", err)
			}
			w.Stop(t.Context())
			eventually(t, "the child is gone with its group", func() bool { return !alive(child) })
		})
	}
}
