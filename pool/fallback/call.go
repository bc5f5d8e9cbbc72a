package fallback

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// call is one call on its way through the chain.
type call[T any] struct {
	c   *Chain[T]
	ctx context.Context
	id  pool.SessionID

	s      *session // nil: none
	bound  int      // the layer that s was bound to when the search began
	epoch  uint64   // that of s then
	left   uint64   // the set of layers that must not be asked again
	kept   int      // how many of passed say so
	passed []Passed
}

// errAgain says that the session's binding has changed, so that the search begins anew.
var errAgain = errors.New("again")

// leave says that the worker of a layer has broken under the call.
func (x *call[T]) leave(layer int, err error) {
	x.left |= 1 << layer
	x.c.update(func(time.Time) { x.pass(layer, WorkerBroke, err) })
	x.kept = len(x.passed)
}

// pass notes that a layer is passed over. The caller holds the lock.
func (x *call[T]) pass(layer int, why Reason, err error) {
	x.passed = append(x.passed, Passed{x.c.cfg.Layers[layer].Name, why, err})
	x.c.counts[layer].Passed++
}

// acquire finds a layer for the call. It may be called again, after leave.
func (x *call[T]) acquire() (Lease[T], error) {
	c := x.c
	if x.ctx.Err() != nil {
		return Lease[T]{}, context.Cause(x.ctx)
	}
	if x.id != "" {
		c.update(func(now time.Time) { x.s = c.table.enter(x.id, len(c.cfg.Layers), c.cfg.MaxSessions, now) })
		if x.s == nil {
			return Lease[T]{}, fmt.Errorf("fallback: %w", pool.ErrSessionLimit)
		}
		defer c.update(func(now time.Time) {
			x.s.calls--
			c.table.settle(x.s, now)
		})
	}
	for {
		lease, err := x.search()
		if err != errAgain {
			return lease, err
		}
	}
}

// search asks the layers in order, beginning with the session's, until one serves the call
// or the session's binding changes.
func (x *call[T]) search() (Lease[T], error) {
	x.passed = x.passed[:x.kept:x.kept]
	x.bound = none
	if x.s != nil {
		x.c.update(func(time.Time) { x.bound, x.epoch = x.s.layer, x.s.epoch })
	}
	if x.bound != none && x.left&(1<<x.bound) == 0 {
		lease, passed, err := x.ask(x.bound)
		switch {
		case passed == nil:
			return lease, err
		case x.c.cfg.Affinity == pool.Strict, x.c.cfg.Affinity == pool.Sticky && passed.Reason.busy():
			return Lease[T]{}, &HeldError{Session: x.id, Passed: *passed}
		}
	}
	for layer := range x.c.cfg.Layers {
		if layer == x.bound || x.left&(1<<layer) != 0 {
			continue
		}
		if lease, passed, err := x.ask(layer); passed == nil {
			return lease, err
		}
	}
	return Lease[T]{}, &ExhaustedError{Passed: x.passed}
}

// ask asks one layer: it is passed over, or else its answer stands.
func (x *call[T]) ask(layer int) (Lease[T], *Passed, error) {
	permit, tells, err := x.admit(layer)
	switch {
	case err != nil:
		return Lease[T]{}, nil, err
	case permit == nil:
		return Lease[T]{}, &x.passed[len(x.passed)-1], nil
	}
	c := x.c
	var got pool.Lease[T]
	answered := false
	defer func() {
		if !answered { // the pool's AcquireSession panicked
			c.update(func(now time.Time) { x.refused(layer, permit, failure, nil, now) })
		}
	}()
	got, err = c.cfg.Layers[layer].Pool.AcquireSession(x.ctx, x.id)
	answered = true
	if err == nil {
		lease, err := x.take(layer, tells, permit, got)
		return lease, nil, err
	}
	// Only the caller's context may be to blame when that has ended, whatever the error is.
	why, v := reasonOf(err), neither
	if x.ctx.Err() != nil {
		why, err = 0, context.Cause(x.ctx)
	} else if why == 0 {
		err = fmt.Errorf("fallback: layer %s: %w", c.cfg.Layers[layer].Name, err)
	}
	// A session whose own worker is busy, with another call of it perhaps, shows nothing.
	if why.failure() && !(why == AcquireTimeout && layer == x.bound) {
		v = failure
	}
	c.update(func(now time.Time) {
		x.refused(layer, permit, v, err, now)
		if why != 0 {
			x.pass(layer, why, err)
		}
	})
	if why == 0 {
		return Lease[T]{}, nil, err
	}
	return Lease[T]{}, &x.passed[len(x.passed)-1], nil
}

// admit waits while the session's place in the layer is shut, and asks the breaker. Without a permit, and without an error, the layer has been passed over.
func (x *call[T]) admit(layer int) (p *permit, tells uint64, err error) {
	for {
		var shut chan struct{}
		x.c.update(func(now time.Time) {
			if x.s != nil {
				shut, tells = x.s.places[layer].shut, x.s.places[layer].tells
				if shut != nil {
					return
				}
			}
			var why Reason
			if p, why = x.c.breakers[layer].allow(now); p == nil {
				cause := ErrBreakerOpen
				if why == ProbesOut {
					cause = ErrProbesOut
				}
				x.pass(layer, why, cause)
				return
			}
			if x.s != nil {
				x.s.visits++
				x.s.places[layer].visits++
				x.c.table.settle(x.s, now)
			}
		})
		if shut == nil {
			return p, tells, nil
		}
		select {
		case <-shut:
		case <-x.ctx.Done():
			return nil, 0, context.Cause(x.ctx)
		}
	}
}

// refused ends a visit without a lease. The caller holds the lock.
func (x *call[T]) refused(layer int, p *permit, v verdict, cause error, now time.Time) {
	x.c.settle(layer, p, v, cause)
	if x.s != nil {
		x.s.visits--
		x.s.places[layer].visits--
		x.c.table.settle(x.s, now)
	}
}

// take makes a grant the call's, and binds its session to the layer. The first grant of a
// session binds it: one that comes when the session has been bound elsewhere meanwhile, or
// when the layer's pool has been told that the session left it, is given back.
func (x *call[T]) take(layer int, tells uint64, p *permit, got pool.Lease[T]) (Lease[T], error) {
	c, again, from := x.c, false, none
	h := &held{layer: layer, permit: p, s: x.s, ctx: x.ctx}
	c.update(func(now time.Time) {
		if s := x.s; s != nil {
			bind := s.layer == none || s.layer != layer && s.epoch == x.epoch
			place := &s.places[layer]
			if again = place.shut != nil || place.tells != tells || s.layer != layer && !bind; again {
				if s.layer != layer { // now, for the pool may have granted to others what it bound here
					c.table.spoil(s, layer)
				}
				return
			}
			if bind {
				from = c.table.bind(s, layer, now)
			}
			s.visits--
			place.visits--
			s.leases++
			h.epoch = s.epoch
			c.table.settle(s, now)
		}
		c.counts[layer].Served++
	})
	if again {
		got.Release()
		c.update(func(now time.Time) { x.refused(layer, p, neither, nil, now) })
		return Lease[T]{}, errAgain
	}
	h.served = Served{
		Layer: c.cfg.Layers[layer].Name, Worker: got.WorkerID(), Token: got.Token(), Fresh: got.Fresh(),
		Passed: x.passed,
	}
	if from != none {
		h.served.Moved, h.served.From = true, c.cfg.Layers[from].Name
		c.cfg.Logger.Info("session moves", "from", h.served.From, "to", h.served.Layer)
	}
	return Lease[T]{Lease: got, c: c, held: h}, nil
}
