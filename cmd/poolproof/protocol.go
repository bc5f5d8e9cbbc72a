package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/props"
)

// answerWithin bounds how long a worker may take for a ping and the like.
const answerWithin = 30 * time.Second

// verifyProtocol holds a worker program to docs/protocol.md, as often as asked, and reports
// that as a subtest. A pool over workers that break the protocol proves nothing.
func verifyProtocol(t *testing.T, cfg process.Config, checks int, report props.Reporter) {
	begin := time.Now()
	result := props.Result{Machine: "worker", Subtest: "Protocol", Asked: checks}
	defer func() {
		result.Failed, result.Elapsed = t.Failed(), time.Since(begin)
		report.Result(result)
	}()
	instances := map[string]bool{}
	for i := range checks {
		w, err := process.Start(t.Context(), cfg, pool.WorkerID(i+1))
		if err != nil {
			t.Fatalf("worker %d does not start: %v", i+1, err)
		}
		if instances[w.Instance()] {
			err = fmt.Errorf("worker %d has the instance %q of one before; want a new one", w.ID(), w.Instance())
		}
		instances[w.Instance()] = true
		calls, talkErr := talk(t.Context(), w)
		stopErr := w.Stop(t.Context())
		if stopErr != nil {
			stopErr = fmt.Errorf("worker %d does not end in good order when its channel is closed: %w", w.ID(), stopErr)
		}
		if err := errors.Join(err, talkErr, stopErr); err != nil {
			t.Fatal(err)
		}
		result.Operations += calls
		result.Executed++
		report.Progress(result.Machine, result.Subtest, result.Executed, checks)
	}
}

// talk asks a worker what any worker must answer. It returns how many calls it made.
func talk(ctx context.Context, w *process.Worker) (calls int, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	const absent = "poolproof_no_such_method"
	steps := []struct {
		what string
		do   func() error
	}{
		{"a ping", func() error { return w.Ping(ctx) }},
		{"a call of a method that it does not have", func() error {
			err := w.Call(ctx, absent, nil, nil)
			var remote *process.RemoteError
			if errors.As(err, &remote) && remote.Code == process.CodeUnknownMethod {
				return nil
			}
			if err == nil {
				return fmt.Errorf("got a result, want an error reply with code %d", process.CodeUnknownMethod)
			}
			return fmt.Errorf("want an error reply with code %d, got: %w", process.CodeUnknownMethod, err)
		}},
		{"the end of a session", func() error { return w.EndSession(ctx, "poolproof") }},
		{"a second ping", func() error { return w.Ping(ctx) }},
	}
	if slices.Contains(w.Methods(), absent) {
		return 0, fmt.Errorf("worker %d announces the method %s", w.ID(), absent)
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return calls, fmt.Errorf("worker %d, %s: %w", w.ID(), step.what, err)
		}
		calls++
	}
	return calls, nil
}

// processes makes workers that speak the protocol.
type processes struct {
	cfg    process.Config
	faults *workerFaults
}

func (b *processes) Start(ctx context.Context, id pool.WorkerID) (any, error) {
	return process.Start(ctx, b.cfg, id)
}

// Stop ends a worker. One that was not killed must be well until then.
func (b *processes) Stop(ctx context.Context, w any) error {
	p := w.(*process.Worker)
	pingErr := b.Check(ctx, w)
	err := p.Stop(ctx)
	if b.faults.wasKilled(p) {
		return nil
	}
	if pingErr != nil {
		b.faults.add(fmt.Errorf("worker %d does not answer a ping before it is stopped: %w", p.ID(), pingErr))
	}
	if err != nil {
		b.faults.add(fmt.Errorf("worker %d does not stop in good order: %w", p.ID(), err))
	}
	return err
}

func (b *processes) Check(ctx context.Context, w any) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return w.(*process.Worker).Ping(ctx)
}

// Kill kills a process and waits until it has been reaped. The machine then reports the
// death, as a reaper would; for a worker that is no process, the report is all there is.
func (b *processes) Kill(w any) bool {
	p := w.(*process.Worker)
	if b.cfg.Command == nil {
		return false
	}
	victim, err := os.FindProcess(p.PID())
	if err != nil {
		return false
	}
	defer victim.Release()
	select {
	case <-p.Done():
		return false // reaped: victim may be a stranger
	default: // not reaped when victim was opened, so it is ours
	}
	b.faults.kills(p)
	if victim.Kill() == nil {
		<-p.Done()
	}
	return false
}

// workerFaults are those of the workers, which the machines do not judge. They look at the pool.
type workerFaults struct {
	mu     sync.Mutex
	found  []error                  // guarded by mu: the first few
	killed map[*process.Worker]bool // guarded by mu: on purpose
}

// mostFaults bounds what is kept: one is enough to fail.
const mostFaults = 10

func newFaults() *workerFaults { return &workerFaults{killed: map[*process.Worker]bool{}} }

func (f *workerFaults) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.found) < mostFaults {
		f.found = append(f.found, err)
	}
}

func (f *workerFaults) any() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.found) > 0
}

// err returns all faults, or nil.
func (f *workerFaults) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.found...)
}

func (f *workerFaults) kills(w *process.Worker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.killed[w] = true
}

// wasKilled reports whether w was killed, and forgets it, as it is stopped once.
func (f *workerFaults) wasKilled(w *process.Worker) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	killed := f.killed[w]
	delete(f.killed, w)
	return killed
}
