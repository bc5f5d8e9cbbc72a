package sync

import (
	"sync"
	"unsafe"

	"github.com/poolproof/poolproof/sched"
	"github.com/poolproof/poolproof/sched/shim/internal/order"
)

// Map stands for sync.Map.
type Map struct{ real sync.Map }

// point is the point before an operation.
func (m *Map) point(op sched.Op) *sched.Task {
	t := sched.Here()
	if t != nil {
		t.Point(op, unsafe.Pointer(m))
	}
	return t
}

// pointKey is the point before an operation that may add key.
func (m *Map) pointKey(key any) {
	if t := m.point(sched.OpMapWrite); t != nil {
		order.Note(t, key)
	}
}

// Load returns the value of key, and whether there is one.
func (m *Map) Load(key any) (value any, ok bool) {
	m.point(sched.OpMapRead)
	return m.real.Load(key)
}

// Store sets the value of key.
func (m *Map) Store(key, value any) {
	m.pointKey(key)
	m.real.Store(key, value)
}

// Clear deletes all keys.
func (m *Map) Clear() {
	m.point(sched.OpMapWrite)
	m.real.Clear()
}

// LoadOrStore returns the value of key; if there is none it sets it. loaded tells whether
// there was one.
func (m *Map) LoadOrStore(key, value any) (actual any, loaded bool) {
	m.pointKey(key)
	return m.real.LoadOrStore(key, value)
}

// LoadAndDelete deletes the value of key and returns it, and whether there was one.
func (m *Map) LoadAndDelete(key any) (value any, loaded bool) {
	m.point(sched.OpMapWrite)
	return m.real.LoadAndDelete(key)
}

// Delete deletes the value of key.
func (m *Map) Delete(key any) {
	m.point(sched.OpMapWrite)
	m.real.Delete(key)
}

// Swap sets the value of key and returns the one before, and whether there was one.
func (m *Map) Swap(key, value any) (previous any, loaded bool) {
	m.pointKey(key)
	return m.real.Swap(key, value)
}

// CompareAndSwap sets the value of key if it is old, which must be comparable.
func (m *Map) CompareAndSwap(key, old, new any) (swapped bool) {
	m.point(sched.OpMapWrite)
	return m.real.CompareAndSwap(key, old, new)
}

// CompareAndDelete deletes the value of key if it is old, which must be comparable.
func (m *Map) CompareAndDelete(key, old any) (deleted bool) {
	m.point(sched.OpMapWrite)
	return m.real.CompareAndDelete(key, old)
}

// Range calls f for each key and value until f returns false.
func (m *Map) Range(f func(key, value any) bool) {
	t := m.point(sched.OpMapRead)
	if t == nil {
		m.real.Range(f)
		return
	}
	var keys []any
	m.real.Range(func(key, _ any) bool {
		keys = append(keys, key)
		return true
	})
	order.Sort(t, keys)
	for _, key := range keys {
		if value, ok := m.real.Load(key); ok && !f(key, value) {
			return
		}
	}
}
