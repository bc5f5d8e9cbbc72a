package atomic

import (
	"sync/atomic"
	"unsafe"

	"github.com/poolproof/poolproof/sched"
)

// LoadInt32 returns *addr.
func LoadInt32(addr *int32) (val int32) {
	point(sched.OpLoad, unsafe.Pointer(addr))
	return atomic.LoadInt32(addr)
}

// StoreInt32 sets *addr.
func StoreInt32(addr *int32, val int32) {
	point(sched.OpStore, unsafe.Pointer(addr))
	atomic.StoreInt32(addr, val)
}

// SwapInt32 sets *addr and returns the value before.
func SwapInt32(addr *int32, new int32) (old int32) {
	point(sched.OpSwap, unsafe.Pointer(addr))
	return atomic.SwapInt32(addr, new)
}

// CompareAndSwapInt32 sets *addr if it is old.
func CompareAndSwapInt32(addr *int32, old, new int32) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(addr))
	return wrote(t, atomic.CompareAndSwapInt32(addr, old, new))
}

// AddInt32 adds delta to *addr and returns the sum.
func AddInt32(addr *int32, delta int32) (new int32) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.AddInt32(addr, delta)
}

// AndInt32 keeps the bits of *addr that are in mask too, and returns the value before.
func AndInt32(addr *int32, mask int32) (old int32) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.AndInt32(addr, mask)
}

// OrInt32 sets the bits of mask in *addr and returns the value before.
func OrInt32(addr *int32, mask int32) (old int32) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.OrInt32(addr, mask)
}

// LoadInt64 returns *addr.
func LoadInt64(addr *int64) (val int64) {
	point(sched.OpLoad, unsafe.Pointer(addr))
	return atomic.LoadInt64(addr)
}

// StoreInt64 sets *addr.
func StoreInt64(addr *int64, val int64) {
	point(sched.OpStore, unsafe.Pointer(addr))
	atomic.StoreInt64(addr, val)
}

// SwapInt64 sets *addr and returns the value before.
func SwapInt64(addr *int64, new int64) (old int64) {
	point(sched.OpSwap, unsafe.Pointer(addr))
	return atomic.SwapInt64(addr, new)
}

// CompareAndSwapInt64 sets *addr if it is old.
func CompareAndSwapInt64(addr *int64, old, new int64) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(addr))
	return wrote(t, atomic.CompareAndSwapInt64(addr, old, new))
}

// AddInt64 adds delta to *addr and returns the sum.
func AddInt64(addr *int64, delta int64) (new int64) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.AddInt64(addr, delta)
}

// AndInt64 keeps the bits of *addr that are in mask too, and returns the value before.
func AndInt64(addr *int64, mask int64) (old int64) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.AndInt64(addr, mask)
}

// OrInt64 sets the bits of mask in *addr and returns the value before.
func OrInt64(addr *int64, mask int64) (old int64) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.OrInt64(addr, mask)
}

// LoadUint32 returns *addr.
func LoadUint32(addr *uint32) (val uint32) {
	point(sched.OpLoad, unsafe.Pointer(addr))
	return atomic.LoadUint32(addr)
}

// StoreUint32 sets *addr.
func StoreUint32(addr *uint32, val uint32) {
	point(sched.OpStore, unsafe.Pointer(addr))
	atomic.StoreUint32(addr, val)
}

// SwapUint32 sets *addr and returns the value before.
func SwapUint32(addr *uint32, new uint32) (old uint32) {
	point(sched.OpSwap, unsafe.Pointer(addr))
	return atomic.SwapUint32(addr, new)
}

// CompareAndSwapUint32 sets *addr if it is old.
func CompareAndSwapUint32(addr *uint32, old, new uint32) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(addr))
	return wrote(t, atomic.CompareAndSwapUint32(addr, old, new))
}

// AddUint32 adds delta to *addr and returns the sum.
func AddUint32(addr *uint32, delta uint32) (new uint32) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.AddUint32(addr, delta)
}

// AndUint32 keeps the bits of *addr that are in mask too, and returns the value before.
func AndUint32(addr *uint32, mask uint32) (old uint32) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.AndUint32(addr, mask)
}

// OrUint32 sets the bits of mask in *addr and returns the value before.
func OrUint32(addr *uint32, mask uint32) (old uint32) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.OrUint32(addr, mask)
}

// LoadUint64 returns *addr.
func LoadUint64(addr *uint64) (val uint64) {
	point(sched.OpLoad, unsafe.Pointer(addr))
	return atomic.LoadUint64(addr)
}

// StoreUint64 sets *addr.
func StoreUint64(addr *uint64, val uint64) {
	point(sched.OpStore, unsafe.Pointer(addr))
	atomic.StoreUint64(addr, val)
}

// SwapUint64 sets *addr and returns the value before.
func SwapUint64(addr *uint64, new uint64) (old uint64) {
	point(sched.OpSwap, unsafe.Pointer(addr))
	return atomic.SwapUint64(addr, new)
}

// CompareAndSwapUint64 sets *addr if it is old.
func CompareAndSwapUint64(addr *uint64, old, new uint64) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(addr))
	return wrote(t, atomic.CompareAndSwapUint64(addr, old, new))
}

// AddUint64 adds delta to *addr and returns the sum.
func AddUint64(addr *uint64, delta uint64) (new uint64) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.AddUint64(addr, delta)
}

// AndUint64 keeps the bits of *addr that are in mask too, and returns the value before.
func AndUint64(addr *uint64, mask uint64) (old uint64) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.AndUint64(addr, mask)
}

// OrUint64 sets the bits of mask in *addr and returns the value before.
func OrUint64(addr *uint64, mask uint64) (old uint64) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.OrUint64(addr, mask)
}

// LoadUintptr returns *addr.
func LoadUintptr(addr *uintptr) (val uintptr) {
	point(sched.OpLoad, unsafe.Pointer(addr))
	return atomic.LoadUintptr(addr)
}

// StoreUintptr sets *addr.
func StoreUintptr(addr *uintptr, val uintptr) {
	point(sched.OpStore, unsafe.Pointer(addr))
	atomic.StoreUintptr(addr, val)
}

// SwapUintptr sets *addr and returns the value before.
func SwapUintptr(addr *uintptr, new uintptr) (old uintptr) {
	point(sched.OpSwap, unsafe.Pointer(addr))
	return atomic.SwapUintptr(addr, new)
}

// CompareAndSwapUintptr sets *addr if it is old.
func CompareAndSwapUintptr(addr *uintptr, old, new uintptr) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(addr))
	return wrote(t, atomic.CompareAndSwapUintptr(addr, old, new))
}

// AddUintptr adds delta to *addr and returns the sum.
func AddUintptr(addr *uintptr, delta uintptr) (new uintptr) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.AddUintptr(addr, delta)
}

// AndUintptr keeps the bits of *addr that are in mask too, and returns the value before.
func AndUintptr(addr *uintptr, mask uintptr) (old uintptr) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.AndUintptr(addr, mask)
}

// OrUintptr sets the bits of mask in *addr and returns the value before.
func OrUintptr(addr *uintptr, mask uintptr) (old uintptr) {
	point(sched.OpAdd, unsafe.Pointer(addr))
	return atomic.OrUintptr(addr, mask)
}

// LoadPointer returns *addr.
func LoadPointer(addr *unsafe.Pointer) (val unsafe.Pointer) {
	point(sched.OpLoad, unsafe.Pointer(addr))
	return atomic.LoadPointer(addr)
}

// StorePointer sets *addr.
func StorePointer(addr *unsafe.Pointer, val unsafe.Pointer) {
	point(sched.OpStore, unsafe.Pointer(addr))
	atomic.StorePointer(addr, val)
}

// SwapPointer sets *addr and returns the value before.
func SwapPointer(addr *unsafe.Pointer, new unsafe.Pointer) (old unsafe.Pointer) {
	point(sched.OpSwap, unsafe.Pointer(addr))
	return atomic.SwapPointer(addr, new)
}

// CompareAndSwapPointer sets *addr if it is old.
func CompareAndSwapPointer(addr *unsafe.Pointer, old, new unsafe.Pointer) (swapped bool) {
	t := point(sched.OpCompareAndSwap, unsafe.Pointer(addr))
	return wrote(t, atomic.CompareAndSwapPointer(addr, old, new))
}
