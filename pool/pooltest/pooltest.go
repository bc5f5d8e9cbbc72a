// Package pooltest helps to test code that uses a pool, and pools themselves: pools
// that are isolated and checked for leaks (New), fake workers that a test controls and
// that keep their own books (Fakes), waits that end with an event (Warm, WaitIdle),
// operations that start together (Barrier, Concurrently) and the rules of session
// affinity (VerifyAffinity).
//
//	func TestWork(t *testing.T) {
//		fakes := pooltest.NewFakes(t, 4)
//		cfg := fakes.Config()
//		cfg.MaxSize = 4
//		p := pooltest.New(t, cfg)
//		pooltest.Warm(t, p, 4)
//		...
//	}
//
// Two rules hold throughout. An oracle is independent of what it judges: a worker has
// started when its Start was seen to return, not when Stat says so. And nothing waits
// for a time to pass: every wait ends with an event, or fails at a deadline and says
// what it was waiting for.
//
// Everything here may be used inside a testing/synctest bubble, if it was made there.
package pooltest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// DefaultDeadline bounds every wait of this package, and the close at the end of a
// test, unless Within says otherwise.
const DefaultDeadline = 10 * time.Second

// Option changes how a function of this package works.
type Option func(*settings)

type settings struct {
	deadline   time.Duration
	monitor    time.Duration
	leaks      bool
	unobserved bool
}

func newSettings(opts []Option) settings {
	s := settings{deadline: DefaultDeadline, leaks: true}
	for _, opt := range opts {
		opt(&s)
	}
	return s
}

// Within bounds a wait. For New it is the default of all waits on that pool.
func Within(deadline time.Duration) Option { return func(s *settings) { s.deadline = deadline } }

// Monitored makes New sample the pool and the process periodically; see Pool.Monitor.
func Monitored(period time.Duration) Option { return func(s *settings) { s.monitor = period } }

// NoLeakCheck makes New leave out the check for leaks, which concerns the whole process
// and so cannot be had in tests that run in parallel with others.
func NoLeakCheck() Option { return func(s *settings) { s.leaks = false } }

// Unobserved makes New leave Config.Observer as it is, for tests of what a pool does when
// nobody observes it. WaitIdle, WaitStarted and WaitWaiting cannot be used with such a pool.
func Unobserved() Option { return func(s *settings) { s.unobserved = true } }

// Pool is a pool that New made: a pool.Pool whose events are watched.
type Pool[T any] struct {
	*pool.Pool[T]
	name    string
	cfg     pool.Config[T]
	within  settings
	watch   *watch
	monitor *Monitor
}

// Name returns the pool's name, which no other pool has. Log lines carry it.
func (p *Pool[T]) Name() string { return p.name }

// Monitor returns the pool's monitor, or nil without the option Monitored.
func (p *Pool[T]) Monitor() *Monitor { return p.monitor }

// New returns a pool for one test. It fails the test at once if pool.New refuses cfg.
// At the end of the test the pool is closed, unless the test has begun that; it fails
// the test if leases are then still out, if hooks do not return, or if goroutines, child
// processes or descriptors are left that were not there before (see CheckLeaks).
//
// New wraps cfg.Start and cfg.Observer to see what happens; both are called as usual.
// Without cfg.Logger the pool logs to t.
func New[T any](t testing.TB, cfg pool.Config[T], opts ...Option) *Pool[T] {
	t.Helper()
	s := newSettings(opts)
	if s.leaks {
		CheckLeaks(t)
	}
	p := &Pool[T]{
		name:   fmt.Sprintf("%s#%08x", t.Name(), rand.Uint32()),
		within: s,
		watch:  newWatch(),
	}
	if cfg.Logger == nil {
		log := &testLog{t: t}
		t.Cleanup(log.close)
		cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	cfg.Logger = cfg.Logger.With("pool", p.name)
	p.cfg = watched(cfg, p.watch, s.unobserved)
	made, err := pool.New(p.cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	p.Pool = made
	if s.monitor > 0 {
		p.monitor = NewMonitor(s.monitor, made.Stat)
	}
	t.Cleanup(func() { p.finish(t) })
	return p
}

// watched returns cfg with Start and Observer reporting to w.
func watched[T any](cfg pool.Config[T], w *watch, unobserved bool) pool.Config[T] {
	if start := cfg.Start; start != nil {
		cfg.Start = func(ctx context.Context, id pool.WorkerID) (T, error) {
			worker, err := start(ctx, id)
			if err == nil && ctx.Err() == nil {
				w.handshake(id)
			}
			return worker, err
		}
	}
	if unobserved {
		return cfg
	}
	observer := cfg.Observer
	cfg.Observer = func(e pool.Event) {
		if observer != nil {
			defer observer(e)
		}
		w.observe(e)
	}
	return cfg
}

// finish closes the pool at the end of a test and judges how that went.
func (p *Pool[T]) finish(t testing.TB) {
	t.Helper()
	begun := p.Stat().Closing
	ctx, cancel := context.WithTimeoutCause(context.Background(), p.within.deadline, errors.New("end of test"))
	defer cancel()
	err := p.Shutdown(ctx)
	if p.monitor != nil {
		p.monitor.Stop()
	}
	var report *pool.ShutdownError
	switch {
	case err == nil:
	case !errors.As(err, &report):
		t.Errorf("pool %s: Shutdown at the end of the test: %v", p.name, err)
	case len(report.Running) > 0, !begun:
		t.Errorf("pool %s: Shutdown at the end of the test, after %v: %v; want every lease released and every hook returned",
			p.name, p.within.deadline, err)
	}
	for _, problem := range p.watch.problems() {
		t.Errorf("pool %s: %s", p.name, problem)
	}
}

// testLog writes lines to the test until it is over.
type testLog struct {
	mu sync.Mutex
	t  testing.TB // nil: over
}

func (l *testLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t != nil {
		l.t.Log(strings.TrimSuffix(string(line), "\n"))
	}
	return len(line), nil
}

func (l *testLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t = nil
}

// watch gathers what the hooks and the Observer of a pool reported.
type watch struct {
	mu         sync.Mutex
	changed    chan struct{} // closed and replaced at every event
	handshakes map[pool.WorkerID]bool
	started    map[pool.WorkerID]bool // told by an event
	failures   map[pool.WorkerID]error
	wrong      []string
}

func newWatch() *watch {
	return &watch{
		changed:    make(chan struct{}),
		handshakes: map[pool.WorkerID]bool{}, started: map[pool.WorkerID]bool{}, failures: map[pool.WorkerID]error{},
	}
}

func (w *watch) handshake(id pool.WorkerID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handshakes[id] = true
}

func (w *watch) observe(e pool.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case pool.WorkerStarted:
		if !w.handshakes[e.Worker] {
			w.wrong = append(w.wrong, fmt.Sprintf("worker %d is said to have started, but its Start has not returned in order", e.Worker))
		}
		w.started[e.Worker] = true
	case pool.WorkerStartFailed:
		w.failures[e.Worker] = e.Err
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// next returns a channel that is closed at the next event.
func (w *watch) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// shaken returns the workers whose Start was seen to return. The pool may grant them
// before it tells of it.
func (w *watch) shaken() []pool.WorkerID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.handshakes))
}

// seen returns the workers whose Start was seen to return and of which the pool has told.
func (w *watch) seen() []pool.WorkerID {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []pool.WorkerID
	for id := range w.started {
		if w.handshakes[id] {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (w *watch) problems() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.wrong)
}

// startFailures describes the failed starts, for messages.
func (w *watch) startFailures() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(w.failures)) {
		fmt.Fprintf(&b, "\n\tworker %d did not start: %v", id, w.failures[id])
	}
	return b.String()
}
