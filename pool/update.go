package pool

import (
	"context"
	"runtime/debug"
	"time"
)

// clock returns the time since the pool's epoch.
func (p *Pool[T]) clock() time.Duration { return time.Since(p.epoch) }

// update is the one way into the core, the short cuts of quick.go apart: it runs f on the
// state under the lock, brings the pool to rest, and carries out the effects after the
// lock is released.
func (p *Pool[T]) update(f func(*state)) {
	p.mu.Lock()
	p.updateLocked(f)
}

// updateLocked is update for a caller that holds the lock, which it releases.
func (p *Pool[T]) updateLocked(f func(*state)) {
	st := &p.st
	st.seq++
	f(st)
	st.settle()
	st.takeCalm()
	var todo []func()
	if len(st.effects) > 0 || st.started || st.finished {
		todo = p.prepare()
	}
	p.arm()
	if checkInvariants {
		p.mustHold()
	}
	woken, events := st.woken, st.events
	st.woken, st.events = nil, nil
	if len(events) > 0 {
		p.telling.Add(1)
	}
	p.mu.Unlock()
	wake(woken)
	for _, do := range todo {
		do()
	}
	if len(events) > 0 {
		p.tell(events)
	}
}

// tell tells the Observer of a change.
func (p *Pool[T]) tell(events []Event) {
	defer p.telling.Add(-1)
	for _, e := range events {
		contain(func() error { p.cfg.Observer(e); return nil }, p.observed)
	}
}

// arm sets the timer to the next deadline. The caller holds the lock.
func (p *Pool[T]) arm() {
	if p.st.alarm == p.armed {
		return
	}
	if p.armed = p.st.alarm; p.armed == never {
		p.timer.Stop()
		return
	}
	p.timer.Reset(max(0, p.armed-p.clock()))
}

// prepare makes, under the lock, what update calls after it is released.
func (p *Pool[T]) prepare() []func() {
	st := &p.st
	todo := make([]func(), 0, len(st.effects))
	for _, e := range st.effects {
		switch {
		case e.stop:
			cancel, cause := e.w.cancel, e.cause
			todo = append(todo, func() { cancel(cause) })
		case e.corrupt:
			todo = append(todo, func() { p.warn("binding was corrupt", "session", e.id) })
		default:
			todo = append(todo, p.begin(e))
		}
	}
	clear(st.effects)
	st.effects = st.effects[:0]
	if st.started {
		st.started = false
		close(p.settled)
		p.settled = make(chan struct{})
	}
	if st.finished && !p.closed {
		p.closed = true
		p.timer.Stop()
		close(p.done)
	}
	return todo
}

func wake(x *waiter) {
	for x != nil {
		next := x.next
		x.next = nil
		x.ch <- struct{}{} // from here on x is its goroutine's
		x = next
	}
}

// tick is the timer's function.
func (p *Pool[T]) tick() {
	p.update(func(st *state) {
		p.armed = never
		st.advance(p.clock())
	})
}

// begin prepares the hook of e, under the lock, and returns what starts it.
func (p *Pool[T]) begin(e effect) func() {
	w := e.w
	limit := p.cfg.HealthCheckTimeout
	run, land := p.check(e)
	switch e.hook {
	case hookStart:
		limit = p.cfg.StartTimeout
		p.st.startBegan(w, p.clock())
		run, land = p.start(w)
	case hookStop:
		limit = p.cfg.StopTimeout
		run, land = p.stop(w, e.cause)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	ctx, stop := context.WithTimeout(ctx, limit)
	w.cancel = cancel
	return func() {
		go contain(func() error { return run(ctx) }, func(err error) {
			cause := context.Cause(ctx)
			stop()
			cancel(nil)
			if err != nil && cause != errNeeded && cause != context.Canceled { // not asked to give up
				p.warn("hook failed", "hook", e.hook.String(), "worker", w.id, "err", err)
			}
			p.update(func(st *state) {
				st.advance(p.clock())
				land(st, err)
				st.look()
			})
		})
	}
}

func (p *Pool[T]) start(w *worker) (run func(context.Context) error, land func(*state, error)) {
	value := new(T)
	run = func(ctx context.Context) (err error) {
		*value, err = p.cfg.Start(ctx, w.id)
		return err
	}
	return run, func(st *state, err error) { st.startReturned(w, value, err) }
}

func (p *Pool[T]) stop(w *worker, cause error) (run func(context.Context) error, land func(*state, error)) {
	run = func(ctx context.Context) error {
		if cause != nil {
			p.warn("worker is stopped", "worker", w.id, "cause", cause)
		}
		if p.cfg.Stop == nil {
			return nil
		}
		return p.cfg.Stop(ctx, *w.value.(*T), cause)
	}
	return run, func(st *state, err error) { st.stopReturned(w, err) }
}

func (p *Pool[T]) check(e effect) (run func(context.Context) error, land func(*state, error)) {
	run = func(ctx context.Context) error {
		if e.hook == hookTell {
			return p.cfg.SessionEnded(ctx, *e.w.value.(*T), e.id)
		}
		return p.cfg.Check(ctx, *e.w.value.(*T))
	}
	return run, func(st *state, err error) { st.checkReturned(e.w, err) }
}

// askUsable calls then with why w must not serve another lease, nil if it may.
func (p *Pool[T]) askUsable(w *worker, then func(error)) {
	contain(func() error {
		if !p.cfg.Usable(*w.value.(*T)) {
			return errUnusable
		}
		return nil
	}, func(err error) {
		if err != nil {
			err = &WorkerError{ID: w.id, Err: err}
		}
		then(err)
	})
}

// observed takes what came of a call of the Observer.
func (p *Pool[T]) observed(err error) {
	if err != nil {
		p.warn("observer failed", "err", err)
	}
}

// warn logs, and contains a panic of the Logger: it must not keep a hook from running.
func (p *Pool[T]) warn(msg string, args ...any) {
	defer func() { _ = recover() }()
	p.cfg.Logger.Warn(msg, args...)
}

// contain runs a hook and gives then its error, also when it panics or ends its
// goroutine (I11).
func contain(hook func() error, then func(error)) {
	var err error
	returned := false
	defer func() {
		if !returned {
			err = &PanicError{Value: recover(), Stack: debug.Stack()}
		}
		then(err)
	}()
	err = hook()
	returned = true
}
