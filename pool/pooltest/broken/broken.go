// Package broken is a plain pool with faults on purpose. It promises what package
// pool promises, follows docs/semantics.md, and shares no code with pool: one mutex,
// slices searched from end to end, and one rule list applied after every change.
// With the fault None it is correct and a second opinion on the real pool; with any
// other it is wrong in exactly one way, which the checks of a pool must notice.
//
// Every fault of Faults shows in some sequence of operations, of time passing and of hook
// outcomes, with everything at rest in between. Those of Races show in no such sequence:
// they need a particular interleaving.
//
// All methods may be called from any goroutine. A Pool has no package-level state and
// may live in a testing/synctest bubble. Config.Observer and Config.Logger are not used.
package broken

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// Pool is a plain pool of workers of type T.
type Pool[T any] struct {
	cfg   pool.Config[T] // MinSize and MaxSize are guarded by mu
	fault Fault
	done  chan struct{} // closed when Close and Shutdown return

	mu sync.Mutex // guards everything below

	now     time.Time // when the current change began
	opened  time.Time
	timer   *time.Timer
	workers []*worker[T]   // the live ones, oldest first
	waiters []*waiter[T]   // in order of arrival
	table   []*session[T]  // known sessions
	bound   map[string]int // how often each name was bound (FreshForgotten)
	drift   int            // CountsDrift

	lastID    pool.WorkerID
	lastToken pool.Token

	epoch   int              // of starts; ends with its first failure
	delay   time.Duration    // of the back-off; 0: none
	resume  time.Time        // when the back-off has run its time
	failure *pool.StartError // the last one

	closing  bool
	finished bool
	emptied  bool      // finished, but for telling so (DoneClosedTwice)
	unleased time.Time // when closing first had no lease out
	revoked  []pool.WorkerID
	outcome  *pool.ShutdownError // as it was finished; nil: all in good order
}

// Counts says how many workers, waiters and sessions a Pool has.
type Counts struct {
	Live, Starting, Idle, Checking, Leased, Stopping int
	Waiting, Sessions                                int
}

// New returns a pool that is wrong in the way of fault, and starts MinSize workers in
// the background. The caller must Close it. It refuses an invalid cfg.
func New[T any](cfg pool.Config[T], fault Fault) (*Pool[T], error) {
	cfg = withDefaults(cfg)
	if err := validate(cfg); err != nil {
		return nil, err
	}
	p := &Pool[T]{
		cfg: cfg, fault: fault, done: make(chan struct{}),
		opened: time.Now(), bound: map[string]int{},
	}
	p.update(func() {})
	return p, nil
}

func withDefaults[T any](cfg pool.Config[T]) pool.Config[T] {
	if cfg.MaxSize == 0 {
		cfg.MaxSize = runtime.GOMAXPROCS(0)
	}
	if cfg.StartConcurrency == 0 {
		cfg.StartConcurrency = pool.DefaultStartConcurrency
	}
	if cfg.HealthCheckFailures == 0 {
		cfg.HealthCheckFailures = pool.DefaultHealthCheckFailures
	}
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = pool.DefaultStartTimeout
	}
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = pool.DefaultStopTimeout
	}
	if cfg.HealthCheckTimeout == 0 {
		cfg.HealthCheckTimeout = pool.DefaultHealthCheckTimeout
	}
	if cfg.StartBackoff.Min == 0 {
		cfg.StartBackoff.Min = pool.DefaultStartBackoffMin
	}
	if cfg.StartBackoff.Max == 0 {
		cfg.StartBackoff.Max = max(pool.DefaultStartBackoffMax, cfg.StartBackoff.Min)
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	return cfg
}

func validate[T any](cfg pool.Config[T]) error {
	switch {
	case cfg.Start == nil:
		return errors.New("broken: Config.Start is required")
	case cfg.MinSize < 0 || cfg.MaxSize < 1 || cfg.MinSize > cfg.MaxSize:
		return errSizes
	case cfg.StartBackoff.Max < cfg.StartBackoff.Min:
		return errors.New("broken: Config.StartBackoff.Max is less than Min")
	case cfg.MaxLifetimeJitter > 0 && cfg.MaxLifetimeJitter >= cfg.MaxLifetime:
		return errors.New("broken: Config.MaxLifetimeJitter must be less than MaxLifetime")
	case cfg.Affinity == pool.Strict && cfg.SessionTTL == 0 && (cfg.MaxLifetime > 0 || cfg.MaxLeases > 0):
		return errors.New("broken: under Strict, MaxLifetime and MaxLeases require a SessionTTL")
	}
	return nil
}

var errSizes = errors.New("broken: MinSize must be in 0..MaxSize and MaxSize at least 1")

// Counts returns what the pool has now. It does not block.
func (p *Pool[T]) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	live := Counts{Starting: p.count(starting), Idle: p.count(idle), Checking: p.count(checking)}
	if p.fault == StatTorn {
		p.mu.Unlock()
		p.mu.Lock()
	}
	return Counts{
		Live: len(p.workers), Starting: live.Starting, Idle: live.Idle, Checking: live.Checking,
		Leased: p.count(leased), Stopping: p.count(stopping), Waiting: len(p.waiters) + p.drift, Sessions: len(p.table),
	}
}

// Resize changes MinSize and MaxSize and returns at once. Idle workers beyond the new
// maximum stop; leased ones stop at their release. It fails with pool.ErrClosed on a
// closing pool, and changes nothing if the sizes are invalid.
func (p *Pool[T]) Resize(minSize, maxSize int) (err error) {
	if minSize < 0 || maxSize < 1 || minSize > maxSize {
		return errSizes
	}
	if p.fault == ResizeWakesNobody && p.grow(minSize, maxSize) {
		return nil
	}
	p.update(func() {
		if p.closing {
			err = pool.ErrClosed
			return
		}
		p.cfg.MinSize, p.cfg.MaxSize = minSize, maxSize
		p.shrink()
	})
	return err
}

// grow is Resize to a larger maximum that forgets to apply the rules.
func (p *Pool[T]) grow(minSize, maxSize int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing || maxSize <= p.cfg.MaxSize {
		return false
	}
	p.cfg.MinSize, p.cfg.MaxSize = minSize, maxSize
	return true
}

// update makes a change and brings the pool to rest again. All changes are made here.
func (p *Pool[T]) update(change func()) {
	p.quietly(func() {
		p.settle()
		change()
		p.settle()
	})
	if p.fault == DoneClosedTwice {
		p.announce()
	}
}

// settle applies every rule that holds, now and after each thing that the passing of
// time has brought about.
func (p *Pool[T]) settle() {
	for again := true; again; again = p.elapse() {
		p.trim()
		p.tellIdle()
		p.serve()
		p.recycle()
		demand := p.demand()
		p.checkDue()
		for p.mayStart() && p.count(starting) < max(demand, p.least()-(len(p.workers)-p.count(starting))) {
			p.begin()
		}
		p.finish()
	}
}

// elapse applies one thing that the passing of time alone has brought about, and
// reports whether there was one.
func (p *Pool[T]) elapse() bool {
	for _, s := range p.table {
		if end, ok := p.sessionEnd(s); ok && p.reached(end) {
			if p.fault == ExpiredSessionsStay && !s.lost {
				p.endBinding(s)
			} else {
				p.endSession(s)
			}
			return true
		}
	}
	for _, w := range p.workers {
		if w.phase == leased || w.telling && w.due.After(w.began) {
			p.skipCheck(w)
		}
		if w.phase == starting && p.reached(w.began.Add(p.cfg.StartTimeout)) {
			p.abandonStart(w, context.DeadlineExceeded)
			return true
		}
		if p.fault == StopTimeoutFreesSlot && w.hook == "Stop" && p.reached(w.began.Add(p.cfg.StopTimeout)) {
			p.remove(w)
			return true
		}
	}
	for _, q := range p.waiters {
		if p.cfg.AcquireTimeout > 0 && p.fault != TimeoutAfterGrant && p.reached(q.since.Add(p.cfg.AcquireTimeout)) {
			p.answer(q, nil, pool.ErrAcquireTimeout)
			return true
		}
	}
	return false
}

// reached reports whether t is not in the future.
func (p *Pool[T]) reached(t time.Time) bool { return !p.now.Before(t) }

// arm sets the timer to the earliest moment at which time alone changes something.
func (p *Pool[T]) arm() {
	var next time.Time
	for _, t := range p.deadlines() {
		if t.After(p.now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	switch {
	case next.IsZero() && p.timer != nil:
		p.timer.Stop()
	case next.IsZero():
	case p.timer == nil:
		p.timer = time.AfterFunc(next.Sub(p.now), p.tick)
	default:
		p.timer.Reset(next.Sub(p.now))
	}
}

// deadlines returns every moment, past ones included, at which a rule may begin to hold.
func (p *Pool[T]) deadlines() (ts []time.Time) {
	for _, s := range p.table {
		if end, ok := p.sessionEnd(s); ok {
			ts = append(ts, end)
		}
	}
	for _, q := range p.waiters {
		ts = append(ts, q.since.Add(p.cfg.AcquireTimeout))
	}
	for _, w := range p.workers {
		ts = append(ts, w.due)
		if w.phase == starting {
			ts = append(ts, w.began.Add(p.cfg.StartTimeout))
		}
		if w.phase == stopping && p.fault == StopTimeoutFreesSlot {
			ts = append(ts, w.began.Add(p.cfg.StopTimeout))
		}
		if w.lifetime > 0 {
			ts = append(ts, w.ready.Add(w.lifetime))
		}
		if w.phase == idle {
			ts = append(ts, w.since.Add(p.cfg.MaxIdleTime))
		}
	}
	if p.fault != BackoffWakesNobody {
		ts = append(ts, p.resume)
	}
	if p.closing && !p.finished && !p.unleased.IsZero() {
		ts = append(ts, p.unleased.Add(p.cfg.StopTimeout))
	}
	return ts
}
