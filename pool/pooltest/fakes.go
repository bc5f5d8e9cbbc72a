package pooltest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// ErrDead is what a fake worker answers once it was killed.
var ErrDead = errors.New("pooltest: worker is dead")

// Worker is a fake worker: it lives in memory, and does nothing but notice misuse.
type Worker struct {
	id    pool.WorkerID
	fakes *Fakes

	// Guarded by fakes.mu.
	users   int
	uses    int
	dead    bool  // killed or broken
	ill     error // what its checks return
	stopped int
}

// ID returns the incarnation.
func (w *Worker) ID() pool.WorkerID { return w.id }

// Use runs f as work on the worker; nil does nothing. It returns ErrDead, before or
// after f, if the worker is dead. It fails the test if another caller uses the worker
// at the same time (I1), or if its Stop was called before (I3; see Revoking).
func (w *Worker) Use(f func()) error {
	w.fakes.note(func(report func(string, ...any)) {
		w.users++
		w.uses++
		if w.users > 1 {
			report("I1: worker %d is used by %d callers at once", w.id, w.users)
		}
		if w.stopped > 0 && !w.fakes.revoking {
			report("I3: worker %d is used after its stop began", w.id)
		}
	})
	defer w.fakes.note(func(func(string, ...any)) { w.users-- })
	if f != nil && !w.Dead() {
		f()
	}
	if w.Dead() {
		return ErrDead
	}
	return nil
}

// Dead reports whether the worker was killed.
func (w *Worker) Dead() bool {
	w.fakes.mu.Lock()
	defer w.fakes.mu.Unlock()
	return w.dead
}

// Start is how a start of a fake goes. The zero Start succeeds at once.
type Start struct {
	Delay   time.Duration // before the outcome; cut short by the context
	Gate    *Gate         // passed before the outcome, after Delay; cut short by the context
	Stuck   bool          // Delay and Gate are not cut short by the context
	Err     error         // the outcome: an error
	Panic   any           // the outcome: a panic
	Goexit  bool          // the outcome: runtime.Goexit
	Stop    Stop          // how the worker stops
	Illness error         // what its checks return
}

// Stop is how a stop of a fake goes. The zero Stop succeeds at once.
type Stop struct {
	Delay time.Duration // cut short by the context
	Gate  *Gate         // cut short by the context
	Stuck bool          // not cut short
	Err   error
	Panic any
}

// Books are what Fakes have counted.
type Books struct {
	Begun   int // starts
	Failed  int // starts that made no worker
	Made    int // workers
	Stopped int // workers whose Stop returned
	Checks  int
	Live    int // begun, and neither failed nor stopped
	Peak    int // the most live at once
}

// Fakes is a factory of fake workers that a test controls. It keeps its own books of
// them, and fails the test when they show that a pool broke a rule: more than the
// maximum alive (I2), a worker stopped twice or not at all, or used afterwards (I3).
// Its methods may be called by any goroutine.
type Fakes struct {
	t testing.TB

	mu       sync.Mutex
	limit    int
	books    Books
	workers  map[pool.WorkerID]*Worker
	stops    map[pool.WorkerID]Stop
	planned  []Start // for the next starts
	standard Start   // for all others
	checks   *Gate   // nil: checks are not held
	revoking bool
	findings []string
}

// NewFakes returns a factory that fails the test if more than limit workers are ever
// live, or if anything is left when the test is over. Make it before the pool, so that
// the pool is closed by then.
func NewFakes(t testing.TB, limit int) *Fakes {
	f := &Fakes{t: t, limit: limit, workers: map[pool.WorkerID]*Worker{}, stops: map[pool.WorkerID]Stop{}}
	t.Cleanup(func() {
		t.Helper()
		for _, finding := range f.settle() {
			t.Errorf("fakes: %s", finding)
		}
	})
	return f
}

// Config returns a configuration with Start, Stop, Check and Usable of the fakes, to be
// completed. Checks take place if HealthCheckPeriod is set too.
func (f *Fakes) Config() pool.Config[*Worker] {
	return pool.Config[*Worker]{Start: f.start, Stop: f.stop, Check: f.check, Usable: func(w *Worker) bool { return !w.Dead() }}
}

// Limit changes the number of workers that may be live, after a Resize. Workers beyond a
// lower limit are no finding, but a start is.
func (f *Fakes) Limit(limit int) { f.note(func(func(string, ...any)) { f.limit = limit }) }

// NextStarts plans the next starts, in the order in which they begin, after those that
// are planned already.
func (f *Fakes) NextStarts(starts ...Start) {
	f.note(func(func(string, ...any)) { f.planned = append(f.planned, starts...) })
}

// EveryStart says how every start goes that is not planned by NextStarts.
func (f *Fakes) EveryStart(start Start) { f.note(func(func(string, ...any)) { f.standard = start }) }

// HoldChecks has every check pass gate from now on; nil holds none. A held check ends
// with its context.
func (f *Fakes) HoldChecks(gate *Gate) { f.note(func(func(string, ...any)) { f.checks = gate }) }

// Revoking says that a Shutdown is going to revoke leases: from now on holders may use
// a worker that is being stopped.
func (f *Fakes) Revoking() { f.note(func(func(string, ...any)) { f.revoking = true }) }

// Retirer is a pool that can be told of a worker's death; pool.Pool is one.
type Retirer interface {
	Retire(id pool.WorkerID, cause error)
}

// Kill has a worker die and tells p of it, as a reaper would. It fails the test if there
// is no such worker alive: a fault that does not land proves nothing.
func (f *Fakes) Kill(p Retirer, id pool.WorkerID) {
	f.t.Helper()
	f.Break(id)
	p.Retire(id, ErrDead)
}

// Break has a worker die without telling anybody: it answers ErrDead, its checks fail,
// and Usable says no. It fails the test if there is no such worker alive.
func (f *Fakes) Break(id pool.WorkerID) {
	f.t.Helper()
	f.alter(id, func(w *Worker) { w.dead, w.ill = true, ErrDead })
}

// Sicken has the checks of a worker return illness from now on; nil cures it. It fails
// the test if there is no such worker alive.
func (f *Fakes) Sicken(id pool.WorkerID, illness error) {
	f.t.Helper()
	f.alter(id, func(w *Worker) { w.ill = illness })
}

func (f *Fakes) alter(id pool.WorkerID, change func(*Worker)) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.workers[id]
	if w == nil || w.dead || w.stopped > 0 {
		f.t.Fatalf("fakes: fault has not landed: worker %d is not alive; alive: %v", id, f.aliveLocked())
	}
	change(w)
}

// Alive returns the workers that were made, are neither dead nor stopped, in order.
func (f *Fakes) Alive() []pool.WorkerID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.aliveLocked()
}

func (f *Fakes) aliveLocked() (ids []pool.WorkerID) {
	for _, id := range slices.Sorted(maps.Keys(f.workers)) {
		if w := f.workers[id]; !w.dead && w.stopped == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// Books returns what was counted so far.
func (f *Fakes) Books() Books {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.books
}

// Uses returns how often a worker was used.
func (f *Fakes) Uses(id pool.WorkerID) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.workers[id]; w != nil {
		return w.uses
	}
	return 0
}

// note makes a change to the books.
func (f *Fakes) note(change func(report func(format string, args ...any))) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(func(format string, args ...any) {
		f.findings = append(f.findings, fmt.Sprintf(format, args...))
	})
}

// Findings returns the broken rules so far. At the end of the test each fails it.
func (f *Fakes) Findings() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.findings)
}

// settle returns all findings, and what is left.
func (f *Fakes) settle() []string {
	findings := f.Findings()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.books.Live > 0 {
		findings = append(findings, fmt.Sprintf("I13: %d workers or starts are left: %+v; alive: %v", f.books.Live, f.books, f.aliveLocked()))
	}
	for _, id := range slices.Sorted(maps.Keys(f.workers)) {
		if n := f.workers[id].stopped; n != 1 {
			findings = append(findings, fmt.Sprintf("I3: worker %d was stopped %d times, want once", id, n))
		}
	}
	if len(f.planned) > 0 {
		findings = append(findings, fmt.Sprintf("%d planned starts have not begun: these faults have not landed", len(f.planned)))
	}
	return findings
}

// start is the pool's Start hook.
func (f *Fakes) start(ctx context.Context, id pool.WorkerID) (*Worker, error) {
	var plan Start
	f.note(func(report func(string, ...any)) {
		plan = f.standard
		if len(f.planned) > 0 {
			plan, f.planned = f.planned[0], f.planned[1:]
		}
		f.books.Begun++
		f.books.Live++
		f.books.Peak = max(f.books.Peak, f.books.Live)
		if f.books.Live > f.limit {
			report("I2: start of worker %d makes %d live, want at most %d", id, f.books.Live, f.limit)
		}
	})
	made := false
	defer f.note(func(func(string, ...any)) {
		if !made {
			f.books.Failed++
			f.books.Live--
		}
	})
	if err := linger(ctx, plan.Delay, plan.Gate, plan.Stuck); err != nil {
		return nil, err
	}
	switch {
	case plan.Panic != nil:
		panic(plan.Panic)
	case plan.Goexit:
		runtime.Goexit()
	case plan.Err != nil:
		return nil, plan.Err
	}
	made = true
	w := &Worker{id: id, fakes: f, ill: plan.Illness}
	f.note(func(report func(string, ...any)) {
		if f.workers[id] != nil {
			report("worker %d was started before: incarnations are never used again", id)
		}
		f.books.Made++
		f.workers[id], f.stops[id] = w, plan.Stop
	})
	return w, nil
}

// stop is the pool's Stop hook.
func (f *Fakes) stop(ctx context.Context, w *Worker, _ error) error {
	var plan Stop
	first := false
	f.note(func(report func(string, ...any)) {
		plan = f.stops[w.id]
		w.stopped++
		first = w.stopped == 1
		if !first {
			report("I3: worker %d is stopped for the %d. time", w.id, w.stopped)
		}
	})
	defer f.note(func(func(string, ...any)) {
		if first {
			f.books.Stopped++
			f.books.Live--
		}
	})
	err := linger(ctx, plan.Delay, plan.Gate, plan.Stuck)
	if plan.Panic != nil {
		panic(plan.Panic)
	}
	return errors.Join(err, plan.Err)
}

// check is the pool's Check hook.
func (f *Fakes) check(ctx context.Context, w *Worker) error {
	var gate *Gate
	f.note(func(report func(string, ...any)) {
		f.books.Checks++
		gate = f.checks
		if w.stopped > 0 {
			report("I3: worker %d is checked after its stop", w.id)
		}
		if w.users > 0 {
			report("I12: worker %d is checked while it is in use", w.id)
		}
	})
	if err := linger(ctx, 0, gate, false); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return w.ill
}

// linger waits for delay and then for gate. Unless stuck, it returns the context's
// cause when that ends first.
func linger(ctx context.Context, delay time.Duration, gate *Gate, stuck bool) error {
	if stuck {
		ctx = context.WithoutCancel(ctx)
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if gate == nil {
		return nil
	}
	return gate.Pass(ctx)
}
