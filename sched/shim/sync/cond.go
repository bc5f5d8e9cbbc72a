package sync

import (
	"sync"
	"unsafe"

	"github.com/poolproof/poolproof/sched"
)

// Cond stands for sync.Cond.
type Cond struct {
	// L is held while the condition is looked at or changed.
	L Locker

	real sync.Cond // of those who wait outside a run

	mu      sync.Mutex // held briefly
	waiting []*bool    // tasks that wait, first come first: set to true when woken
}

// NewCond returns a Cond with that Locker.
func NewCond(l Locker) *Cond { return &Cond{L: l} }

// Wait unlocks c.L, waits until it is woken, and locks c.L again.
func (c *Cond) Wait() {
	t := sched.Here()
	if t == nil {
		c.real.L = c.L // the caller holds it
		c.real.Wait()
		return
	}
	t.Point(sched.OpWait, unsafe.Pointer(c))
	woken := new(bool)
	c.mu.Lock()
	c.waiting = append(c.waiting, woken)
	c.mu.Unlock()
	c.L.Unlock()
	t.Await(sched.OpWait, unsafe.Pointer(c), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return *woken
	})
	c.L.Lock()
}

// Signal wakes one that waits, if there is one.
func (c *Cond) Signal() {
	if t := sched.Here(); t != nil {
		t.Point(sched.OpSignal, unsafe.Pointer(c))
	}
	if !c.wake(1) {
		c.real.Signal()
	}
}

// Broadcast wakes all that wait.
func (c *Cond) Broadcast() {
	if t := sched.Here(); t != nil {
		t.Point(sched.OpBroadcast, unsafe.Pointer(c))
	}
	c.wake(-1)
	c.real.Broadcast()
}

// wake lets up to n tasks go on, all if n is negative, and tells whether there was one.
func (c *Cond) wake(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n < 0 || n > len(c.waiting) {
		n = len(c.waiting)
	}
	for _, woken := range c.waiting[:n] {
		*woken = true
	}
	c.waiting = c.waiting[n:]
	return n > 0
}
