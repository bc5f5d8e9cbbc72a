package fallback

import (
	"context"
	"errors"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// Lease is the exclusive right to one worker of a layer, from a successful Acquire until
// Release or Discard, which must be called once; a second one panics, as for pool.Lease,
// whose other methods it has. Copies are the same lease.
type Lease[T any] struct {
	pool.Lease[T]
	c    *Chain[T]
	held *held
}

// held is what the chain keeps of a lease that is out.
type held struct {
	layer  int
	permit *permit
	s      *session // nil: none
	epoch  uint64   // of s, when the lease was taken
	ctx    context.Context
	served Served
}

// Served says how the lease was come by.
func (l Lease[T]) Served() Served { return l.held.served }

// Release gives the worker back. For the layer's breaker the call has succeeded, unless
// the context that the lease was acquired with has ended: then it says nothing.
func (l Lease[T]) Release() {
	v := l.unlessDone(success)
	l.Lease.Release()
	l.end(v, nil)
}

// Discard ends the lease and has the worker stopped, with a *pool.WorkerError that wraps
// cause. For the layer's breaker the call has failed, unless the context that the lease was
// acquired with has ended: then it says nothing.
func (l Lease[T]) Discard(cause error) {
	v := l.unlessDone(failure)
	l.Lease.Discard(cause)
	l.end(v, cause)
}

// unlessDone is v, or neither if the context that the lease was acquired with has ended.
func (l Lease[T]) unlessDone(v verdict) verdict {
	if l.held.ctx.Err() != nil {
		return neither
	}
	return v
}

// end settles what the end of the lease means for the layer and the session.
func (l Lease[T]) end(v verdict, cause error) {
	h := l.held
	l.c.update(func(now time.Time) {
		l.c.settle(h.layer, h.permit, v, cause)
		if s := h.s; s != nil && s.epoch == h.epoch {
			s.leases--
			l.c.table.settle(s, now)
		}
	})
}

// settle reports a call's outcome to the breaker of its layer. The caller holds the lock.
func (c *Chain[T]) settle(layer int, p *permit, v verdict, cause error) {
	if v == failure {
		c.counts[layer].Failed++
	}
	c.breakers[layer].settle(p, v, cause)
}

var errAborted = errors.New("fallback: the function on it panicked or ended its goroutine")

// run runs f on the worker, ends the lease, and says what came of it.
func (l Lease[T]) run(ctx context.Context, f func(context.Context, T) error) (v verdict, err error) {
	returned := false
	defer func() {
		if !returned {
			l.Lease.Discard(errAborted)
			l.end(failure, errAborted)
		}
	}()
	err = f(ctx, l.Worker())
	v = l.c.judge(err, ctx.Err() != nil)
	returned = true
	l.Lease.Release()
	l.end(v, err)
	return v, err
}
