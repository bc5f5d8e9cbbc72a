package pool

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Pool is a bounded set of workers. Make one with New. All methods may be called by any
// goroutine at any time.
type Pool[T any] struct {
	cfg   Config[T]
	epoch time.Time // what the core's times count from

	waiters sync.Pool // of *waiter, whose channels are empty
	done    chan struct{}
	telling atomic.Int64 // changes that the Observer is being told of

	mu      sync.Mutex
	st      state         // guarded by mu
	timer   *time.Timer   // guarded by mu; fires tick
	armed   time.Duration // guarded by mu: when it fires, never if it does not
	settled chan struct{} // guarded by mu: closed when callers of Ready must look again
	closed  bool          // guarded by mu: done is closed
}

// New makes a pool and begins to start MinSize workers in the background. It reports
// every complaint about cfg at once. The caller must Close the pool, or Shutdown it.
func New[T any](cfg Config[T]) (*Pool[T], error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := &Pool[T]{cfg: cfg, epoch: time.Now(), done: make(chan struct{}), settled: make(chan struct{}), armed: never}
	p.waiters.New = func() any { return &waiter{ch: make(chan struct{}, 1)} }
	p.st = state{
		limits: cfg.limits(), random: tame(cfg.Rand), seed: maphash.MakeSeed(), observed: cfg.Observer != nil,
		alarm: never, drained: never, sessions: map[SessionID]*session{},
	}
	p.timer = time.AfterFunc(never, p.tick)
	p.timer.Stop()
	p.update(func(*state) {}) // starts MinSize workers
	return p, nil
}

// tame keeps what the user's random numbers may do to the core within bounds: they are
// drawn under the lock, where a panic would leave it locked.
func tame(random func() float64) func() float64 {
	return func() (x float64) {
		defer func() {
			if recover() != nil || !(x >= 0 && x < 1) {
				x = 0.5
			}
		}()
		return random()
	}
}

// limits returns what the core needs of cfg.
func (cfg *Config[T]) limits() limits {
	l := limits{
		MinSize: cfg.MinSize, MaxSize: cfg.MaxSize, MaxWaiters: cfg.MaxWaiters,
		AcquireTimeout: cfg.AcquireTimeout, StartTimeout: cfg.StartTimeout, StopTimeout: cfg.StopTimeout,
		StartConcurrency: cfg.StartConcurrency, StartBackoff: cfg.StartBackoff,
		HealthCheckPeriod: cfg.HealthCheckPeriod, HealthCheckFailures: cfg.HealthCheckFailures,
		MaxIdleTime: cfg.MaxIdleTime, MaxLifetime: cfg.MaxLifetime, MaxLifetimeJitter: cfg.MaxLifetimeJitter,
		MaxLeases: cfg.MaxLeases, Affinity: cfg.Affinity, SessionTTL: cfg.SessionTTL,
		MaxSessions: cfg.MaxSessions, MaxSessionsPerWorker: cfg.MaxSessionsPerWorker,
		tells: cfg.SessionEnded != nil,
	}
	if cfg.Check == nil || cfg.HealthCheckPeriod == 0 {
		l.HealthCheckPeriod = never
	}
	return l
}

// Acquire leases a worker, waiting for one if need be. The wait ends with the context
// (its cause is returned), AcquireTimeout, or a refusal: see the variables. An idle
// worker is granted without blocking. The caller must end the lease.
func (p *Pool[T]) Acquire(ctx context.Context) (Lease[T], error) {
	if ctx.Err() != nil {
		return Lease[T]{}, context.Cause(ctx)
	}
	p.mu.Lock()
	if got, ok := p.st.quickAcquire(); ok {
		p.mu.Unlock()
		return Lease[T]{p: p, got: got}, nil
	}
	x := p.waiters.Get().(*waiter)
	if p.st.quickPark(x) {
		p.mu.Unlock()
		return p.await(ctx, x)
	}
	p.waiters.Put(x)
	return p.decide(ctx, request{})
}

// AcquireSession is Acquire for a session: Config.Affinity says which worker it gets. An
// empty id is no session.
func (p *Pool[T]) AcquireSession(ctx context.Context, id SessionID) (Lease[T], error) {
	if ctx.Err() != nil {
		return Lease[T]{}, context.Cause(ctx)
	}
	if id == "" {
		return p.Acquire(ctx)
	}
	p.mu.Lock()
	now := time.Duration(0)
	if p.st.SessionTTL > 0 {
		now = p.clock()
	}
	if got, ok := p.st.quickSession(id, now); ok {
		p.mu.Unlock()
		return Lease[T]{p: p, got: got}, nil
	}
	return p.decide(ctx, request{id: id})
}

// TryAcquire is Acquire without waiting: ErrNotAvailable says that no worker is idle. It
// causes no start.
func (p *Pool[T]) TryAcquire() (Lease[T], error) { return p.TryAcquireSession("") }

// TryAcquireSession is AcquireSession without waiting; see TryAcquire.
func (p *Pool[T]) TryAcquireSession(id SessionID) (Lease[T], error) {
	p.mu.Lock()
	return p.decide(context.Background(), request{id: id, try: true})
}

// decide has the core decide r, and waits for the outcome if need be. The caller holds
// the lock, which decide releases.
func (p *Pool[T]) decide(ctx context.Context, r request) (Lease[T], error) {
	p.request(&r)
	switch {
	case r.err != nil:
		return Lease[T]{}, r.err
	case r.w != nil:
		return p.await(ctx, r.w)
	}
	return Lease[T]{p: p, got: r.got}, nil
}

func (p *Pool[T]) request(r *request) {
	p.updateLocked(func(st *state) {
		if !st.acquire(r) {
			st.advance(p.clock())
			r.timed = true
			st.acquire(r)
		}
		if r.parks {
			r.w = p.waiters.Get().(*waiter)
			st.park(r.w, r.s)
		}
	})
}

// await waits until x is settled or ctx ends. Afterwards x belongs to nobody.
func (p *Pool[T]) await(ctx context.Context, x *waiter) (Lease[T], error) {
	cancelled := false
	if done := ctx.Done(); done == nil {
		<-x.ch
	} else {
		select {
		case <-x.ch:
		case <-done:
			p.update(func(st *state) {
				if cancelled = x.parked; cancelled {
					st.advance(p.clock())
					if x.parked {
						st.trust(x.session)
					}
					if cancelled = x.parked; cancelled {
						st.cancel(x)
					}
				}
			})
			if !cancelled {
				<-x.ch // settled before; the signal is sent or about to be
			}
		}
	}
	got, err := x.got, x.err
	x.got, x.err, x.session = grant{}, nil, nil
	p.waiters.Put(x)
	switch {
	case cancelled:
		return Lease[T]{}, context.Cause(ctx)
	case err != nil:
		return Lease[T]{}, err
	case ctx.Err() != nil:
		p.update(func(st *state) {
			st.advance(p.clock())
			st.giveBack(got)
		})
		return Lease[T]{}, context.Cause(ctx)
	}
	return Lease[T]{p: p, got: got}, nil
}

// Do acquires a worker, for a session unless id is empty, and runs f on it. If f returns,
// with an error or not, the lease is released; if f panics or ends its goroutine, the
// worker is discarded. Do returns the acquire's error or f's.
func (p *Pool[T]) Do(ctx context.Context, id SessionID, f func(ctx context.Context, worker T) error) error {
	lease, err := p.AcquireSession(ctx, id)
	if err != nil {
		return err
	}
	return lease.Do(ctx, f)
}

// EndSession ends a session: its binding is cut, its worker is told, a lost one may begin
// anew. A running lease of it goes on; queued acquires keep their places as those of a new
// session of that name (I9). Ending an unknown session does nothing.
func (p *Pool[T]) EndSession(id SessionID) {
	p.update(func(st *state) {
		st.advance(p.clock())
		if s := st.sessions[id]; s != nil {
			st.endSession(s)
		}
	})
}

// Retire says that a worker is dead: it is never granted again, its sessions are lost, and
// waiters bound to it are settled at once. If it is leased it is stopped at release; if it
// is starting its start has failed. Retiring an unknown or stopping worker does nothing.
// The worker's Stop gets a *WorkerError that wraps cause.
func (p *Pool[T]) Retire(id WorkerID, cause error) {
	if cause == nil {
		cause = errRetired
	}
	p.update(func(st *state) {
		st.advance(p.clock())
		st.retire(id, cause)
	})
}

var errRetired = errors.New("pool: retired")

// Resize sets MinSize and MaxSize. Idle workers beyond it are stopped at once, fewest
// bindings first, leased ones at release (I16). It does not wait for them. It returns
// ErrClosed on a closing pool.
func (p *Pool[T]) Resize(minSize, maxSize int) error {
	if minSize < 0 || maxSize < 1 || minSize > maxSize {
		return fmt.Errorf("pool: Resize(%d, %d): want 0 <= min <= max and max >= 1", minSize, maxSize)
	}
	var err error
	p.update(func(st *state) {
		st.advance(p.clock())
		if st.closing {
			err = ErrClosed
			return
		}
		st.resize(minSize, maxSize)
	})
	return err
}

// Ready waits until max(1, MinSize) workers have started and live. It starts one if
// MinSize is 0. When ctx ends first it returns the context's cause joined with the last
// *StartError, if there is one; on a closing pool ErrClosed.
func (p *Pool[T]) Ready(ctx context.Context) error {
	joined := false
	defer func() {
		if joined {
			p.update(func(st *state) { st.readying-- })
		}
	}()
	for {
		var ready, closing bool
		var again chan struct{}
		p.update(func(st *state) {
			if !joined {
				st.advance(p.clock())
				st.readying++
				joined = true
			}
			ready = st.idle()+st.checking+st.leased >= max(1, st.MinSize)
			closing, again = st.closing, p.settled
		})
		switch {
		case closing:
			return ErrClosed
		case ready:
			return nil
		}
		select {
		case <-again:
		case <-ctx.Done():
			var last *StartError
			p.update(func(st *state) { last = st.lastStart })
			if last != nil {
				return errors.Join(context.Cause(ctx), last)
			}
			return context.Cause(ctx)
		}
	}
}

// Close closes the pool and waits: new and parked acquires fail with ErrClosed at once,
// workers are stopped, leased ones at release. It returns when all are gone, or
// StopTimeout after the last lease ended, then with a *ShutdownError that names the hooks
// that have not returned. It may be called more than once (I13).
func (p *Pool[T]) Close() error { return p.Shutdown(context.Background()) }

// Shutdown is Close, but when ctx ends it revokes the leases that are out, also for callers
// of Close: their workers are stopped under the holders, and the *ShutdownError, joined
// with the context's cause, names them. It returns at most StopTimeout after ctx ends.
func (p *Pool[T]) Shutdown(ctx context.Context) error {
	var err error
	late := false
	p.update(func(st *state) {
		st.advance(p.clock())
		if late = st.finished; late {
			err = st.shutdownError()
		}
		st.close()
	})
	select {
	case <-p.done:
	case <-ctx.Done():
		p.update(func(st *state) {
			st.advance(p.clock())
			st.force()
		})
		<-p.done
	}
	if !late {
		p.update(func(st *state) { err = st.outcome })
	}
	if err != nil && ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	return err
}

// Stat returns a consistent snapshot.
func (p *Pool[T]) Stat() Stat {
	var s Stat
	p.update(func(st *state) {
		st.advance(p.clock())
		s = st.stat()
	})
	s.Telling = int(p.telling.Load())
	return s
}
