package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// Layer says what the workers of a system are.
type Layer string

// The layers.
const (
	Memory  Layer = "memory"  // fakes; for a testing/synctest bubble
	Wire    Layer = "wire"    // workers that speak the protocol over a pipe in memory; likewise
	Process Layer = "process" // real processes
)

// Worker is a worker under load. *process.Worker is one.
type Worker interface {
	ID() pool.WorkerID
	Instance() string // which no other incarnation has
	Methods() []string
	Call(ctx context.Context, method string, params, result any) error
	Ping(ctx context.Context) error
}

// System is a pool with its workers that can be harmed. Its methods may be called
// concurrently.
type System struct {
	Pool *recorded.Pool[Worker]

	front    front // of Pool
	layer    Layer
	size     int
	affinity pool.Affinity
	ttl      time.Duration // of sessions; 0: none
	begun    time.Time

	opened func()      // called when Pool is set
	burst  func(n int) // makes so many calls at once; nil: nobody loads the system
	starts *starts
	links  Links                 // of workers behind a wire
	table  atomic.Pointer[Table] // of Pool; nil until that is open

	mu    sync.Mutex
	ready map[pool.WorkerID]*member // guarded by mu: said hello, and not known to be gone
	moves []move                    // guarded by mu
	moved chan struct{}             // guarded by mu: closed at the next change of ready
	tasks map[pool.WorkerID][]func(context.Context, Worker) error
	bound map[pool.SessionID]pool.WorkerID // guarded by mu: as the pool has told
	ended map[pool.WorkerID]time.Duration  // guarded by mu: when the pool told that it stops them
	fails []time.Duration                  // guarded by mu: when the pool told of failed starts
	turns int                              // guarded by mu: how many refusals because too many waited it told
	pids  []int                            // guarded by mu: of all processes that said hello

	begins  map[pool.WorkerID]time.Duration // guarded by mu: of starts under way
	longest time.Duration                   // guarded by mu: from the beginning of a start to its hello

	newcomers []*func(*Link) // guarded by mu: told of the links of the next starts
}

// front is what a run calls of a pool.
type front interface {
	acquire(ctx context.Context, id pool.SessionID) (lease, error) // no session if id is empty
	EndSession(id pool.SessionID)
	Retire(id pool.WorkerID, cause error)
	Shutdown(ctx context.Context) error
	History() *linearize.History
	Fault(kind string, worker pool.WorkerID) *linearize.OpenFault
}

// lease is what a run calls of a lease.
type lease interface {
	Worker() Worker
	WorkerID() pool.WorkerID
	Fresh() bool
	Release()
	Discard(cause error)
}

// recordedFront is a recorded pool as a front.
type recordedFront struct{ *recorded.Pool[Worker] }

func (f recordedFront) acquire(ctx context.Context, id pool.SessionID) (lease, error) {
	l, err := f.AcquireSession(ctx, id)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// member is a worker that is ready.
type member struct {
	worker Worker
	harmed int // injuries that were injected and are not healed
}

// move is a change of how many workers are ready and unharmed.
type move struct {
	at    time.Duration
	count int
}

// newSystem returns a System without a pool.
func newSystem(layer Layer, cfg *pool.Config[Worker]) *System {
	return &System{
		layer: layer, size: cfg.MaxSize, affinity: cfg.Affinity, ttl: cfg.SessionTTL, begun: time.Now(), opened: func() {}, starts: newStarts(layer),
		ready: make(map[pool.WorkerID]*member), moved: make(chan struct{}),
		tasks:  make(map[pool.WorkerID][]func(context.Context, Worker) error),
		bound:  make(map[pool.SessionID]pool.WorkerID),
		ended:  make(map[pool.WorkerID]time.Duration),
		begins: make(map[pool.WorkerID]time.Duration),
	}
}

// Layer says what the workers are.
func (s *System) Layer() Layer { return s.layer }

// now is the time since the system was opened.
func (s *System) now() time.Duration { return time.Since(s.begun) }

// expires says that sessions may have ended by themselves.
func (s *System) expires() bool { return s.ttl > 0 && s.now() >= s.ttl }

// hello notes that a worker's start has succeeded, which its handshake shows.
func (s *System) hello(w Worker) {
	s.change(func() {
		s.ready[w.ID()] = &member{worker: w}
		if at, begun := s.begins[w.ID()]; begun {
			s.longest = max(s.longest, s.now()-at)
		}
		if p, ok := w.(*process.Worker); ok && s.layer == Process {
			s.pids = append(s.pids, p.PID())
		}
	})
	s.starts.hello(w)
}

// gone notes that a worker is being stopped.
func (s *System) gone(id pool.WorkerID) {
	s.change(func() {
		if _, known := s.ended[id]; !known {
			s.ended[id] = s.now()
		}
		delete(s.ready, id)
		delete(s.tasks, id)
	})
}

// observe takes down what the pool reports of its workers.
func (s *System) observe(e pool.Event) {
	s.starts.observe(e)
	s.noteWorkers(e)
	switch e.Kind {
	case pool.WorkerStarting:
		s.mu.Lock()
		s.begins[e.Worker] = s.now()
		s.mu.Unlock()
	case pool.WorkerStarted:
		s.mu.Lock()
		delete(s.begins, e.Worker)
		s.mu.Unlock()
	case pool.WorkerStopping, pool.WorkerStopped:
		s.gone(e.Worker)
	case pool.WorkerStartFailed: // one may die between hello and the end of its start
		s.change(func() {
			delete(s.ready, e.Worker)
			delete(s.tasks, e.Worker)
			delete(s.begins, e.Worker)
			s.fails = append(s.fails, s.now())
		})
	case pool.AcquireRefused:
		if errors.Is(e.Err, pool.ErrSaturated) {
			s.change(func() { s.turns++ })
		}
	case pool.LeaseGranted:
		if e.Session != "" {
			s.bind(e.Session, e.Worker)
		}
	}
}

// bind notes whom a session is bound to.
func (s *System) bind(id pool.SessionID, w pool.WorkerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.bound[id]; known {
		s.bound[id] = w
		return
	}
	s.bound[id] = w
	s.wakeLocked()
}

// wakeLocked tells those who wait for a change.
func (s *System) wakeLocked() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// refused returns how many acquires the pool has refused because too many waited.
func (s *System) refused() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.turns
}

// changed returns a channel that is closed when something changes that may let a fault land.
func (s *System) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moved
}

// startTime returns the longest time so far from the beginning of a start to its hello.
func (s *System) startTime() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.longest
}

// goneWithin is how much later the pool may tell that a worker has ended than that shows.
const goneWithin = time.Second

// awaitGone waits for a while until a worker is known to have ended, and reports whether it
// is. If ctx has ended it is not.
func (s *System) awaitGone(ctx context.Context, id pool.WorkerID) bool {
	ctx, cancel := context.WithTimeout(ctx, goneWithin)
	defer cancel()
	for ctx.Err() == nil {
		changed := s.changed()
		if s.worker(id) == nil {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return false
}

// holder returns the worker of a session, or of any session if id is empty.
func (s *System) holder(id pool.SessionID, random *rand.Rand) (pool.WorkerID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var bound []pool.SessionID
	for session, w := range s.bound {
		if m := s.ready[w]; m != nil && m.harmed == 0 && (id == "" || session == id) {
			bound = append(bound, session)
		}
	}
	if len(bound) == 0 {
		return 0, fmt.Errorf("session %q has no worker that is ready", id)
	}
	slices.Sort(bound)
	return s.bound[bound[random.IntN(len(bound))]], nil
}

// change changes who is ready, and tells those who wait for it.
func (s *System) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.moves = append(s.moves, move{s.now(), s.capacityLocked()})
	s.wakeLocked()
}

func (s *System) capacityLocked() (n int) {
	for _, m := range s.ready {
		if m.harmed == 0 {
			n++
		}
	}
	return n
}

// harm notes that a worker is harmed (by 1) or healed (by -1).
func (s *System) harm(id pool.WorkerID, by int) {
	if id == 0 {
		return
	}
	s.change(func() {
		if m := s.ready[id]; m != nil {
			m.harmed += by
		}
	})
}

// worker returns a worker that is ready, or nil.
func (s *System) worker(id pool.WorkerID) Worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.ready[id]; m != nil {
		return m.worker
	}
	return nil
}

// workers returns who is ready and unharmed, in order of their numbers.
func (s *System) workers() []pool.WorkerID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []pool.WorkerID
	for id, m := range s.ready {
		if m.harmed == 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// awaitCapacity waits until so many workers are ready and unharmed.
func (s *System) awaitCapacity(ctx context.Context, want int) error {
	for {
		s.mu.Lock()
		have, moved := s.capacityLocked(), s.moved
		s.mu.Unlock()
		if have >= want {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d workers are ready: %w", have, want, context.Cause(ctx))
		}
	}
}

// within keeps f for the next lease of a worker.
func (s *System) within(id pool.WorkerID, f func(context.Context, Worker) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks[id] = append(s.tasks[id], f)
}

// perform does what is kept for a worker that the caller has leased.
func (s *System) perform(ctx context.Context, w Worker) error {
	s.mu.Lock()
	tasks := s.tasks[w.ID()]
	delete(s.tasks, w.ID())
	s.mu.Unlock()
	for _, f := range tasks {
		if err := f(ctx, w); err != nil {
			return err
		}
	}
	return nil
}
