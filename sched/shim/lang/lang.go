package lang

import (
	"context"
	"runtime"
	"time"

	"github.com/poolproof/poolproof/sched"
	"github.com/poolproof/poolproof/sched/shim/internal/order"
)

// Go is the statement go fn().
func Go(fn func()) { sched.Go(fn) }

// AfterFunc is time.AfterFunc.
func AfterFunc(d time.Duration, fn func()) *time.Timer {
	t := sched.Here()
	if t == nil {
		return time.AfterFunc(d, fn)
	}
	r := t.Reserve(false)
	return time.AfterFunc(d, func() { r.Run(fn) })
}

// ContextAfterFunc is context.AfterFunc.
func ContextAfterFunc(ctx context.Context, fn func()) (stop func() bool) {
	t := sched.Here()
	if t == nil {
		return context.AfterFunc(ctx, fn)
	}
	r := t.Reserve(true)
	return context.AfterFunc(ctx, func() { r.Run(fn) })
}

// Sleep is time.Sleep.
func Sleep(d time.Duration) {
	t := sched.Here()
	if t == nil {
		time.Sleep(d)
		return
	}
	t.Point(sched.OpSleep, nil)
	t.Block(sched.OpSleep, nil, func(kill <-chan struct{}) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-kill:
		}
	})
}

// Gosched is runtime.Gosched.
func Gosched() {
	if t := sched.Here(); t != nil {
		t.Point(sched.OpYield, nil)
		return
	}
	runtime.Gosched()
}

// MapRange is a range over a map.
type MapRange[M ~map[K]V, K comparable, V any] struct {
	K    K
	V    V
	m    M
	keys []K
}

// OverMap begins a range over m. In a run the keys come in an order that is the same
// whenever the choices are the same.
func OverMap[M ~map[K]V, K comparable, V any](m M) *MapRange[M, K, V] {
	r := &MapRange[M, K, V]{m: m, keys: make([]K, 0, len(m))}
	for key := range m {
		r.keys = append(r.keys, key)
	}
	if t := sched.Here(); t != nil {
		order.Sort(t, r.keys)
	}
	return r
}

// Next goes to the next key that is still there; false after the last.
func (r *MapRange[M, K, V]) Next() bool {
	for len(r.keys) > 0 {
		r.K, r.keys = r.keys[0], r.keys[1:]
		v, ok := r.m[r.K]
		if ok {
			r.V = v
			return true
		}
	}
	return false
}

// Key returns key, which is about to be put into a map and has no order of its own, and
// remembers when that was.
func Key[K any](key K) K {
	if t := sched.Here(); t != nil {
		order.Note(t, key)
	}
	return key
}
