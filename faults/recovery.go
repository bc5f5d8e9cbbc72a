package faults

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/internal/inventory"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// recover waits until capacity is back, loads the system once more, and verifies that
// nothing is amiss.
func (r *run) recover(ctx context.Context) {
	healed := r.sys.now()
	r.phase("recovery", func() { r.mend(ctx) })
	if ctx.Err() != nil {
		return
	}
	r.say("capacity is back after %v", (r.sys.now() - healed).Round(time.Millisecond))
	r.phase("after", func() {
		r.loader.run(ctx, r.cfg.Load.level(r.cfg.After))
		r.weigh(&r.report.Memory.After)
	})
	r.drain()
	if ctx.Err() != nil {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, r.cfg.RecoverWithin)
	defer cancel()
	if err := r.verifyCapacity(bounded); err != nil {
		r.report.find("I5: capacity is not whole at rest: %v", err)
	}
}

// mend loads the system until capacity is back and every call has been answered that may
// have met a harm. Then each session is called once, which tells those that were lost: from
// then on no call may fail. If capacity goes again meanwhile, as by a call that was stuck in
// a worker that was harmed, it starts over.
func (r *run) mend(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.RecoverWithin)
	defer cancel()
	for first := true; ; first = false {
		if err := r.loadUntilWhole(ctx, first); err != nil {
			r.report.find("capacity did not come back within %v of healing: %v", r.cfg.RecoverWithin, err)
			return
		}
		r.drain()
		r.loader.settle()
		r.drain()
		if len(r.sys.workers()) >= r.sys.size {
			return
		}
	}
}

// loadUntilWhole loads the system until capacity is back; with enough, also until there
// was enough traffic.
func (r *run) loadUntilWhole(ctx context.Context, enough bool) error {
	loading, stop := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		r.loader.run(loading, r.cfg.Load.level(r.cfg.RecoverWithin))
	}()
	defer func() {
		stop()
		<-over
	}()
	if enough {
		least := time.Duration(float64(fewest+1) / r.cfg.Load.Rate * float64(time.Second))
		if !pause(ctx, least) {
			return context.Cause(ctx)
		}
	}
	if r.cfg.System.Pool.MinSize < r.sys.size { // then workers are started for those who want them
		return r.warm(ctx)
	}
	return r.sys.awaitCapacity(ctx, r.sys.size)
}

// verifyCapacity takes all workers at once, and asks each of them for a sign of life.
func (r *run) verifyCapacity(ctx context.Context) (err error) {
	leases, err := r.takeAll(ctx)
	seen := make(map[pool.WorkerID]bool)
	pids := make(map[int]bool)
	dead := r.dead()
	for _, l := range leases {
		id := l.WorkerID()
		switch {
		case seen[id]:
			err = errors.Join(err, fmt.Errorf("worker %d is leased twice", id))
		case dead[id]:
			err = errors.Join(err, fmt.Errorf("worker %d was granted after its end", id))
		case r.sys.worker(id) == nil:
			err = errors.Join(err, fmt.Errorf("worker %d was granted without a handshake, or while it is being stopped", id))
		}
		seen[id] = true
		if pingErr := l.Worker().Ping(ctx); pingErr != nil {
			err = errors.Join(err, fmt.Errorf("worker %d does not answer: %w", id, pingErr))
		}
		if p, ok := l.Worker().(*process.Worker); ok && r.sys.layer == Process {
			if lifeErr := alive(p.PID()); lifeErr != nil {
				err = errors.Join(err, fmt.Errorf("worker %d: %w", id, lifeErr))
			}
			if pids[p.PID()] {
				err = errors.Join(err, fmt.Errorf("worker %d is process %d, as another one is", id, p.PID()))
			}
			pids[p.PID()] = true
		}
	}
	for _, l := range leases {
		l.Release()
	}
	return err
}

// alive says why a process is not alive, or nil.
func alive(pid int) error {
	p, err := inventory.Look(pid)
	switch {
	case err != nil:
		return fmt.Errorf("process %d is not there: %w", pid, err)
	case p.State == 'Z' || p.State == 'X':
		return fmt.Errorf("process %d is dead: state %c", pid, p.State)
	}
	return nil
}

// dead returns the workers that did not survive a fault.
func (r *run) dead() map[pool.WorkerID]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	dead := make(map[pool.WorkerID]bool)
	for _, f := range r.report.Faults {
		if f.Ends && f.Error == "" {
			dead[f.Worker] = true
		}
	}
	return dead
}

// closeWithin bounds the end of a system.
const closeWithin = 30 * time.Second

// close closes the system: at once if the run was cut short.
func (r *run) close(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	if err := r.sys.front.Shutdown(bounded); err != nil && ctx.Err() == nil {
		r.report.find("I13: the pool did not close in good order: %v", err)
	}
}

// stock is what there was before a system was opened.
type stock struct {
	layer    Layer
	bubble   bool
	before   inventory.Inventory
	routines goleak.Option
}

// takeStock notes what there is. In a bubble testing/synctest itself sees to it that no
// goroutine is left, and there are no processes.
func (cfg *SystemConfig) takeStock() stock {
	s := stock{layer: cfg.Layer, bubble: inventory.InBubble()}
	if !s.bubble {
		s.routines = goleak.IgnoreCurrent()
	}
	if s.layer == Process {
		s.before = inventory.Take()
	}
	return s
}

// behind returns what is there that was not, once the system is closed, and ends those of
// its processes that are still alive.
func (s stock) behind(sys *System) (left []string) {
	if !s.bubble {
		// Goroutines first: they hold the rest.
		if err := goleak.Find(s.routines); err != nil {
			left = append(left, fmt.Sprintf("goroutines: %v", err))
		}
	}
	if s.layer != Process {
		return left
	}
	left = append(left, inventory.AwaitNothingSince(s.before)...)
	return append(left, sys.endProcesses()...)
}

// MemoryReport is how much memory there was, in bytes. These are findings: the host's heap
// grew by more than 16 MiB and 2 KiB for each call that was made meanwhile, which is what
// the run itself takes down; the largest worker afterwards has a resident set of more than
// one and a half that of the largest one before and 16 MiB.
type MemoryReport struct {
	Before Weight `json:"before"` // at the end of the phase before
	After  Weight `json:"after"`  // at the end of the phase after
}

// Weight is memory at a moment.
type Weight struct {
	Heap    int64 `json:"heap"`              // of the host, after a collection
	Largest int64 `json:"largest,omitempty"` // resident set of a worker; 0: there are no processes
	Calls   int   `json:"calls"`             // that were made so far
}

// The bounds that MemoryReport states.
const (
	heapGrowth     = 16 << 20
	heapOfCall     = 2 << 10
	residentGrowth = 16 << 20
)

// weigh takes down how much memory there is.
func (r *run) weigh(w *Weight) {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	w.Heap, w.Calls = int64(stats.HeapAlloc), r.loader.answered()
	if r.sys.layer != Process {
		return
	}
	for _, id := range r.sys.workers() {
		if p, ok := r.sys.worker(id).(*process.Worker); ok {
			if proc, err := inventory.Look(p.PID()); err == nil {
				w.Largest = max(w.Largest, proc.Resident)
			}
		}
	}
}

// judge says in what memory has grown beyond its bounds.
func (m *MemoryReport) judge() (problems []string) {
	if m.After == (Weight{}) {
		return nil // which is another finding
	}
	grown, most := m.After.Heap-m.Before.Heap, int64(heapGrowth+heapOfCall*(m.After.Calls-m.Before.Calls))
	if grown > most {
		problems = append(problems, fmt.Sprintf("the host's heap grew by %d bytes in %d calls; want at most %d", grown, m.After.Calls-m.Before.Calls, most))
	}
	if most := m.Before.Largest*3/2 + residentGrowth; m.After.Largest > most {
		problems = append(problems, fmt.Sprintf("the largest worker's resident set went from %d to %d bytes; want at most %d", m.Before.Largest, m.After.Largest, most))
	}
	return problems
}
