package sync

import (
	"sync/atomic"
	"unsafe"

	"github.com/poolproof/poolproof/sched"
)

// Once stands for sync.Once.
type Once struct {
	mu   Mutex
	done atomic.Bool
}

// Do calls f if it is the first call on o. Other calls return when that one has.
func (o *Once) Do(f func()) {
	if t := sched.Here(); t != nil {
		t.Point(sched.OpOnce, unsafe.Pointer(o))
	}
	if o.done.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.done.Load() {
		defer o.done.Store(true) // f may panic
		f()
	}
}

// OnceFunc returns a function that calls f once, however often it is called. If f
// panics, every call panics with the same value.
func OnceFunc(f func()) func() {
	get := OnceValue(func() struct{} { f(); return struct{}{} })
	return func() { get() }
}

// OnceValue returns a function that calls f once and returns its value each time. If f
// panics, every call panics with the same value.
func OnceValue[T any](f func() T) func() T {
	get := OnceValues(func() (T, struct{}) { return f(), struct{}{} })
	return func() T {
		v, _ := get()
		return v
	}
}

// OnceValues is OnceValue for two values.
func OnceValues[T1, T2 any](f func() (T1, T2)) func() (T1, T2) {
	var (
		once     Once
		v1       T1
		v2       T2
		returned bool
		panicked any
	)
	first := func() {
		defer func() {
			f = nil // what it refers to is not needed any more
			if !returned {
				// The first panic goes on by itself, with the stack that tells where.
				panicked = recover()
				panic(panicked)
			}
		}()
		v1, v2 = f()
		returned = true
	}
	return func() (T1, T2) {
		once.Do(first)
		if !returned {
			panic(panicked)
		}
		return v1, v2
	}
}
