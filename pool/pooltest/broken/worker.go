package broken

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// phase is where a worker stands; docs/semantics.md has the diagram.
type phase int

const (
	starting phase = iota
	idle
	checking // or being told, if telling is set
	leased
	stopping
)

// worker is one incarnation, from the beginning of its start until it is gone.
type worker[T any] struct {
	id    pool.WorkerID
	phase phase
	value T
	made  bool // Start returned value, so Stop is owed
	cause error

	hook   string // the hook that is running, or ""
	cancel context.CancelCauseFunc

	epoch    int       // of its start
	began    time.Time // its start, tell or stop
	ready    time.Time // when Start returned
	lifetime time.Duration
	leases   int // granted so far
	lease    *lease[T]
	retired  bool      // while leased: stops at release
	since    time.Time // beginning of its idle time

	due       time.Time        // its next check; zero: none
	failures  int              // in a row
	cancelled bool             // the running check was cancelled for a waiter
	debts     []pool.SessionID // sessions that are over, of which it is to be told
	telling   bool             // checking, but of a session's end
}

var (
	errUnusable = errors.New("not usable")
	errRevoked  = errors.New("lease revoked by Shutdown")
	errNeeded   = errors.New("a caller needs the worker")
)

func (p *Pool[T]) count(ph phase) (n int) {
	for _, w := range p.workers {
		if w.phase == ph {
			n++
		}
	}
	return n
}

// present is the number of workers that are not stopping.
func (p *Pool[T]) present() int { return len(p.workers) - p.count(stopping) }

func (p *Pool[T]) bindings(w *worker[T]) (n int) {
	for _, s := range p.table {
		if s.worker == w {
			n++
		}
	}
	return n
}

// past reports whether w takes no new work (I17).
func (p *Pool[T]) past(w *worker[T]) bool {
	limit := p.cfg.MaxLeases
	if p.fault == PastMaxLeases {
		limit++
	}
	if p.cfg.MaxLeases > 0 && w.leases >= limit {
		return true
	}
	return w.lifetime > 0 && p.reached(w.ready.Add(w.lifetime)) && p.fault != LifetimeIgnored
}

// call runs hook on a goroutine of its own and makes done a change of the pool. While
// it runs, w.cancel ends its context; an error stands for a panic or Goexit.
func (p *Pool[T]) call(w *worker[T], name string, timeout time.Duration, hook func(context.Context) error, done func(error)) {
	ctx, cancel := context.WithCancelCause(context.Background())
	w.hook, w.cancel = name, cancel
	go func() {
		ctx, release := context.WithTimeout(ctx, timeout)
		defer release()
		var err error
		returned := false
		defer func() {
			if !returned {
				err = &pool.PanicError{Value: recover(), Stack: debug.Stack()}
				if p.fault == PanicLosesSlot {
					return
				}
			}
			p.land(w, name, err, func() {
				w.hook, w.cancel = "", nil
				done(err)
			})
		}()
		err = hook(ctx)
		returned = true
	}()
}

// slots is the number of workers that count towards MaxSize.
func (p *Pool[T]) slots() int {
	switch p.fault {
	case StartsOverMax:
		return len(p.workers) - p.count(starting)
	case StopFreesSlotEarly:
		return p.present()
	}
	return len(p.workers)
}

// mayStart reports whether a start may begin, if one is wanted.
func (p *Pool[T]) mayStart() bool {
	limit := p.cfg.StartConcurrency
	switch p.fault {
	case StartsOneByOne:
		limit = 1
	case StartStorm:
		limit = p.cfg.MaxSize
	}
	if p.closing || p.slots() >= p.cfg.MaxSize || p.count(starting) >= limit || p.backingOff() {
		return false
	}
	if p.delay == 0 || p.fault == HalfOpenStampede {
		return true
	}
	return !slices.ContainsFunc(p.workers, func(w *worker[T]) bool { return w.phase == starting && w.epoch == p.epoch })
}

// backingOff reports whether a back-off runs. One that has run its time is half-open.
func (p *Pool[T]) backingOff() bool {
	return p.delay > 0 && (!p.reached(p.resume) || p.fault == BackoffNeverEnds)
}

// least is how many workers are wanted without demand.
func (p *Pool[T]) least() int {
	if p.fault == MinSizeNotKept && int(p.lastID) >= p.cfg.MinSize {
		return 0
	}
	return p.cfg.MinSize
}

// begin begins a start.
func (p *Pool[T]) begin() {
	p.lastID++
	w := &worker[T]{id: p.lastID, epoch: p.epoch, began: p.now}
	p.workers = append(p.workers, w)
	var value T
	p.call(w, "Start", p.cfg.StartTimeout, func(ctx context.Context) (err error) {
		value, err = p.cfg.Start(ctx, w.id)
		return err
	}, func(err error) {
		w.made = err == nil
		switch {
		case w.made && w.phase == stopping:
			w.value = value
			p.runStop(w)
		case w.made:
			w.value = value
			p.started(w)
		case w.phase == stopping:
			p.remove(w)
		default:
			p.remove(w)
			p.startFailed(w, err)
		}
	})
}

// started makes w idle for the first time.
func (p *Pool[T]) started(w *worker[T]) {
	if p.fault != HalfOpenSticks {
		p.delay = 0
	}
	w.ready = p.now
	if p.cfg.MaxLifetime > 0 {
		w.lifetime = p.cfg.MaxLifetime - time.Duration(p.cfg.Rand()*float64(p.cfg.MaxLifetimeJitter))
	}
	if p.cfg.Check != nil && p.cfg.HealthCheckPeriod > 0 {
		w.due = p.now.Add(p.cfg.HealthCheckPeriod)
	}
	p.available(w)
}

// available makes w idle and begins its idle time; settle finds out what becomes of it.
func (p *Pool[T]) available(w *worker[T]) {
	if w.phase != stopping {
		w.phase, w.since = idle, p.now
	}
}

// abandonStart fails a start that has not returned.
func (p *Pool[T]) abandonStart(w *worker[T], cause error) {
	p.stop(w, cause)
	p.startFailed(w, cause)
}

// startFailed settles the failed start of w, which is not starting any longer.
func (p *Pool[T]) startFailed(w *worker[T], err error) {
	if p.closing {
		return
	}
	p.failure = &pool.StartError{ID: w.id, Err: err}
	if w.epoch == p.epoch || p.fault == BackoffPerFailure {
		p.epoch++
		p.delay = min(2*p.delay, p.cfg.StartBackoff.Max)
		if p.delay == 0 {
			p.delay = p.cfg.StartBackoff.Min
		}
		p.resume = p.now.Add(time.Duration(float64(p.delay) * (1 + p.cfg.Rand()) / 2))
	}
	if p.present() > 0 && p.fault != FailedStartFailsAll || p.fault == FailedStartStrandsWaiters {
		return
	}
	for _, q := range slices.Clone(p.waiters) {
		if q.session == nil || q.session.worker == nil {
			p.answer(q, nil, p.failure)
		}
	}
}

// stop takes w out of service. Its running hook is awaited first.
func (p *Pool[T]) stop(w *worker[T], cause error) {
	if w.phase == stopping {
		return
	}
	w.phase, w.cause, w.began = stopping, cause, p.now
	p.loseSessions(w)
	if w.cancel == nil {
		p.runStop(w)
		return
	}
	if cause == nil {
		cause = pool.ErrClosed
	}
	w.cancel(cause)
}

// runStop stops w, whose hooks have returned.
func (p *Pool[T]) runStop(w *worker[T]) {
	if p.cfg.Stop == nil {
		p.remove(w)
		return
	}
	w.began = p.now
	p.call(w, "Stop", p.cfg.StopTimeout, func(ctx context.Context) error {
		if p.fault == StopsTwice && w.retired {
			_ = p.cfg.Stop(ctx, w.value, w.cause)
		}
		return p.cfg.Stop(ctx, w.value, w.cause)
	}, func(error) { p.remove(w) })
}

// remove frees the slot of w, of which nothing is left.
func (p *Pool[T]) remove(w *worker[T]) {
	p.workers = slices.DeleteFunc(p.workers, func(v *worker[T]) bool { return v == w })
}

// Retire reports that a worker is dead, or must go. An idle one stops at once, a leased
// one at its release; its sessions are settled at once. A start that has not returned
// fails. Retire of any other worker does nothing. It does not wait.
func (p *Pool[T]) Retire(id pool.WorkerID, cause error) {
	before := p.phaseBefore(id)
	p.update(func() {
		w := p.worker(id)
		if w == nil || p.closing {
			return
		}
		switch {
		case p.fault == RetireAfterRelease && before == leased && w.phase == idle:
			w.retired = true
			p.loseSessions(w)
		case p.fault == RetireUnderHolder && before == idle && w.phase == leased:
			p.stop(w, &pool.WorkerError{ID: id, Err: cause})
		case w.phase == starting && p.fault != RetiredStartJoins:
			if cause == nil {
				cause = context.Canceled
			}
			p.abandonStart(w, cause)
		case w.phase == idle && p.fault == RetiredIdleGranted:
		case w.phase == idle, w.phase == checking:
			p.stop(w, &pool.WorkerError{ID: id, Err: cause})
		case w.phase == leased && !w.retired:
			w.retired, w.cause = true, &pool.WorkerError{ID: id, Err: cause}
			p.loseSessions(w)
		}
	})
}

// worker returns the live worker of that number, or nil.
func (p *Pool[T]) worker(id pool.WorkerID) *worker[T] {
	for _, w := range p.workers {
		if w.id == id {
			return w
		}
	}
	return nil
}

// trim stops idle workers that may not be granted.
func (p *Pool[T]) trim() {
	for _, w := range slices.Clone(p.workers) {
		serving := p.cfg.Affinity == pool.Strict && p.bindings(w) > 0 && p.fault != RecyclesUnderSession
		if w.phase == idle && (p.closing || p.past(w) && !serving) {
			p.stop(w, nil)
		}
	}
	if p.fault != ShrinkIgnoredAtRelease {
		p.shrink()
	}
}

// shrink stops idle workers beyond MaxSize, fewest bindings first.
func (p *Pool[T]) shrink() {
	for p.present() > p.cfg.MaxSize {
		var least *worker[T]
		for _, w := range p.workers {
			if w.phase == idle && (least == nil || p.bindings(w) < p.bindings(least)) {
				least = w
			}
		}
		if least == nil {
			return
		}
		p.stop(least, nil)
	}
}

// recycle stops workers that have been idle for long.
func (p *Pool[T]) recycle() {
	for _, w := range slices.Clone(p.workers) {
		spared := p.bindings(w) > 0 && p.fault != IdleTimeTakesBound
		if p.cfg.MaxIdleTime == 0 || w.phase != idle || spared || !p.reached(w.since.Add(p.cfg.MaxIdleTime)) {
			continue
		}
		if p.present() > p.cfg.MinSize {
			p.stop(w, nil)
		} else {
			w.since = p.now
		}
	}
}
