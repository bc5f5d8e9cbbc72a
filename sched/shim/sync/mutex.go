package sync

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/poolproof/poolproof/sched"
)

// Locker is the real type: other packages have it in their signatures.
type Locker = sync.Locker

// Mutex stands for sync.Mutex. In a run it is a gate that opens while nobody holds it:
// the real lock below it is taken when it is free, and nobody ever waits for it.
type Mutex struct {
	real sync.Mutex
	held atomic.Bool // by whomever, in a run or outside
}

// Lock locks m.
func (m *Mutex) Lock() {
	t := sched.Here()
	if t != nil {
		t.Wait(sched.OpLock, unsafe.Pointer(m), func() bool { return !m.held.Load() })
		if t.Dying() {
			m.tryLock()
			return
		}
		m.held.Store(true)
		m.real.Lock()
		return
	}
	m.real.Lock()
	m.held.Store(true)
}

// TryLock locks m if nobody holds it, and tells whether it did.
func (m *Mutex) TryLock() bool {
	t := sched.Here()
	if t == nil {
		return m.tryLock()
	}
	t.Point(sched.OpTryLock, unsafe.Pointer(m))
	if !m.tryLock() {
		return false
	}
	t.Wrote()
	return true
}

func (m *Mutex) tryLock() bool {
	if !m.real.TryLock() {
		return false
	}
	m.held.Store(true)
	return true
}

// Unlock unlocks m. In a run, to unlock what is not locked is a panic, which is a finding;
// outside it ends the program.
func (m *Mutex) Unlock() {
	if t := sched.Here(); t != nil {
		t.Point(sched.OpUnlock, unsafe.Pointer(m))
		if !m.held.Load() {
			if t.Dying() {
				return
			}
			panic("sync: unlock of unlocked mutex")
		}
	}
	m.held.Store(false)
	m.real.Unlock()
}
