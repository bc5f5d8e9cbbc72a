package pool

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Lease is the exclusive right to one worker (I1), from a successful acquire until
// Release or Discard, which must be called once. It is a small value: copies are the same
// lease. Its methods may be called by any goroutine. The zero Lease panics.
type Lease[T any] struct {
	p       *Pool[T]
	got     grant
	through func(cause error, end func()) // nil: nobody stands between
}

// Do runs f on the worker and ends the lease, as Pool.Do does.
func (l Lease[T]) Do(ctx context.Context, f func(ctx context.Context, worker T) error) error {
	returned := false
	defer func() {
		if returned {
			l.Release()
			return
		}
		l.Discard(errAborted)
	}()
	err := f(ctx, l.Worker())
	returned = true
	return err
}

// Through returns the same lease for somebody who is not to end it unseen: Release and
// Discard of what it returns call f on the caller's goroutine, with nil or the cause, and f
// must call end once, which ends the lease. It is for what stands before a pool and hands out
// its leases, such as a recorder.
func (l Lease[T]) Through(f func(cause error, end func())) Lease[T] {
	l.through = f
	return l
}

// pass has the function of Through end the lease.
func (l Lease[T]) pass(cause error) {
	f := l.through
	l.through = nil
	f(cause, func() {
		if cause == nil {
			l.Release()
		} else {
			l.Discard(cause)
		}
	})
}

// Worker returns the worker. It panics after Release or Discard (I14); a revoked lease
// still returns it, though it is being stopped.
func (l Lease[T]) Worker() T {
	l.mustHold("use")
	return *l.got.w.value.(*T)
}

// WorkerID returns the worker's incarnation.
func (l Lease[T]) WorkerID() WorkerID { return l.got.w.id }

// Token returns the lease's number.
func (l Lease[T]) Token() Token { return l.got.token }

// Fresh reports whether this grant bound its session to the worker: the worker knows
// nothing of the session yet (I8). It is false without a session.
func (l Lease[T]) Fresh() bool { return l.got.fresh() }

// Revoked reports whether a Shutdown has stopped the worker under its holder. It panics
// after Release or Discard (I14).
func (l Lease[T]) Revoked() bool {
	l.mustHold("use")
	return l.got.w.revoked.Load()
}

// Release gives the worker back, to the next waiter or to the idle ones; if
// Config.Usable says false the worker is discarded. It never blocks on other callers. On
// a revoked lease it does nothing. It panics if the lease has ended already (I14).
func (l Lease[T]) Release() {
	if l.through != nil {
		l.pass(nil)
		return
	}
	if l.p != nil && l.p.cfg.Usable == nil {
		l.end(nil)
		return
	}
	l.mustHold("release")
	if l.got.w.revoked.Load() {
		l.end(nil)
		return
	}
	l.p.askUsable(l.got.w, l.end)
}

// Discard ends the lease and has the worker stopped, with a *WorkerError that wraps
// cause. Otherwise it is like Release.
func (l Lease[T]) Discard(cause error) {
	if cause == nil {
		cause = errDiscarded
	}
	if l.through != nil {
		l.pass(cause)
		return
	}
	l.mustHold("discard")
	l.end(&WorkerError{ID: l.got.w.id, Err: cause})
}

var (
	errDiscarded = errors.New("pool: discarded by its user")
	errUnusable  = errors.New("pool: not usable after a lease")
	errAborted   = errors.New("pool: the function on it panicked or ended its goroutine")
)

// end ends the lease; unusable, not nil, says why its worker must be stopped.
func (l Lease[T]) end(unusable error) {
	p := l.p
	p.mu.Lock()
	if unusable == nil && p.st.quickRelease(l.got) {
		p.mu.Unlock()
		return
	}
	l.endLocked(unusable)
}

// endLocked is the part of end that most releases do not need. The caller holds the lock,
// which endLocked releases.
func (l Lease[T]) endLocked(unusable error) {
	p, w := l.p, l.got.w
	if unusable == nil {
		now := time.Duration(0)
		if p.st.wantsClock(w) {
			now = p.clock()
		}
		if x, ok := p.st.quickHandOver(l.got, now); ok {
			p.arm() // the session may wait to expire now
			p.mu.Unlock()
			wake(x)
			return
		}
	}
	valid := true
	p.updateLocked(func(st *state) {
		switch {
		case !l.got.valid():
			valid = false
		case w.phase != leased: // revoked
			l.got.end()
		default:
			if unusable != nil || st.wantsClock(w) {
				st.advance(p.clock())
			}
			st.release(w, unusable)
		}
	})
	if !valid {
		l.mustHold("release")
	}
}

// mustHold panics if the lease has ended.
func (l Lease[T]) mustHold(verb string) {
	if l.got.w == nil {
		panic("pool: I14: " + verb + " of the zero Lease")
	}
	if !l.got.valid() {
		panic(fmt.Sprintf("pool: I14: %s of a lease that has ended: worker %d, token %d", verb, l.got.w.id, l.got.token))
	}
}
