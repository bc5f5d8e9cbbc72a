package layers_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// opening is what a pool is opened with.
type opening struct {
	t              testing.TB // in which it is recorded
	process.Config            // without what a layer fills in
	pool           pool.Config[member]
}

// opened is an open pool, whose calls are recorded.
type opened struct {
	*recorded.Pool[member]
	setHealth func(well bool) // says whether workers can start; all can at first
}

// layer is a way to have workers.
type layer struct {
	name string
	open func(o opening) (opened, error)
}

// layers returns them all, made ready. Those whose interpreter is missing are skipped, but
// under CI they fail.
func layers(t *testing.T) []layer {
	return []layer{
		memory(noFault), wire(), goProcess(t), pythonProcess(t), forkServer(t), nodeProcess(t),
	}
}

// memory has workers that are plain Go.
func memory(f fault) layer {
	return layer{"memory", func(o opening) (opened, error) {
		var ill atomic.Bool
		p, err := recorded.Open(o.t, o.pool, func(cfg pool.Config[member]) (*pool.Pool[member], error) {
			return newFakePool(o.Config, cfg, f, ill.Load)
		})
		return opened{p, func(well bool) { ill.Store(!well) }}, err
	}}
}

// openChannel opens a pool of workers behind channels.
func openChannel(o opening, fars *farEnds) (*recorded.Pool[member], error) {
	as := func(w *process.Worker) member { return &remote{w, fars.get(w.ID())} }
	return recorded.Open(o.t, o.pool, func(cfg pool.Config[member]) (*pool.Pool[member], error) {
		return process.NewPoolOf(o.Config, cfg, as, func(m member) *process.Worker { return m.(*remote).Worker })
	})
}

// wire has workers that are served over a pipe in memory.
func wire() layer {
	return layer{"wire", func(o opening) (opened, error) {
		var ill atomic.Bool
		var fars farEnds
		o.Dial = func(_ context.Context, id pool.WorkerID) (io.ReadWriteCloser, error) {
			if ill.Load() {
				return nil, errors.New("nobody listens")
			}
			host, channel := net.Pipe()
			far := &farEnd{channel, make(chan struct{})}
			fars.put(id, far)
			go func() {
				_ = worker.Serve(context.Background(), far, methods(func(int) { far.Close() }), worker.DemoOptions()...)
			}()
			return host, nil
		}
		p, err := openChannel(o, &fars)
		return opened{p, func(well bool) { ill.Store(!well) }}, err
	}}
}

// program is what processes execute. While its file has another name none can start.
type program string

func (p program) setHealth(well bool) {
	from, to := string(p), string(p)+".away"
	if well {
		from, to = to, from
	}
	if err := os.Rename(from, to); err != nil {
		panic(err)
	}
}

// goProcess has the test binary as its workers.
func goProcess(t *testing.T) layer {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return layer{"go", func(o opening) (opened, error) {
		file, err := newFile(dir, "worker-", func(path string) error { return os.Symlink(self, path) })
		if err != nil {
			return opened{}, err
		}
		o.Command = []string{string(file)}
		o.Env = []string{roleVariable + "=worker", "GORACE=atexit_sleep_ms=0"}
		p, err := openChannel(o, new(farEnds))
		return opened{p, file.setHealth}, err
	}}
}

// newFile makes a file with a name of its own, so that pools do not share it.
func newFile(dir, pattern string, write func(path string) error) (program, error) {
	file, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return "", err
	}
	return program(file.Name()), errors.Join(file.Close(), os.Remove(file.Name()), write(file.Name()))
}

// copyOf returns a function that copies a file.
func copyOf(path string) func(string) error {
	return func(to string) error {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, content, 0o600)
	}
}

// pythonProcess has workers in Python.
func pythonProcess(t *testing.T) layer {
	dir := t.TempDir()
	if err := python.Write(dir); err != nil {
		t.Fatal(err)
	}
	interpreter, err := python.Command(t.Context(), "-S", "-E", "-u")
	need(t, err)
	return layer{"python", func(o opening) (opened, error) {
		file, err := newFile(dir, "worker-*.py", copyOf(filepath.Join("testdata", "worker.py")))
		if err != nil {
			return opened{}, err
		}
		o.Command = append(slices.Clone(interpreter), string(file))
		p, err := openChannel(o, new(farEnds))
		return opened{p, file.setHealth}, err
	}}
}

// forkServer has workers in Python that are forked off one that is loaded. It is closed
// when the test ends.
func forkServer(t *testing.T) layer {
	dir := t.TempDir()
	if err := python.Write(dir); err != nil {
		t.Fatal(err)
	}
	file, err := newFile(dir, "worker-*.py", copyOf(filepath.Join("testdata", "worker.py")))
	if err != nil {
		t.Fatal(err)
	}
	command, err := python.ForkServerCommand(t.Context(), dir, string(file))
	need(t, err)
	server, err := process.NewForkServer(process.ForkConfig{Command: command})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("closing the fork server: %v", err)
		}
	})
	setHealth := func(well bool) {
		file.setHealth(well)
		if pid := server.PID(); !well && pid > 0 { // what is loaded would go on
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				panic(err)
			}
		}
	}
	return layer{"fork server", func(o opening) (opened, error) {
		o.Fork = server
		p, err := openChannel(o, new(farEnds))
		return opened{p, setHealth}, err
	}}
}

// nodeProcess has workers in JavaScript.
func nodeProcess(t *testing.T) layer {
	dir := t.TempDir()
	node, err := exec.LookPath("node")
	need(t, err)
	return layer{"node", func(o opening) (opened, error) {
		file, err := newFile(dir, "worker-*.mjs", copyOf(filepath.Join("..", "..", "..", "testdata", "workers", "worker.mjs")))
		if err != nil {
			return opened{}, err
		}
		o.Command = []string{node, string(file)}
		p, err := openChannel(o, new(farEnds))
		return opened{p, file.setHealth}, err
	}}
}

// need skips the test without an interpreter; under CI it fails.
func need(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}
