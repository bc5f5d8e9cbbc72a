package fallback

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// Chain is a chain of pools. Make one with New. All methods may be called by any
// goroutine at any time. It need not be closed, and does not close its pools.
type Chain[T any] struct {
	cfg Config[T]

	mu       sync.Mutex
	breakers []*breaker  // guarded by mu
	table    table       // guarded by mu
	counts   []LayerStat // guarded by mu
	seq      uint64      // guarded by mu: of changes
	changes  []Change    // guarded by mu: to be told
}

// New makes a chain. It reports every complaint about cfg at once.
func New[T any](cfg Config[T]) (*Chain[T], error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Chain[T]{cfg: cfg}
	c.table = table{ttl: cfg.SessionTTL, sessions: map[pool.SessionID]*session{}}
	for _, l := range cfg.Layers {
		c.counts = append(c.counts, LayerStat{Name: l.Name})
		c.breakers = append(c.breakers, newBreaker(l.Breaker, func(from, to State, cause error) {
			c.seq++
			c.changes = append(c.changes, Change{Seq: c.seq, Layer: l.Name, From: from, To: to, Cause: cause})
		}))
	}
	return c, nil
}

// Served says how a call went through the chain.
type Served struct {
	Layer  string        // that served it; empty if none did
	Worker pool.WorkerID // in that layer's pool
	Token  pool.Token    // of the lease, in that layer's pool
	Fresh  bool          // the worker knows nothing of the session yet; see pool.Lease
	Moved  bool          // the call bound its session, which was bound to another layer, to this one
	From   string        // that layer
	Passed []Passed      // the layers that were passed over, in the order in which they were asked
}

// Do runs f on a worker of the first layer that can serve the call, for a session unless
// id is empty; a session's layer is asked first. f runs at most once. If it returns, with
// an error or not, the worker is released; if it panics or ends its goroutine, the worker
// is discarded. Do blocks as the pools' AcquireSession does, one layer after the other,
// until ctx ends.
//
// The error is f's; or context.Cause(ctx), if that ended before a worker was found; or
// ErrExhausted, ErrSessionHeld, or what else a pool refused the call with, wrapped (see
// the package comment). Served.Layer is empty exactly if f has not run.
func (c *Chain[T]) Do(ctx context.Context, id pool.SessionID, f func(ctx context.Context, worker T) error) (Served, error) {
	x := call[T]{c: c, ctx: ctx, id: id}
	lease, err := x.acquire()
	if err != nil {
		return Served{Passed: x.passed}, err
	}
	_, err = lease.run(ctx, f)
	return lease.Served(), err
}

// DoIdempotent is Do for a function that may run more than once: if it fails because its
// worker broke (Config.Broken), the call goes on to the next layer, unless it has a session
// and Config.Affinity is pool.Strict. It runs at most once on each layer. If it has run and
// the call then finds no other layer, the error wraps both the refusal and what f returned,
// and Served says where it ran last.
func (c *Chain[T]) DoIdempotent(ctx context.Context, id pool.SessionID, f func(ctx context.Context, worker T) error) (Served, error) {
	x := call[T]{c: c, ctx: ctx, id: id}
	var served Served
	var broke error
	for {
		lease, err := x.acquire()
		if err != nil {
			served.Passed = x.passed
			if broke != nil && !errors.Is(err, ErrExhausted) {
				err = errors.Join(err, broke)
			}
			return served, err
		}
		v, err := lease.run(ctx, f)
		served = lease.Served()
		if v != failure || id != "" && c.cfg.Affinity == pool.Strict {
			return served, err
		}
		broke = err
		x.leave(lease.held.layer, err)
	}
}

// Acquire leases a worker of the first layer that can serve the call, like Do. The caller
// must end the lease. Until then the call counts as being in flight, also for a breaker
// that is half-open: Breaker.ProbeTimeout bounds that.
func (c *Chain[T]) Acquire(ctx context.Context, id pool.SessionID) (Lease[T], error) {
	x := call[T]{c: c, ctx: ctx, id: id}
	return x.acquire()
}

// EndSession ends a session: it is bound to no layer, and the pool of the one that it was
// bound to is told, as by pool.Pool.EndSession, before EndSession returns, unless another
// goroutine is just doing that. Leases of it go on. Ending an unknown session does nothing.
func (c *Chain[T]) EndSession(id pool.SessionID) {
	c.update(func(now time.Time) {
		if s := c.table.sessions[id]; s != nil {
			c.table.end(s, now)
		}
	})
}

// Stat is a snapshot of a chain.
type Stat struct {
	Layers   []LayerStat
	Sessions int // in the table: bound, or being served
}

// LayerStat describes a layer; the numbers are totals since New.
type LayerStat struct {
	Name   string
	State  State
	Served uint64 // leases
	Failed uint64 // calls that its breaker counted, or would have, as failures
	Passed uint64 // times that it was passed over
}

// Stat returns a consistent snapshot.
func (c *Chain[T]) Stat() Stat {
	var stat Stat
	c.update(func(time.Time) {
		stat = Stat{Layers: append([]LayerStat(nil), c.counts...), Sessions: c.table.known}
		for i := range stat.Layers {
			stat.Layers[i].State = c.breakers[i].state()
		}
	})
	return stat
}

// update runs f under the lock, and carries out what it caused without it.
func (c *Chain[T]) update(f func(now time.Time)) {
	c.mu.Lock()
	now := time.Now()
	c.table.expire(now)
	f(now)
	tells, changes := c.table.tells, c.changes
	c.table.tells, c.changes = nil, nil
	c.mu.Unlock()
	for _, x := range tells {
		c.endSession(x)
	}
	for _, x := range changes {
		c.changed(x)
	}
}

// endSession tells a pool that a session has left its layer.
func (c *Chain[T]) endSession(x tell) {
	defer func() {
		if p := recover(); p != nil {
			c.cfg.Logger.Warn("EndSession panicked", "layer", c.cfg.Layers[x.layer].Name, "panic", fmt.Sprint(p))
		}
		c.update(func(now time.Time) { c.table.told(x, now) })
	}()
	c.cfg.Layers[x.layer].Pool.EndSession(x.s.id)
}

// changed reports a change of a breaker.
func (c *Chain[T]) changed(x Change) {
	if x.To == Open {
		c.cfg.Logger.Warn("breaker opens", "layer", x.Layer, "from", x.From.String(), "cause", x.Cause)
	} else {
		c.cfg.Logger.Info("breaker changes", "layer", x.Layer, "from", x.From.String(), "to", x.To.String())
	}
	if c.cfg.OnChange == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			c.cfg.Logger.Warn("OnChange panicked", "panic", fmt.Sprint(p))
		}
	}()
	c.cfg.OnChange(x)
}

// judge says what an error that a caller's function returned means for the layer. done says
// that the caller's context had ended.
func (c *Chain[T]) judge(err error, done bool) verdict {
	var broke *pool.WorkerError
	switch {
	case err == nil:
		return success
	case done:
		return neither
	case c.cfg.Broken == nil && errors.As(err, &broke):
		return failure
	case c.cfg.Broken == nil:
		return neither
	case c.cfg.Broken(err):
		return failure
	}
	return success
}
