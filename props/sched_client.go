package props

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/sched"
)

// client does a client's program.
func (r *schedRun) client(c *schedClient, ops []schedOp) {
	for _, op := range ops {
		if op.verb == schedPause {
			time.Sleep(time.Duration(op.n) * fullTick)
		}
		if op.verb == schedMeet {
			r.meet(c)
			continue
		}
		sched.Point(op.String())
		r.mu.Lock()
		winding := r.winding
		r.mu.Unlock()
		if winding {
			break
		}
		r.perform(c, op)
	}
	r.mu.Lock()
	c.over = true
	r.mu.Unlock()
}

// meet waits for the other clients.
func (r *schedRun) meet(c *schedClient) {
	r.mu.Lock()
	c.met = true
	r.mu.Unlock()
	r.s.Until("meet", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.gone && !slices.ContainsFunc(r.clients, func(c schedClient) bool { return !c.met && !c.over }) {
			r.gone = true
			r.met()
		}
		return r.gone
	})
}

// perform does one operation, if it makes sense now.
func (r *schedRun) perform(c *schedClient, op schedOp) {
	defer func() {
		if p := recover(); p != nil {
			r.book(func(b *fullBooks) { b.complain("I14: %v panicked: %v", op, p) })
			r.returned(c, func(*schedCall) {})
		}
	}()
	switch op.verb {
	case schedAcquire, schedTry:
		if c.lease == nil {
			r.acquire(c, op)
		}
	case schedDo, schedDoError, schedDoPanic, schedDoGoexit:
		if doer, ok := schedCan[schedDoer](r.subject); ok && c.lease == nil {
			r.do(c, op, doer)
		}
	case schedRelease, schedDiscard, schedUnusable:
		if c.lease != nil {
			r.giveBack(c, op)
		}
	case schedAgain:
		if c.past != nil {
			r.again(c)
		}
	case schedEndSession:
		r.called(c, op, model.Op{Kind: model.OpEndSession, Session: op.session})
		r.subject.EndSession(fullSessionName(op.session))
		r.returned(c, func(*schedCall) {})
	case schedRetire:
		r.called(c, op, model.Op{Kind: model.OpRetire, Worker: model.Worker(op.n)})
		r.subject.Retire(pool.WorkerID(op.n), errFullRetire)
		r.returned(c, func(*schedCall) {})
	case schedResize:
		r.resize(c, op)
	case schedStat:
		if _, ok := r.subject.Tally(); ok {
			r.called(c, op, model.Op{})
			tally, _ := r.subject.Tally()
			r.returned(c, func(call *schedCall) { call.tally = tally })
		}
	case schedReady:
		// Where MinSize is 0 it begins starts, which the model does not know of.
		if ready, ok := schedCan[schedReadier](r.subject); ok && c.lease == nil && r.program.cfg.MinSize > 0 {
			r.ready(c, op, ready)
		}
	case schedClose, schedShutdown:
		if c.lease == nil { // else it would wait for itself
			r.close(c, op)
		}
	}
}

// called logs that a call begins, and returns its context.
func (r *schedRun) called(c *schedClient, op schedOp, form model.Op) context.Context {
	ctx := context.Background()
	form.Client = c.number
	var cancel context.CancelCauseFunc
	if op.verb.waits() {
		ctx, cancel = context.WithCancelCause(ctx)
	}
	r.mu.Lock()
	r.log.calls = append(r.log.calls, schedCall{verb: op.verb, op: form, stale: op.ends == schedEndsBefore, aborted: true})
	call := len(r.log.calls)
	c.call, c.cancel, c.ended = call, cancel, false
	r.enterLocked(schedEntry{kind: schedCalled, call: call - 1})
	r.history.called(&r.log.calls[call-1], len(r.books.workers))
	if op.ends == schedEndsBefore {
		c.ended = true
	}
	r.mu.Unlock()
	switch op.ends {
	case schedEndsBefore:
		cancel(errFullCancel)
	case schedEndsSome:
		r.s.Go(fmt.Sprintf("c%d's context", c.number), func() {
			sched.Point("the context ends")
			r.mu.Lock()
			same := c.call == call
			r.mu.Unlock()
			if same {
				r.giveUp(c)
			}
		})
	}
	return ctx
}

// giveUp ends the context of a client's call, if it has one that lasts.
func (r *schedRun) giveUp(c *schedClient) {
	r.mu.Lock()
	if c.call == 0 || c.cancel == nil || c.ended {
		r.mu.Unlock()
		return
	}
	c.ended = true
	cancel := c.cancel
	if r.log.calls[c.call-1].closes() {
		r.books.forced = true
	}
	r.enterLocked(schedEntry{kind: schedGivenUp, call: c.call - 1})
	r.mu.Unlock()
	cancel(errFullCancel)
}

// returned logs that the client's call has returned; fill says how.
func (r *schedRun) returned(c *schedClient, fill func(*schedCall)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.call == 0 {
		return
	}
	call := &r.log.calls[c.call-1]
	fill(call)
	call.aborted = false
	r.history.returned(call)
	r.enterLocked(schedEntry{kind: schedReturned, call: c.call - 1})
	if c.cancel != nil && !c.ended {
		defer c.cancel(nil) // it belongs to nobody any more
	}
	c.call, c.cancel = 0, nil
}

// acquire acquires or tries to.
func (r *schedRun) acquire(c *schedClient, op schedOp) {
	form := model.Op{Kind: model.OpAcquire, Session: op.session}
	if op.verb == schedTry {
		form.Kind = model.OpTry
	}
	ctx := r.called(c, op, form)
	id := fullSessionName(op.session)
	var lease SubjectLease
	var err error
	switch {
	case op.verb == schedTry && op.session == 0:
		lease, err = r.subject.TryAcquire()
	case op.verb == schedTry:
		lease, err = r.subject.TryAcquireSession(id)
	case op.session == 0:
		lease, err = r.subject.Acquire(ctx)
	default:
		lease, err = r.subject.AcquireSession(ctx, id)
	}
	if err != nil {
		r.refused(c, op, err)
		return
	}
	held := lease.Worker()
	r.returned(c, func(call *schedCall) {
		c.lease, c.held, c.worker = lease, held, lease.WorkerID()
		r.granted(c, call)
		call.token, call.fresh = uint64(lease.Token()), lease.Fresh()
		r.books.tokens = append(r.books.tokens, lease.Token())
	})
}

// granted enters a grant in the call and the books. The caller holds the lock.
func (r *schedRun) granted(c *schedClient, call *schedCall) {
	call.granted, call.worker = true, model.Worker(c.worker)
	if !r.books.forced { // else it may have been revoked on the way
		r.books.granted(c.worker, c.number)
	}
	if c.held == nil || c.held.ID != c.worker {
		r.books.complain("I1: the lease of worker %d holds another worker", c.worker)
		c.held = &FullWorker{}
	}
}

// refused logs that an acquire failed.
func (r *schedRun) refused(c *schedClient, op schedOp, err error) {
	r.returned(c, func(call *schedCall) {
		if call.reason = fullReason(err); call.reason == model.ReasonNone {
			r.books.complain("I4: %v fails with an error that is none of the promised ones: %v", op, err)
		}
	})
}

// letGo takes a client's lease from it and enters the end of it in the books, before the
// call that ends it.
func (r *schedRun) letGo(c *schedClient, answer fullUsable) SubjectLease {
	r.mu.Lock()
	defer r.mu.Unlock()
	lease := c.lease
	c.held.usable = answer
	c.lease, c.held, c.past = nil, nil, lease
	r.books.released(c.worker, c.number)
	return lease
}

// giveBack ends the client's lease.
func (r *schedRun) giveBack(c *schedClient, op schedOp) {
	switch op.verb {
	case schedDiscard:
		r.called(c, op, model.Op{Kind: model.OpDiscard})
		r.letGo(c, fullUsableYes).Discard(errFullBad)
	case schedUnusable:
		r.called(c, op, model.Op{Kind: model.OpReleaseUnusable})
		r.letGo(c, fullUsableNo).Release()
	default:
		r.called(c, op, model.Op{Kind: model.OpRelease})
		r.letGo(c, fullUsableYes).Release()
	}
	r.returned(c, func(*schedCall) {})
}

// again releases the last lease a second time, which must panic.
func (r *schedRun) again(c *schedClient) {
	r.called(c, schedOp{verb: schedAgain}, model.Op{})
	panicked := false
	func() {
		defer func() { panicked = recover() != nil }()
		c.past.Release()
	}()
	r.returned(c, func(*schedCall) {
		if !panicked {
			r.books.complain("I14: a second release of client %d does not panic", c.number)
		}
	})
}

// do calls Do. For the judge it is an acquire, which returns when the function is called,
// and a release.
func (r *schedRun) do(c *schedClient, op schedOp, doer schedDoer) {
	ctx := r.called(c, op, model.Op{Kind: model.OpAcquire, Session: op.session})
	entered := false
	outcome := func() (err error) {
		defer func() {
			if p := recover(); p != nil && p != any(errFullHook) {
				panic(p)
			}
		}()
		return doer.Do(ctx, fullSessionName(op.session), func(_ context.Context, w *FullWorker) error {
			entered = true
			return r.inDo(c, op, w)
		})
	}
	if op.verb == schedDoGoexit {
		ended := make(chan struct{})
		var err error
		r.s.Go(fmt.Sprintf("c%d's do", c.number), func() {
			defer close(ended)
			err = outcome()
		})
		<-ended
		sched.Point("do returns")
		outcome = func() error { return err }
	}
	err := outcome()
	switch {
	case entered:
		r.returned(c, func(*schedCall) {})
	case err == nil:
		r.book(func(b *fullBooks) { b.complain("I4: %v returns nil without having called the function", op) })
	default:
		r.refused(c, op, err)
	}
}

// inDo is the function that Do calls.
func (r *schedRun) inDo(c *schedClient, op schedOp, w *FullWorker) error {
	r.returned(c, func(call *schedCall) {
		c.held, c.worker = w, w.ID
		call.blind = true
		r.granted(c, call)
	})
	sched.Point("in do")
	form := model.Op{Kind: model.OpRelease}
	if op.verb == schedDoPanic || op.verb == schedDoGoexit {
		form.Kind = model.OpDiscard
	}
	r.called(c, schedOp{verb: schedRelease}, form)
	r.mu.Lock()
	w.usable = fullUsableYes
	c.held = nil
	r.books.released(c.worker, c.number)
	r.mu.Unlock()
	switch op.verb {
	case schedDoError:
		return errFullHook
	case schedDoPanic:
		panic(errFullHook)
	case schedDoGoexit:
		runtime.Goexit()
	}
	return nil
}

// resize resizes.
func (r *schedRun) resize(c *schedClient, op schedOp) {
	r.book(func(b *fullBooks) { b.most = max(b.most, int(op.n)) })
	r.called(c, op, model.Op{Kind: model.OpResize, Min: op.least, Max: op.n})
	err := r.subject.Resize(int(op.least), int(op.n))
	r.returned(c, func(call *schedCall) {
		call.closed = errors.Is(err, pool.ErrClosed)
		if err != nil && !call.closed {
			r.books.complain("I16: %v fails: %v", op, err)
		}
	})
}

// ready waits until the pool is ready.
func (r *schedRun) ready(c *schedClient, op schedOp, ready schedReadier) {
	err := ready.Ready(r.called(c, op, model.Op{}))
	r.returned(c, func(call *schedCall) {
		switch {
		case err == nil:
		case errors.Is(err, pool.ErrClosed):
			call.closed = true
		case errors.Is(err, errFullCancel):
			call.reason = model.ReasonCancelled
		default:
			r.books.complain("I4: ready fails with an error that is none of the promised ones: %v", err)
		}
	})
}

// close calls Close, or Shutdown with a context.
func (r *schedRun) close(c *schedClient, op schedOp) {
	if op.ends == schedEndsBefore {
		r.book(func(b *fullBooks) { b.forced = true })
	}
	ctx := r.called(c, op, model.Op{Kind: model.OpClose})
	var err error
	if op.verb == schedClose {
		err = r.subject.Close()
	} else {
		err = r.subject.Shutdown(ctx)
	}
	r.returned(c, func(call *schedCall) {
		var forced *pool.ShutdownError
		call.forced = errors.As(err, &forced)
		if err != nil && !call.forced {
			r.books.complain("I13: closing fails with an error that is no *ShutdownError: %v", err)
		}
	})
}
