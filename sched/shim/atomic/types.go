package atomic

import (
	"sync/atomic"
	"unsafe"

	"github.com/poolproof/poolproof/sched"
)

// Int32 stands for atomic.Int32.
type Int32 struct{ real atomic.Int32 }

// Load returns the value.
func (x *Int32) Load() int32 {
	point(sched.OpLoad, unsafe.Pointer(x))
	return x.real.Load()
}

// Store sets the value.
func (x *Int32) Store(val int32) {
	point(sched.OpStore, unsafe.Pointer(x))
	x.real.Store(val)
}

// Swap sets the value and returns the one before.
func (x *Int32) Swap(new int32) (old int32) {
	point(sched.OpSwap, unsafe.Pointer(x))
	return x.real.Swap(new)
}

// CompareAndSwap sets the value if it is old.
func (x *Int32) CompareAndSwap(old, new int32) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(x))
	return wrote(t, x.real.CompareAndSwap(old, new))
}

// Add adds delta and returns the sum.
func (x *Int32) Add(delta int32) (new int32) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.Add(delta)
}

// And keeps the bits that are in mask too, and returns the value before.
func (x *Int32) And(mask int32) (old int32) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.And(mask)
}

// Or sets the bits of mask and returns the value before.
func (x *Int32) Or(mask int32) (old int32) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.Or(mask)
}

// Int64 stands for atomic.Int64.
type Int64 struct{ real atomic.Int64 }

// Load returns the value.
func (x *Int64) Load() int64 {
	point(sched.OpLoad, unsafe.Pointer(x))
	return x.real.Load()
}

// Store sets the value.
func (x *Int64) Store(val int64) {
	point(sched.OpStore, unsafe.Pointer(x))
	x.real.Store(val)
}

// Swap sets the value and returns the one before.
func (x *Int64) Swap(new int64) (old int64) {
	point(sched.OpSwap, unsafe.Pointer(x))
	return x.real.Swap(new)
}

// CompareAndSwap sets the value if it is old.
func (x *Int64) CompareAndSwap(old, new int64) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(x))
	return wrote(t, x.real.CompareAndSwap(old, new))
}

// Add adds delta and returns the sum.
func (x *Int64) Add(delta int64) (new int64) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.Add(delta)
}

// And keeps the bits that are in mask too, and returns the value before.
func (x *Int64) And(mask int64) (old int64) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.And(mask)
}

// Or sets the bits of mask and returns the value before.
func (x *Int64) Or(mask int64) (old int64) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.Or(mask)
}

// Uint32 stands for atomic.Uint32.
type Uint32 struct{ real atomic.Uint32 }

// Load returns the value.
func (x *Uint32) Load() uint32 {
	point(sched.OpLoad, unsafe.Pointer(x))
	return x.real.Load()
}

// Store sets the value.
func (x *Uint32) Store(val uint32) {
	point(sched.OpStore, unsafe.Pointer(x))
	x.real.Store(val)
}

// Swap sets the value and returns the one before.
func (x *Uint32) Swap(new uint32) (old uint32) {
	point(sched.OpSwap, unsafe.Pointer(x))
	return x.real.Swap(new)
}

// CompareAndSwap sets the value if it is old.
func (x *Uint32) CompareAndSwap(old, new uint32) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(x))
	return wrote(t, x.real.CompareAndSwap(old, new))
}

// Add adds delta and returns the sum.
func (x *Uint32) Add(delta uint32) (new uint32) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.Add(delta)
}

// And keeps the bits that are in mask too, and returns the value before.
func (x *Uint32) And(mask uint32) (old uint32) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.And(mask)
}

// Or sets the bits of mask and returns the value before.
func (x *Uint32) Or(mask uint32) (old uint32) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.Or(mask)
}

// Uint64 stands for atomic.Uint64.
type Uint64 struct{ real atomic.Uint64 }

// Load returns the value.
func (x *Uint64) Load() uint64 {
	point(sched.OpLoad, unsafe.Pointer(x))
	return x.real.Load()
}

// Store sets the value.
func (x *Uint64) Store(val uint64) {
	point(sched.OpStore, unsafe.Pointer(x))
	x.real.Store(val)
}

// Swap sets the value and returns the one before.
func (x *Uint64) Swap(new uint64) (old uint64) {
	point(sched.OpSwap, unsafe.Pointer(x))
	return x.real.Swap(new)
}

// CompareAndSwap sets the value if it is old.
func (x *Uint64) CompareAndSwap(old, new uint64) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(x))
	return wrote(t, x.real.CompareAndSwap(old, new))
}

// Add adds delta and returns the sum.
func (x *Uint64) Add(delta uint64) (new uint64) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.Add(delta)
}

// And keeps the bits that are in mask too, and returns the value before.
func (x *Uint64) And(mask uint64) (old uint64) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.And(mask)
}

// Or sets the bits of mask and returns the value before.
func (x *Uint64) Or(mask uint64) (old uint64) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.Or(mask)
}

// Uintptr stands for atomic.Uintptr.
type Uintptr struct{ real atomic.Uintptr }

// Load returns the value.
func (x *Uintptr) Load() uintptr {
	point(sched.OpLoad, unsafe.Pointer(x))
	return x.real.Load()
}

// Store sets the value.
func (x *Uintptr) Store(val uintptr) {
	point(sched.OpStore, unsafe.Pointer(x))
	x.real.Store(val)
}

// Swap sets the value and returns the one before.
func (x *Uintptr) Swap(new uintptr) (old uintptr) {
	point(sched.OpSwap, unsafe.Pointer(x))
	return x.real.Swap(new)
}

// CompareAndSwap sets the value if it is old.
func (x *Uintptr) CompareAndSwap(old, new uintptr) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(x))
	return wrote(t, x.real.CompareAndSwap(old, new))
}

// Add adds delta and returns the sum.
func (x *Uintptr) Add(delta uintptr) (new uintptr) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.Add(delta)
}

// And keeps the bits that are in mask too, and returns the value before.
func (x *Uintptr) And(mask uintptr) (old uintptr) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.And(mask)
}

// Or sets the bits of mask and returns the value before.
func (x *Uintptr) Or(mask uintptr) (old uintptr) {
	point(sched.OpAdd, unsafe.Pointer(x))
	return x.real.Or(mask)
}
