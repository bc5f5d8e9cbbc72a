package props

import (
	"context"
	"errors"
	"fmt"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
)

// Operations beside those of the model. They change nothing, so the model need not know them.
const (
	fullOpStale = model.OpGiveBack + 1 + iota // Client acquires, for Session or anonymously, with a context that is done
	fullOpAgain                               // Client releases its last lease a second time
	fullOps                                   // how many kinds there are
)

// fullClient is one caller, who does one call at a time. Its fields belong to the machine's
// goroutine, except those guarded by the factory's lock.
type fullClient struct {
	number model.Client
	hands  chan fullCall // to the goroutine that does its call
	lease  SubjectLease  // until the call that ends it; written while the goroutine is idle
	held   *FullWorker   // the lease's worker
	past   SubjectLease  // the last one that ended
	worker pool.WorkerID
	ctx    context.Context
	cancel context.CancelCauseFunc

	busy    bool // guarded by fullFactory.mu: the call has not returned
	parked  bool // the call is an acquire, which may wait
	revoked bool // the revocation of the lease has been reported
}

// fullCall is one call of a client, or (client 0) of the operator.
type fullCall struct {
	by    *fullClient
	op    model.Op
	ctx   context.Context
	lease SubjectLease // to end
}

// fullCrew are the callers of a run: clients, an operator who ends sessions, retires
// workers and resizes, and those who wait in Close and Shutdown.
type fullCrew struct {
	factory *fullFactory
	subject Subject
	clients []fullClient // index 0 is the operator

	idle   []chan fullCall           // to goroutines that have nothing to do
	forces []context.CancelCauseFunc // Shutdowns whose context lasts

	// guarded by factory.mu
	begun    bool // a Close or Shutdown has been called
	over     bool // one has returned
	closing  int  // Close and Shutdown calls that have not returned
	returned int  // those that have returned since the last collection
	forced   int  // of these, those that returned a *ShutdownError
}

// call hands op to its caller, which the machine knows to be idle. The lease is what op ends.
func (w *fullCrew) call(op model.Op, lease SubjectLease) {
	c := &w.clients[op.Client]
	if n := len(w.idle); n > 0 {
		c.hands, w.idle = w.idle[n-1], w.idle[:n-1]
	} else {
		c.hands = make(chan fullCall, 1)
		go w.work(c.hands)
	}
	c.parked = op.Kind == model.OpAcquire
	if c.parked && c.ctx == nil {
		c.ctx, c.cancel = context.WithCancelCause(context.Background())
	}
	w.factory.mu.Lock()
	c.busy = true
	w.factory.mu.Unlock()
	c.hands <- fullCall{by: c, op: op, ctx: c.ctx, lease: lease}
}

// work is the goroutine that does calls, of whatever client.
func (w *fullCrew) work(calls <-chan fullCall) {
	for call := range calls {
		w.do(call.by, call)
	}
}

// dismiss ends the goroutines that have nothing to do, and those that have once their call
// returns.
func (w *fullCrew) dismiss() {
	for i := range w.clients {
		if c := &w.clients[i]; c.hands != nil {
			w.idle = append(w.idle, c.hands)
			c.hands = nil
		}
	}
	for _, calls := range w.idle {
		close(calls)
	}
	w.idle = nil
}

// do makes one call and reports how it ended. A panic in it is a finding, not a crash.
func (w *fullCrew) do(c *fullClient, call fullCall) {
	f := w.factory
	defer func() {
		p := recover()
		f.mu.Lock()
		defer f.mu.Unlock()
		c.busy = false
		switch {
		case call.op.Kind == fullOpAgain && p == nil:
			f.books.complain("I14: a second release of client %d does not panic", c.number)
		case call.op.Kind != fullOpAgain && p != nil:
			f.books.complain("I14: %v panicked: %v", fullOpText(call.op), p)
		}
	}()
	op := call.op
	switch op.Kind {
	case model.OpAcquire, fullOpStale:
		w.settle(c, op, func() (SubjectLease, error) {
			if op.Session == 0 {
				return w.subject.Acquire(call.ctx)
			}
			return w.subject.AcquireSession(call.ctx, fullSessionName(op.Session))
		})
	case model.OpTry:
		w.settle(c, op, func() (SubjectLease, error) {
			if op.Session == 0 {
				return w.subject.TryAcquire()
			}
			return w.subject.TryAcquireSession(fullSessionName(op.Session))
		})
	case model.OpRelease, model.OpReleaseUnusable, fullOpAgain:
		call.lease.Release()
	case model.OpDiscard:
		call.lease.Discard(errFullBad)
	case model.OpEndSession:
		w.subject.EndSession(fullSessionName(op.Session))
	case model.OpRetire:
		if !f.kill(pool.WorkerID(op.Worker)) {
			w.subject.Retire(pool.WorkerID(op.Worker), errFullRetire)
		}
	case model.OpResize:
		if err := w.subject.Resize(int(op.Min), int(op.Max)); err != nil && !errors.Is(err, pool.ErrClosed) {
			panic(err)
		}
	}
}

// settle reports the outcome of an acquire.
func (w *fullCrew) settle(c *fullClient, op model.Op, acquire func() (SubjectLease, error)) {
	lease, err := acquire()
	f := w.factory
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		reason := fullReason(err)
		if reason == model.ReasonNone {
			f.books.complain("I4: %v fails with an error that is none of the promised ones: %v", fullOpText(op), err)
		}
		f.events = append(f.events, model.Event{Kind: model.EvRefused, Client: c.number, Reason: reason})
		return
	}
	c.lease, c.worker, c.revoked = lease, lease.WorkerID(), false
	if !lease.Revoked() {
		f.books.granted(c.worker, c.number)
	}
	f.books.tokens = append(f.books.tokens, lease.Token())
	c.held = lease.Worker()
	if c.held == nil || c.held.ID != c.worker {
		f.books.complain("I1: the lease of worker %d holds another worker", c.worker)
		c.held = &FullWorker{}
	}
	f.events = append(f.events, model.Event{
		Kind: model.EvGranted, Client: c.number, Worker: model.Worker(c.worker), Fresh: lease.Fresh(),
	})
}

// fullReason classifies the error of an acquire; ReasonNone if it is none of them.
func fullReason(err error) model.Reason {
	var start *pool.StartError
	switch {
	case errors.Is(err, errFullCancel):
		return model.ReasonCancelled
	case errors.Is(err, pool.ErrClosed):
		return model.ReasonClosed
	case errors.Is(err, pool.ErrSessionLost):
		return model.ReasonLost
	case errors.Is(err, pool.ErrSessionLimit):
		return model.ReasonLimit
	case errors.As(err, &start):
		return model.ReasonStartFailed
	case errors.Is(err, pool.ErrSaturated):
		return model.ReasonSaturated
	case errors.Is(err, pool.ErrNotAvailable):
		return model.ReasonNotAvailable
	case errors.Is(err, pool.ErrAcquireTimeout):
		return model.ReasonTimeout
	}
	return model.ReasonNone
}

// giveUp ends the context of a client's acquire.
func (c *fullClient) giveUp() {
	if c.cancel != nil {
		c.cancel(errFullCancel)
		c.ctx, c.cancel = nil, nil
	}
}

// letGo takes a client's lease from it and enters the end of it in the books, before the
// call that ends it.
func (w *fullCrew) letGo(c *fullClient, answer fullUsable) (lease SubjectLease) {
	lease = c.lease
	c.held.usable = answer
	c.lease, c.held, c.past = nil, nil, lease
	w.factory.mu.Lock()
	w.factory.books.released(c.worker, c.number)
	w.factory.mu.Unlock()
	return lease
}

// close begins a Shutdown with the context given, or a Close if that never ends.
func (w *fullCrew) close(ctx context.Context) {
	w.factory.mu.Lock()
	w.begun = true
	w.closing++
	w.factory.mu.Unlock()
	go func() {
		if ctx == context.Background() {
			w.closed(ctx, w.subject.Close())
			return
		}
		w.closed(ctx, w.subject.Shutdown(ctx))
	}()
}

// closed reports the return of a Close or Shutdown.
func (w *fullCrew) closed(ctx context.Context, err error) {
	f := w.factory
	f.mu.Lock()
	defer f.mu.Unlock()
	w.over = true
	w.closing--
	w.returned++
	if err == nil {
		return
	}
	w.forced++
	var forced *pool.ShutdownError
	if !errors.As(err, &forced) {
		f.books.complain("I13: closing fails with an error that is no *ShutdownError: %v", err)
	}
	if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		f.books.complain("I13: a Shutdown whose context ended does not return its cause: %v", err)
	}
}

// force begins a Shutdown whose context has ended or, if early and one has begun, ends its context.
func (w *fullCrew) force(early bool) {
	w.factory.book(func(b *fullBooks) { b.forced = true })
	w.factory.mu.Lock()
	early = early && !w.over
	w.factory.mu.Unlock()
	if n := len(w.forces); early && n > 0 {
		w.forces[n-1](errFullForce)
		w.forces = w.forces[:n-1]
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errFullForce)
	w.close(ctx)
}

// shutdown begins a Shutdown whose context lasts until it is forced.
func (w *fullCrew) shutdown() {
	ctx, cancel := context.WithCancelCause(context.Background())
	w.forces = append(w.forces, cancel)
	w.close(ctx)
}

// apply does one operation. It returns at once: what the operation causes is seen at rest.
func (w *fullCrew) apply(op model.Op, variant uint8) error {
	switch op.Kind {
	case model.OpAcquire, model.OpTry, model.OpEndSession, model.OpRetire:
		w.call(op, nil)
	case fullOpStale:
		w.clients[op.Client].giveUp()
		w.clients[op.Client].ctx = fullDone()
		w.call(op, nil)
		w.clients[op.Client].ctx = nil
	case fullOpAgain:
		w.call(op, w.clients[op.Client].past)
	case model.OpCancel:
		w.clients[op.Client].giveUp()
	case model.OpRelease:
		w.call(op, w.letGo(&w.clients[op.Client], fullUsableYes))
	case model.OpReleaseUnusable:
		w.call(op, w.letGo(&w.clients[op.Client], fullUsableNo+fullUsable(variant&1)))
	case model.OpDiscard:
		w.call(op, w.letGo(&w.clients[op.Client], fullUsableYes))
	case model.OpResize:
		w.factory.book(func(b *fullBooks) { b.most = max(b.most, int(op.Max)) })
		w.call(op, nil)
	case model.OpClose:
		if variant&1 == 0 {
			w.close(context.Background())
		} else {
			w.shutdown()
		}
	case model.OpForce:
		w.force(variant&1 == 0)
	default:
		return w.answer(op, variant)
	}
	return nil
}

// fullDone returns a context that a caller has given up.
func fullDone() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errFullCancel)
	return ctx
}

// answer tells a running hook how to end.
func (w *fullCrew) answer(op model.Op, variant uint8) error {
	how := fullGood
	var kind model.EventKind
	switch op.Kind {
	case model.OpStarted, model.OpStartFailed:
		kind = model.EvStartBegun
	case model.OpStopped:
		kind = model.EvStopBegun
		how = fullHow(variant) % 4
	case model.OpChecked, model.OpCheckFailed:
		kind = model.EvCheckBegun
	case model.OpTold, model.OpTellFailed:
		kind = model.EvTellBegun
	default:
		return fmt.Errorf("props: cannot do %v", op)
	}
	switch op.Kind {
	case model.OpStartFailed, model.OpCheckFailed, model.OpTellFailed:
		how = fullError + fullHow(variant)%3
	}
	g := w.factory.gate(op.Worker, kind)
	if g == nil {
		return fmt.Errorf("props: cannot do %v: no such hook is running", op)
	}
	g.answer <- how
	return nil
}
