package atomic

import (
	"sync/atomic"
	"unsafe"

	"github.com/poolproof/poolproof/sched"
)

// Bool stands for atomic.Bool.
type Bool struct{ real atomic.Bool }

// Load returns the value.
func (x *Bool) Load() bool {
	point(sched.OpLoad, unsafe.Pointer(x))
	return x.real.Load()
}

// Store sets the value.
func (x *Bool) Store(val bool) {
	point(sched.OpStore, unsafe.Pointer(x))
	x.real.Store(val)
}

// Swap sets the value and returns the one before.
func (x *Bool) Swap(new bool) (old bool) {
	point(sched.OpSwap, unsafe.Pointer(x))
	return x.real.Swap(new)
}

// CompareAndSwap sets the value if it is old.
func (x *Bool) CompareAndSwap(old, new bool) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(x))
	return wrote(t, x.real.CompareAndSwap(old, new))
}

// Pointer stands for atomic.Pointer.
type Pointer[T any] struct{ real atomic.Pointer[T] }

// Load returns the value.
func (x *Pointer[T]) Load() *T {
	point(sched.OpLoad, unsafe.Pointer(x))
	return x.real.Load()
}

// Store sets the value.
func (x *Pointer[T]) Store(val *T) {
	point(sched.OpStore, unsafe.Pointer(x))
	x.real.Store(val)
}

// Swap sets the value and returns the one before.
func (x *Pointer[T]) Swap(new *T) (old *T) {
	point(sched.OpSwap, unsafe.Pointer(x))
	return x.real.Swap(new)
}

// CompareAndSwap sets the value if it is old.
func (x *Pointer[T]) CompareAndSwap(old, new *T) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(x))
	return wrote(t, x.real.CompareAndSwap(old, new))
}

// Value stands for atomic.Value.
type Value struct{ real atomic.Value }

// Load returns the value, nil if none was stored.
func (v *Value) Load() (val any) {
	point(sched.OpLoad, unsafe.Pointer(v))
	return v.real.Load()
}

// Store sets the value. All values must be of one type, and not nil.
func (v *Value) Store(val any) {
	point(sched.OpStore, unsafe.Pointer(v))
	v.real.Store(val)
}

// Swap sets the value and returns the one before.
func (v *Value) Swap(new any) (old any) {
	point(sched.OpSwap, unsafe.Pointer(v))
	return v.real.Swap(new)
}

// CompareAndSwap sets the value if it is old.
func (v *Value) CompareAndSwap(old, new any) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(v))
	return wrote(t, v.real.CompareAndSwap(old, new))
}
