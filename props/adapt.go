package props

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/poolproof/poolproof/model"
)

// FromCalls adapts a pool that runs code on a resource: call blocks until body has
// returned; nil means that it ran. stop closes the pool. A lease lasts from the moment at
// which body is called until it is told to return; Release returns once call has. The
// leases are [Ender]s: body returns, panics or calls runtime.Goexit. An error that call
// returns after body ran is dropped.
func FromCalls(call func(ctx context.Context, body func(*Resource)) error, stop func()) Pool {
	return &genCalls{call: call, stop: stop}
}

// FromTasks adapts a task pool; the running task is the lease. submit may block until the
// task ends; nil promises that it ran or will run; a dropped task must return an error.
// stop closes the pool. Each task that runs counts as a resource of env for as long as it
// does, so that MaxAlive bounds how many run at once. Most task pools know no contexts, so
// one that has ended is not passed on, and a task whose caller has left while it was queued
// runs and returns at once; set Spec.NoContext to leave contexts out altogether. The leases
// are [Ender]s.
func FromTasks(env *Env, submit func(ctx context.Context, task func()) error, stop func()) Pool {
	env.mu.Lock()
	env.hookless = true
	env.mu.Unlock()
	return &genCalls{stop: stop, queued: true, call: func(ctx context.Context, body func(*Resource)) error {
		return submit(ctx, func() {
			r := env.begin()
			defer env.end(r)
			body(r)
		})
	}}
}

// begin and end are a Create and a Destroy without a plan.
func (e *Env) begin() *Resource {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := &Resource{env: e, id: uint64(len(e.resources)) + 1}
	e.tasks++
	e.resources = append(e.resources, r)
	e.logLocked(model.PromiseEvent{Kind: model.PromiseCreateBegan, Resource: r.id})
	e.logLocked(model.PromiseEvent{Kind: model.PromiseCreateEnded, Resource: r.id})
	return r
}

func (e *Env) end(r *Resource) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r.destroyed = true
	e.logLocked(model.PromiseEvent{Kind: model.PromiseDestroyBegan, Resource: r.id})
	e.logLocked(model.PromiseEvent{Kind: model.PromiseDestroyEnded, Resource: r.id})
}

// genCalls is the pool of FromCalls and FromTasks.
type genCalls struct {
	call   func(ctx context.Context, body func(*Resource)) error
	stop   func()
	queued bool // call may return nil before body has run
}

// errGenNotRun says that a call returned nil without having run its body.
var errGenNotRun = errors.New("returned nil, but did not run what it was given")

// genCallLease is the lease of one call.
type genCallLease struct {
	mu        sync.Mutex
	resource  *Resource // guarded by mu
	began     bool      // guarded by mu
	abandoned bool      // guarded by mu; nobody waits for it any more

	running chan struct{} // closed when the body begins
	end     chan Ending   // has room for one
	ended   chan struct{} // closed when the body has been left
	left    chan error    // gets what the call returned; has room for one
}

// Acquire runs a call in the background and returns once its body has begun.
func (p *genCalls) Acquire(ctx context.Context) (Lease, error) {
	if p.queued && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	l := &genCallLease{
		running: make(chan struct{}), end: make(chan Ending, 1), ended: make(chan struct{}), left: make(chan error, 1),
	}
	go l.run(ctx, p.call)
	left := l.left
	var done <-chan struct{}
	for {
		select {
		case <-l.running:
			return l, nil
		case err := <-left:
			l.left <- err // for Release
			switch {
			case l.isRunning():
				return l, nil
			case err != nil && l.abandon():
				return nil, err
			case err == nil && !p.queued:
				return nil, errGenNotRun
			}
			left, done = nil, ctx.Done() // accepted: wait for it to run
		case <-done:
			if l.abandon() {
				return nil, context.Cause(ctx)
			}
			done = nil
		}
	}
}

// run makes the call and carries a panic or Goexit of it home.
func (l *genCallLease) run(ctx context.Context, call func(context.Context, func(*Resource)) error) {
	err := errors.New("the call ended with Goexit")
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the call panicked: %v", p)
			if cause, ok := p.(error); ok {
				err = fmt.Errorf("the call panicked: %w", cause)
			}
		}
		l.left <- err
	}()
	err = call(ctx, l.body)
}

// body is the task: it holds the resource until it is told how to end.
func (l *genCallLease) body(r *Resource) {
	l.mu.Lock()
	if l.abandoned {
		l.mu.Unlock()
		return
	}
	l.resource, l.began = r, true
	l.mu.Unlock()
	close(l.running)
	defer close(l.ended)
	switch <-l.end {
	case Panic:
		panic(fmt.Errorf("the task panics: %w", ErrInjected))
	case Goexit:
		runtime.Goexit()
	}
}

// isRunning reports whether the body has begun.
func (l *genCallLease) isRunning() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.began
}

// abandon makes a body that has not begun return at once; false if it has begun.
func (l *genCallLease) abandon() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.began {
		l.abandoned = true
	}
	return l.abandoned
}

// Close stops the pool.
func (p *genCalls) Close() error {
	p.stop()
	return nil
}

// Resource returns what the body was given.
func (l *genCallLease) Resource() *Resource {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.resource
}

// Release lets the body return and waits until the call has.
func (l *genCallLease) Release() { l.End(Normal) }

// End makes the body end like that and waits until the call has returned.
func (l *genCallLease) End(how Ending) {
	l.end <- how
	<-l.ended
	l.left <- <-l.left
}
