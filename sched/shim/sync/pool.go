package sync

import (
	"sync"
	"unsafe"
	"weak"

	"github.com/poolproof/poolproof/sched"
)

// Pool stands for sync.Pool. In a run it gives back what was put last in that run, and
// drops nothing: what was made in one bubble must not turn up in another.
type Pool struct {
	real sync.Pool

	mu    sync.Mutex // held briefly
	run   weak.Pointer[sched.Scheduler]
	items []any // put in that run

	// New makes an item when there is none. It may be nil.
	New func() any
}

// Get takes an item out of p. If there is none it returns what New makes, or nil.
func (p *Pool) Get() any {
	x, ok := any(nil), false
	if t := sched.Here(); t != nil {
		t.Point(sched.OpPoolGet, unsafe.Pointer(p))
		x, ok = p.take(t)
	} else {
		x = p.real.Get()
		ok = x != nil
	}
	if !ok && p.New != nil {
		return p.New()
	}
	return x
}

// take returns what was put last in the task's run.
func (p *Pool) take(t *sched.Task) (any, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.adoptLocked(t)
	if len(p.items) == 0 {
		return nil, false
	}
	last := len(p.items) - 1
	x := p.items[last]
	p.items = p.items[:last]
	return x, true
}

// adoptLocked drops what other runs have put.
func (p *Pool) adoptLocked(t *sched.Task) {
	if run := weak.Make(t.Scheduler()); run != p.run {
		p.run, p.items = run, nil
	}
}

// Put adds x to p. A nil x is not kept.
func (p *Pool) Put(x any) {
	if x == nil {
		return
	}
	t := sched.Here()
	if t == nil {
		p.real.Put(x)
		return
	}
	t.Point(sched.OpPoolPut, unsafe.Pointer(p))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.adoptLocked(t)
	p.items = append(p.items, x)
}
