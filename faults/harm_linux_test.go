package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
)

// patience bounds waits that a passing test ends much sooner; tooShort is for what cannot
// come.
const (
	patience = 30 * time.Second
	tooShort = 30 * time.Millisecond
)

// goWorker returns workers that are the test binary in a role.
func goWorker(t testing.TB, role string) process.Config {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return process.Config{Command: []string{self}, Env: []string{"POOLPROOF_TEST_ROLE=" + role, "GORACE=atexit_sleep_ms=0"}}
}

// pythonWorker returns workers in Python: the demo, or another program.
func pythonWorker(t testing.TB, source string) process.Config {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "program.py")
	if err := errors.Join(python.Write(dir), os.WriteFile(program, []byte(source), 0o600)); err != nil {
		t.Fatal(err)
	}
	command, err := python.Command(t.Context(), "-S", "-E", "-u", program)
	if err != nil {
		t.Fatal(err)
	}
	return process.Config{Command: command}
}

// ward is a system whose workers are harmed.
type ward struct {
	t   *testing.T
	sys *System
	ctx context.Context
}

// openWard opens a system of processes, or of fakes if cfg is nil. When the test ends it is
// closed, its history judged, and nothing may be left.
func openWard(t *testing.T, cfg *process.Config, poolCfg pool.Config[Worker]) *ward {
	t.Helper()
	layer := Memory
	if cfg != nil {
		layer = Process
		pooltest.CheckLeaks(t)
		cfg.CloseGrace, cfg.TermGrace = 100*time.Millisecond, 100*time.Millisecond
	}
	poolCfg.StartBackoff = pool.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond}
	sys, err := Open(SystemConfig{Name: t.Name(), Layer: layer, Pool: poolCfg, Workers: cfg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(func() {
		defer cancel()
		if err := sys.Pool.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if v := linearize.Judge(ctx, sys.Pool.History(), linearize.Budget{}); v.Result != linearize.Ok {
			t.Errorf("the history is not sound: %v", v)
		}
		if left, _ := filepath.Glob(sys.starts.gate.control + "*"); sys.starts.gate.control != "" && len(left) > 0 {
			t.Errorf("%v is left", left)
		}
	})
	return &ward{t, sys, ctx}
}

// call leases any worker, does what is kept for it, and then f.
func (w *ward) call(f func(Worker) error) (pool.WorkerID, error) {
	lease, err := w.sys.Pool.Acquire(w.ctx)
	if err != nil {
		return 0, err
	}
	err = w.sys.perform(w.ctx, lease.Worker())
	if err == nil {
		err = f(lease.Worker())
	}
	if errors.Is(err, process.ErrBroken) || errors.Is(err, errFakeAway) {
		lease.Discard(err)
	} else {
		lease.Release()
	}
	return lease.WorkerID(), err
}

// ask calls echo.
func (w *ward) ask() (pool.WorkerID, error) {
	return w.call(func(worker Worker) error { return worker.Call(w.ctx, "echo", []int{1}, nil) })
}

// serves waits for a good answer, and returns who gave it. Calls may fail for want of a
// worker, or with one that is being lost.
func (w *ward) serves() pool.WorkerID {
	w.t.Helper()
	for {
		id, err := w.ask()
		if err == nil {
			return id
		}
		select {
		case <-time.After(time.Millisecond):
		case <-w.ctx.Done():
			w.t.Errorf("the system does not serve: %v", err)
			return 0
		}
	}
}

// inject injects a fault of a kind, with options as "key=value".
func (w *ward) inject(kind string, worker pool.WorkerID, options ...string) (*Injury, error) {
	v := &Victim{System: w.sys, Worker: worker, Options: Options{}, Rand: rand.New(rand.NewPCG(1, 2))}
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		v.Options[key] = value
	}
	return Standard()[kind].Inject(w.ctx, v)
}

func (w *ward) mustInject(kind string, worker pool.WorkerID, options ...string) *Injury {
	w.t.Helper()
	injury, err := w.inject(kind, worker, options...)
	if err != nil {
		w.t.Fatalf("%s: %v", kind, err)
	}
	return injury
}

// landed waits for the evidence and has it contain want.
func (w *ward) landed(injury *Injury, want string) {
	w.t.Helper()
	evidence, err := injury.Landed(w.ctx)
	if err != nil || !strings.Contains(evidence, want) {
		w.t.Errorf("landed: %q, error %v; want %q", evidence, err, want)
		return
	}
	w.t.Log(evidence)
}

// missed has the fault not land, for a reason.
func (w *ward) missed(injury *Injury, within time.Duration, want string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, within)
	defer cancel()
	if evidence, err := injury.Landed(ctx); err == nil || !strings.Contains(err.Error(), want) {
		w.t.Errorf("landed: %q, error %v; want that it did not, with %q", evidence, err, want)
	}
}

func (w *ward) heal(injury *Injury) {
	w.t.Helper()
	if injury.Heal == nil {
		return
	}
	if err := injury.Heal(w.ctx); err != nil {
		w.t.Errorf("heal: %v", err)
	}
}

// process returns the process of a worker.
func (w *ward) process(id pool.WorkerID) *process.Worker {
	w.t.Helper()
	p, ok := w.sys.worker(id).(*process.Worker)
	if !ok {
		w.t.Fatalf("worker %d has no process", id)
	}
	return p
}

// one is a pool of one worker.
func one() pool.Config[Worker] { return pool.Config[Worker]{MaxSize: 1} }

// both runs a test on workers in Go and in Python.
func both(t *testing.T, test func(t *testing.T, cfg process.Config)) {
	t.Helper()
	for name, cfg := range map[string]process.Config{"go": goWorker(t, "mischievous"), "python": pythonWorker(t, python.Demo())} {
		t.Run(name, func(t *testing.T) { test(t, cfg) })
	}
}

func TestSignalsThatEnd(t *testing.T) {
	both(t, func(t *testing.T, cfg process.Config) {
		w := openWard(t, &cfg, one())
		for kind, want := range map[string]string{"kill": "dead by SIGKILL", "segv": "dead by SIGSEGV"} {
			id := w.serves()
			p := w.process(id)
			w.landed(w.mustInject(kind, id), want)
			if next := w.serves(); next == id {
				t.Errorf("worker %d serves after its death", id)
			}
			if _, err := w.inject(kind, id); err == nil || !strings.Contains(err.Error(), "is gone") {
				t.Errorf("%s of a worker that is gone: %v", kind, err)
			}
			if _, err := endBy(p, 9); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("a signal to a process that is reaped: %v", err)
			}
		}
	})
}

// TestSignalThatComesTooLate sends SIGSEGV to a process that has just been killed, and to
// one that ignores it.
func TestSignalThatComesTooLate(t *testing.T) {
	cfg := pythonWorker(t, strings.Replace(python.Demo(), "import os\n", "import os, signal\nsignal.signal(signal.SIGSEGV, signal.SIG_IGN)\n", 1))
	w := openWard(t, &cfg, one())
	id := w.serves()
	w.missed(w.mustInject("segv", id), tooShort, "is still there")
	stop := w.mustInject("stop", id)
	w.landed(stop, "state T")
	segv := w.mustInject("segv", id)
	w.landed(w.mustInject("kill", id), "SIGKILL")
	w.missed(segv, patience, "it ended otherwise")
	w.missed(stop, patience, "process already finished")
	w.heal(stop)
}

func TestStopAndContinue(t *testing.T) {
	both(t, func(t *testing.T, cfg process.Config) {
		w := openWard(t, &cfg, one())
		id := w.serves()
		stop := w.mustInject("stop", id)
		w.landed(stop, "state T")
		short, cancel := context.WithTimeout(w.ctx, tooShort)
		defer cancel()
		if err := w.process(id).Ping(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a stopped worker answers: %v", err)
		}
		w.heal(stop)
		if got := w.serves(); got != id {
			t.Errorf("worker %d serves after %d was continued", got, id)
		}
	})
}

func TestMemoryWithin(t *testing.T) {
	both(t, func(t *testing.T, cfg process.Config) {
		w := openWard(t, &cfg, one())
		id := w.serves()
		idle := w.mustInject("hog", id)
		w.missed(idle, tooShort, "nobody has leased the worker")
		w.heal(idle)
		hog := w.mustInject("hog", id, fmt.Sprint("bytes=", 32<<20))
		if got := w.serves(); got != id {
			t.Fatalf("worker %d serves, want %d", got, id)
		}
		w.landed(hog, "the resident set grew by")
		w.heal(hog)
		if got := w.serves(); got == id {
			t.Errorf("worker %d serves after it was to be replaced", id)
		}
		if _, err := w.inject("hog", w.serves(), "bytes=0"); err == nil {
			t.Error("to fill no memory is accepted")
		}
	})
}

// TestMemoryAboveItsLimits has a worker above its address space answer with an error or die,
// and one above its resident limit be replaced.
func TestMemoryAboveItsLimits(t *testing.T) {
	cfg := pythonWorker(t, python.Demo())
	cfg.AddressSpace = 1 << 30
	w := openWard(t, &cfg, one())
	id := w.serves()
	hog := w.mustInject("hog", id, "bytes=2147483648")
	if got := w.serves(); got != id {
		t.Errorf("worker %d serves, want %d, which had a MemoryError", got, id)
	}
	w.landed(hog, "refused memory")

	cfg = pythonWorker(t, python.Demo())
	cfg.ResidentLimit = 100 << 20
	w = openWard(t, &cfg, one())
	id = w.serves()
	p := w.process(id)
	hog = w.mustInject("hog", id, "bytes=150000000")
	w.serves()
	w.landed(hog, "the resident set grew by")
	select {
	case <-p.Done():
	case <-w.ctx.Done():
		t.Error("a worker above its resident limit was not replaced")
	}
	w.heal(hog)
}

func TestSqueeze(t *testing.T) {
	both(t, func(t *testing.T, cfg process.Config) {
		w := openWard(t, &cfg, one())
		id := w.serves()
		squeeze := w.mustInject("squeeze", id, "bytes=8589934592")
		w.ask()
		w.landed(squeeze, "memory")
		w.heal(squeeze)
		w.serves()
	})
}

// TestSqueezeThatIsNotFelt has the worker take what it needs not ask the kernel for.
func TestSqueezeThatIsNotFelt(t *testing.T) {
	cfg := pythonWorker(t, python.Demo())
	w := openWard(t, &cfg, one())
	squeeze := w.mustInject("squeeze", w.serves(), "bytes=1")
	w.serves()
	w.missed(squeeze, patience, "in spite of the limit")
	w.heal(squeeze)
}

// TestLimitsOfProgramsWithoutMethods are content with the limit only if told so.
func TestLimitsOfProgramsWithoutMethods(t *testing.T) {
	cfg := goWorker(t, "demo")
	w := openWard(t, &cfg, one())
	id := w.serves()
	for _, kind := range []string{"squeeze", "disk"} {
		injury := w.mustInject(kind, id)
		w.missed(injury, tooShort, "nothing was seen to run into it")
		w.heal(injury)
		injury = w.mustInject(kind, id, "proof=limit")
		w.landed(injury, "the limit is")
		if _, err := w.inject(kind, id, "proof=limit"); err == nil || !strings.Contains(err.Error(), "already") {
			t.Errorf("%s when it is in force already: %v", kind, err)
		}
		w.heal(injury)
		w.missed(&Injury{Landed: injury.Landed}, tooShort, "the limit is")
	}
	for _, kind := range []string{"hog", "descriptors"} {
		if _, err := w.inject(kind, id, "spare=1"); err == nil || !strings.Contains(err.Error(), "does not announce") {
			t.Errorf("%s of a program that cannot: %v", kind, err)
		}
	}
	w.serves()
}

func TestDescriptors(t *testing.T) {
	both(t, func(t *testing.T, cfg process.Config) {
		w := openWard(t, &cfg, one())
		id := w.serves()
		taken := w.mustInject("descriptors", id)
		w.landed(taken, "all descriptors below")
		var f failure
		if _, err := w.call(func(worker Worker) error {
			return worker.Call(w.ctx, "exhaust", map[string]int{"most": 1}, &f)
		}); err != nil || f.Error != "EMFILE" {
			t.Errorf("it opens one more: %+v, error %v", f, err)
		}
		w.heal(taken)
		idle := w.mustInject("descriptors", id, "spare=10")
		w.missed(idle, tooShort, "nobody has leased the worker")
		w.heal(idle)
		told := w.mustInject("descriptors", id, "spare=10")
		w.serves()
		w.landed(told, "and was refused more")
		w.heal(told)
		if got := w.serves(); got != id {
			t.Errorf("worker %d serves, want %d", got, id)
		}
	})
}

func TestDisk(t *testing.T) {
	both(t, func(t *testing.T, cfg process.Config) {
		w := openWard(t, &cfg, one())
		id := w.serves()
		idle := w.mustInject("disk", id)
		w.missed(idle, tooShort, "nobody has leased the worker")
		w.heal(idle)
		full := w.mustInject("disk", id, "bytes=100")
		w.serves()
		w.landed(full, "wrote 100 bytes and was refused more: EFBIG")
		w.heal(full)
		if got := w.serves(); got != id {
			t.Errorf("worker %d serves, want %d", got, id)
		}
	})
}

func TestStarvation(t *testing.T) {
	both(t, func(t *testing.T, cfg process.Config) {
		w := openWard(t, &cfg, one())
		id := w.serves()
		rationed := w.mustInject("cpu", id, "share=0.3")
		w.landed(rationed, "in state T after each of 3 stops")
		w.serves()
		w.heal(rationed)
		state, err := stateOf(w.process(id))
		if err != nil || state == "T" {
			t.Errorf("after healing it is in state %s, error %v", state, err)
		}
		crowded := w.mustInject("cpu", id, "busy=2")
		for begun := time.Now(); time.Since(begun) < 100*time.Millisecond; {
			w.serves()
		}
		w.landed(crowded, "beside 2 busy ones")
		w.heal(crowded)

		late := w.mustInject("cpu", id)
		w.landed(w.mustInject("kill", id), "SIGKILL")
		w.missed(late, patience, "")
		w.heal(late)
		if _, err := w.inject("cpu", w.serves(), "share=2"); err == nil {
			t.Error("a share of 2 is accepted")
		}
	})
}
