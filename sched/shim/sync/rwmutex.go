package sync

import (
	"sync"
	"unsafe"

	"github.com/poolproof/poolproof/sched"
)

// RWMutex stands for sync.RWMutex, with its order: a writer that waits keeps new readers
// out, and a writer that is done lets in all readers that wait before the next writer.
type RWMutex struct {
	real sync.RWMutex

	mu        sync.Mutex // held briefly
	announced bool       // a writer writes, or waits for readers
	writing   bool
	readers   int
	waiting   []*bool // readers to let in when the writer is done: set to true
}

// is evaluates a condition on the fields under mu.
func (rw *RWMutex) is(condition func() bool) bool {
	rw.mu.Lock()
	defer rw.mu.Unlock()
	return condition()
}

// Lock locks rw for writing.
func (rw *RWMutex) Lock() {
	t := sched.Here()
	if t == nil {
		rw.real.Lock()
		rw.note(func() { rw.announced, rw.writing = true, true })
		return
	}
	t.Wait(sched.OpLock, unsafe.Pointer(rw), func() bool { return rw.is(func() bool { return !rw.announced }) })
	if t.Dying() {
		rw.tryLock()
		return
	}
	rw.note(func() { rw.announced = true })
	none := func() bool { return rw.is(func() bool { return rw.readers == 0 }) }
	if !none() {
		t.Await(sched.OpLock, unsafe.Pointer(rw), none)
	}
	rw.note(func() { rw.writing = true })
	rw.real.Lock()
}

// note changes the fields under mu.
func (rw *RWMutex) note(change func()) {
	rw.mu.Lock()
	defer rw.mu.Unlock()
	change()
}

// TryLock locks rw for writing if nobody holds it, and tells whether it did.
func (rw *RWMutex) TryLock() bool {
	t := sched.Here()
	if t != nil {
		t.Point(sched.OpTryLock, unsafe.Pointer(rw))
	}
	if !rw.tryLock() {
		return false
	}
	if t != nil {
		t.Wrote()
	}
	return true
}

func (rw *RWMutex) tryLock() bool {
	rw.mu.Lock()
	defer rw.mu.Unlock()
	if rw.announced || rw.readers > 0 || !rw.real.TryLock() {
		return false
	}
	rw.announced, rw.writing = true, true
	return true
}

// Unlock undoes a Lock. In a run, to unlock what is not locked is a panic.
func (rw *RWMutex) Unlock() {
	if t := sched.Here(); t != nil {
		t.Point(sched.OpUnlock, unsafe.Pointer(rw))
		if !rw.is(func() bool { return rw.writing }) {
			if t.Dying() {
				return
			}
			panic("sync: Unlock of unlocked RWMutex")
		}
	}
	rw.note(func() {
		rw.announced, rw.writing = false, false
		rw.readers += len(rw.waiting)
		for _, in := range rw.waiting {
			*in = true
		}
		rw.waiting = nil
	})
	rw.real.Unlock()
}

// RLock locks rw for reading.
func (rw *RWMutex) RLock() {
	t := sched.Here()
	if t == nil {
		rw.real.RLock()
		rw.note(func() { rw.readers++ })
		return
	}
	t.Point(sched.OpRLock, unsafe.Pointer(rw))
	if t.Dying() {
		rw.tryRLock()
		return
	}
	in := rw.enter()
	if !*in {
		t.Await(sched.OpRLock, unsafe.Pointer(rw), func() bool { return rw.is(func() bool { return *in }) })
	}
	rw.real.RLock()
}

// enter counts a reader, now or when the writer is done: then what it returns gets true.
func (rw *RWMutex) enter() *bool {
	rw.mu.Lock()
	defer rw.mu.Unlock()
	in := new(bool)
	if rw.announced {
		rw.waiting = append(rw.waiting, in)
		return in
	}
	*in = true
	rw.readers++
	return in
}

// TryRLock locks rw for reading if no writer holds it or waits, and tells whether it did.
func (rw *RWMutex) TryRLock() bool {
	t := sched.Here()
	if t != nil {
		t.Point(sched.OpTryRLock, unsafe.Pointer(rw))
	}
	if !rw.tryRLock() {
		return false
	}
	if t != nil {
		t.Wrote()
	}
	return true
}

func (rw *RWMutex) tryRLock() bool {
	rw.mu.Lock()
	defer rw.mu.Unlock()
	if rw.announced || !rw.real.TryRLock() {
		return false
	}
	rw.readers++
	return true
}

// RUnlock undoes one RLock. In a run, to unlock what is not locked is a panic.
func (rw *RWMutex) RUnlock() {
	if t := sched.Here(); t != nil {
		t.Point(sched.OpRUnlock, unsafe.Pointer(rw))
		if rw.is(func() bool { return rw.readers == 0 }) {
			if t.Dying() {
				return
			}
			panic("sync: RUnlock of unlocked RWMutex")
		}
	}
	// The real lock first: a task that then finds no reader takes it at once.
	rw.real.RUnlock()
	rw.note(func() { rw.readers-- })
}

// RLocker returns a Locker whose Lock and Unlock are rw's RLock and RUnlock.
func (rw *RWMutex) RLocker() Locker { return (*reader)(rw) }

type reader RWMutex

func (r *reader) Lock()   { (*RWMutex)(r).RLock() }
func (r *reader) Unlock() { (*RWMutex)(r).RUnlock() }
