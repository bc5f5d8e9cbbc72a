package sync

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/poolproof/poolproof/sched"
)

// WaitGroup stands for sync.WaitGroup.
type WaitGroup struct {
	real sync.WaitGroup
	n    atomic.Int64
}

// Add adds delta, which may be negative, to the number of things to wait for. A number
// below zero panics.
func (wg *WaitGroup) Add(delta int) {
	if t := sched.Here(); t != nil {
		t.Point(sched.OpGroupAdd, unsafe.Pointer(wg))
	}
	wg.real.Add(delta) // panics before the count below can go wrong
	wg.n.Add(int64(delta))
}

// Done takes one from the number of things to wait for.
func (wg *WaitGroup) Done() { wg.Add(-1) }

// Wait blocks until the number of things to wait for is zero.
func (wg *WaitGroup) Wait() {
	if t := sched.Here(); t != nil {
		t.Wait(sched.OpGroupWait, unsafe.Pointer(wg), func() bool { return wg.n.Load() == 0 })
		if t.Dying() {
			return
		}
	}
	wg.real.Wait()
}

// Go calls f in a new goroutine and counts it until f returns. f must not panic.
func (wg *WaitGroup) Go(f func()) {
	wg.Add(1)
	sched.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				// Those who wait must not go on while the panic is on its way.
				panic(p)
			}
			wg.Done()
		}()
		f()
	})
}
