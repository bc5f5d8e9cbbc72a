package atomic_test

import (
	"errors"
	"testing"
	"unsafe"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/sched"
	"github.com/poolproof/poolproof/sched/shim/atomic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// integer is what all integer types have.
type integer[T any] interface {
	Load() T
	Store(T)
	Swap(T) T
	CompareAndSwap(a, b T) bool
	Add(T) T
	And(T) T
	Or(T) T
}

func check[T int32 | int64 | uint32 | uint64 | uintptr](t *testing.T, name string, x integer[T]) {
	t.Helper()
	x.Store(6)
	got := []T{x.Swap(5), x.Add(2), x.And(3), x.Or(8), x.Load()}
	want := []T{6, 7, 7, 3, 11}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s: result %d is %v, want %v", name, i, got[i], want[i])
		}
	}
	if x.CompareAndSwap(1, 2) || !x.CompareAndSwap(11, 12) || x.Load() != 12 {
		t.Errorf("%s: CompareAndSwap", name)
	}
}

// addressed makes the functions on an address an integer.
type addressed[T any] struct {
	v     T
	load  func(*T) T
	store func(*T, T)
	swap  func(*T, T) T
	cas   func(*T, T, T) bool
	add   func(*T, T) T
	and   func(*T, T) T
	or    func(*T, T) T
}

func (a *addressed[T]) Load() T                    { return a.load(&a.v) }
func (a *addressed[T]) Store(v T)                  { a.store(&a.v, v) }
func (a *addressed[T]) Swap(v T) T                 { return a.swap(&a.v, v) }
func (a *addressed[T]) CompareAndSwap(o, n T) bool { return a.cas(&a.v, o, n) }
func (a *addressed[T]) Add(v T) T                  { return a.add(&a.v, v) }
func (a *addressed[T]) And(v T) T                  { return a.and(&a.v, v) }
func (a *addressed[T]) Or(v T) T                   { return a.or(&a.v, v) }

func checkAll(t *testing.T) {
	check(t, "Int32", new(atomic.Int32))
	check(t, "Int64", new(atomic.Int64))
	check(t, "Uint32", new(atomic.Uint32))
	check(t, "Uint64", new(atomic.Uint64))
	check(t, "Uintptr", new(atomic.Uintptr))
	check(t, "int32", &addressed[int32]{
		0, atomic.LoadInt32, atomic.StoreInt32, atomic.SwapInt32, atomic.CompareAndSwapInt32,
		atomic.AddInt32, atomic.AndInt32, atomic.OrInt32,
	})
	check(t, "int64", &addressed[int64]{
		0, atomic.LoadInt64, atomic.StoreInt64, atomic.SwapInt64, atomic.CompareAndSwapInt64,
		atomic.AddInt64, atomic.AndInt64, atomic.OrInt64,
	})
	check(t, "uint32", &addressed[uint32]{
		0, atomic.LoadUint32, atomic.StoreUint32, atomic.SwapUint32, atomic.CompareAndSwapUint32,
		atomic.AddUint32, atomic.AndUint32, atomic.OrUint32,
	})
	check(t, "uint64", &addressed[uint64]{
		0, atomic.LoadUint64, atomic.StoreUint64, atomic.SwapUint64, atomic.CompareAndSwapUint64,
		atomic.AddUint64, atomic.AndUint64, atomic.OrUint64,
	})
	check(t, "uintptr", &addressed[uintptr]{
		0, atomic.LoadUintptr, atomic.StoreUintptr, atomic.SwapUintptr, atomic.CompareAndSwapUintptr,
		atomic.AddUintptr, atomic.AndUintptr, atomic.OrUintptr,
	})
	one, two := new(int), new(int)
	var p atomic.Pointer[int]
	var u unsafe.Pointer
	var b atomic.Bool
	var v atomic.Value
	p.Store(one)
	atomic.StorePointer(&u, unsafe.Pointer(one))
	b.Store(true)
	v.Store("one")
	if p.Swap(two) != one || p.CompareAndSwap(one, two) || !p.CompareAndSwap(two, one) || p.Load() != one {
		t.Error("Pointer")
	}
	if atomic.SwapPointer(&u, unsafe.Pointer(two)) != unsafe.Pointer(one) ||
		!atomic.CompareAndSwapPointer(&u, unsafe.Pointer(two), nil) || atomic.LoadPointer(&u) != nil {
		t.Error("pointers")
	}
	if !b.Swap(false) || b.CompareAndSwap(true, true) || !b.CompareAndSwap(false, true) || !b.Load() {
		t.Error("Bool")
	}
	if v.Swap("two") != "one" || v.CompareAndSwap("one", "x") || !v.CompareAndSwap("two", "three") || v.Load() != "three" {
		t.Error("Value")
	}
}

// The results are the real ones, in a run and outside, and each operation is a point.
func TestResults(t *testing.T) {
	checkAll(t)
	r := sched.Test(t, sched.Options{Strategy: sched.NewReplay(nil)}, func(*sched.Scheduler) error {
		checkAll(t)
		return nil
	})
	const points = 10*9 + 5 + 4 + 5 + 5
	if r.Finding != nil || r.Steps != points+1 {
		t.Errorf("%v after %d steps, want %d points and the start", r.Finding, r.Steps, points)
	}
}

// A reader cannot see one half of what a writer does in one operation.
func TestOperationsAreAtomic(t *testing.T) {
	report := sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, -1, 0, func(s *sched.Scheduler) error {
		var n atomic.Int64
		s.Go("a", func() { n.Add(1) })
		s.Go("b", func() { n.Add(1) })
		s.Rest()
		if n.Load() != 2 {
			return errors.New("an update is lost")
		}
		return nil
	})
	// Two tasks of two points each, before the body goes on.
	if report.Result != nil || report.Runs != 6 {
		t.Errorf("got %+v, want 6 schedules and no finding", report)
	}
}
