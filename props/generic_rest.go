package props

import (
	"fmt"
	"time"

	"github.com/poolproof/poolproof/model"
)

// can reports whether o can be done now.
func (r *genRun) can(o genOp) bool {
	if o.global() {
		return r.canGlobally(o)
	}
	if o.client < 1 || o.client > len(r.clients) {
		return false
	}
	c := &r.clients[o.client-1]
	if o.verb == genVCancel {
		return c.call != nil && !c.call.ended && r.cancellable(c.call)
	}
	if c.call != nil {
		return false
	}
	switch o.verb {
	case genVRelease:
		return c.lease != nil
	case genVDiscard:
		return c.lease != nil && genHas[Discarder](c.lease.lease)
	case genVEnd:
		spec := &r.target.Spec
		return c.lease != nil && genHas[Ender](c.lease.lease) && (o.ending < Panic || spec.HookPanics) &&
			(o.ending != Goexit || !spec.NoGoexit)
	case genVAgain:
		return c.lease == nil && c.last != nil && r.target.Spec.DoubleRelease != Undefined && !r.env.isForced()
	}
	return c.lease == nil && r.canAsk(o)
}

// canGlobally reports whether an op without a client can be done now.
func (r *genRun) canGlobally(o genOp) bool {
	fails := !r.target.Spec.HooksSucceed
	panics := r.target.Spec.HookPanics && fails
	switch o.verb {
	case genVOpen:
		gates := r.env.gated()
		return o.gate >= 1 && o.gate <= len(gates) && (o.how != genPanics || panics) &&
			(o.how != genFail || fails && gates[o.gate-1].hook != genDestroy)
	case genVNext:
		return (o.plan.how != genPanics || panics) && (o.plan.how != genFail || fails && o.hook != genDestroy) &&
			(o.plan.how != genGateCtx || fails)
	}
	return o.wait > 0
}

// cancellable reports whether ending the call's context means something.
func (r *genRun) cancellable(c *genCall) bool {
	if c.op.verb == genVChurn {
		return false
	}
	switch c.kind {
	case model.PromiseAcquire:
		return !r.target.Spec.NoContext
	case model.PromiseCreate, model.PromiseShutdown:
		return true
	}
	return false
}

// canAsk reports whether a free client can make the call.
func (r *genRun) canAsk(o genOp) bool {
	closing, closed := r.judge.Closing()
	switch o.verb {
	case genVAcquire:
		context := !o.done && o.wait == 0 || !r.target.Spec.NoContext
		return context && (o.session == "" || genHas[SessionAcquirer](r.pool))
	case genVTry:
		return genHas[TryAcquirer](r.pool)
	case genVChurn:
		return o.max >= 1
	case genVEndSession:
		return genHas[SessionAcquirer](r.pool) && !closed
	case genVResize:
		return genHas[Resizer](r.pool) && !closed && o.max >= 1 && o.max <= r.target.Capacity+2
	case genVReset:
		return genHas[Resetter](r.pool) && !closed
	case genVCreate:
		return genHas[Creator](r.pool) && r.creating() < 2
	case genVClose:
		return !closing && !r.closing() || r.target.Spec.CloseTwice
	case genVShutdown:
		return genHas[Forcer](r.pool) && (!closing && !r.closing() || r.target.Spec.CloseTwice)
	case genVReopen:
		return genHas[Reopener](r.pool) && closed && len(r.flying) == 0 && r.judge.Held() == 0
	}
	return false
}

// creating counts the clients that wait for a resource to be created: two at a time, so that
// there are always clients for other calls.
func (r *genRun) creating() (n int) {
	for _, c := range r.flying {
		if c.kind == model.PromiseCreate {
			n++
		}
	}
	return n
}

// closing reports whether a client is closing the pool, perhaps since the last rest.
func (r *genRun) closing() bool {
	for _, c := range r.flying {
		if c.kind == model.PromiseClose || c.kind == model.PromiseShutdown {
			return true
		}
	}
	return false
}

func genHas[T any](v any) bool {
	_, ok := v.(T)
	return ok
}

func (e *Env) isForced() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.forced
}

// settle waits until nothing moves and judges what has been seen. What the pool owes by
// then is a finding if it still owes it after a silence.
func (r *genRun) settle() *model.PromiseViolation {
	r.clock.rest()
	r.env.rested()
	if v := r.observe(); v != nil {
		return v
	}
	v := r.debts()
	if v == nil || !v.Debt {
		return v
	}
	r.env.silence(true)
	defer r.env.silence(false)
	waited := time.Duration(0)
	for wait := r.clock.first(); waited < r.patience(v.Rule); wait = min(4*wait, r.patience(v.Rule)-waited) {
		waited += wait
		r.ahead.beat()
		r.env.rested()
		r.clock.sleep(wait)
		if seen := r.observe(); seen != nil {
			return seen
		}
		if v = r.debts(); v == nil || !v.Debt {
			return v
		}
	}
	r.say("and then nothing for %v", waited)
	return v
}

// genKnownWait is how long a debt is waited for, in real time, that is known never to be paid.
const genKnownWait = time.Second

// patience is how long a debt may last that breaks a rule. One known to be broken is passed by
// in any case, so in real time little time is spent on it.
func (r *genRun) patience(rule string) time.Duration {
	if r.target.RealTime && r.target.knows(rule) {
		return min(r.target.patience(), genKnownWait)
	}
	return r.target.patience()
}

// observe lets the judge see what has happened, keeps track of the clients, and returns the
// first violation that was seen.
func (r *genRun) observe() *model.PromiseViolation {
	over := r.env.churnsOver() // before their last events
	evs := r.env.drain()
	for i := range evs {
		e := &evs[i]
		if text := genNote(e); text != "" {
			r.say("%s", text)
		}
		r.follow(e)
		if r.broken == nil {
			r.broken = r.judge.Observe(*e)
		}
	}
	for _, id := range over {
		r.clients[id-1].call.cancel()
		r.clients[id-1].call = nil
	}
	return r.broken
}

// follow keeps track of the clients and of the traffic.
func (r *genRun) follow(e *model.PromiseEvent) {
	switch e.Kind {
	case model.PromiseCreateBegan:
		r.traffic.creates++
	case model.PromiseCreateEnded, model.PromiseCheckEnded:
		if e.Failed {
			r.traffic.failures++
		}
	case model.PromiseCallEnded:
		c := r.flying[e.Call]
		if c == nil { // of a churn
			if e.Resource > 0 {
				r.traffic.grants++
			}
			return
		}
		delete(r.flying, e.Call)
		cl := &r.clients[c.op.client-1]
		cl.call = nil
		if c.kind != model.PromiseAcquire && c.kind != model.PromiseTry || c.lease == nil {
			c.cancel()
			return
		}
		cl.lease = c
		if r.traffic.grants == 0 && r.broken == nil {
			r.broken = genStrayLease(c.lease)
		}
		r.traffic.grants++
	}
}

// genNote says what an event adds to the transcript; nothing if the script says it.
func genNote(e *model.PromiseEvent) string {
	switch e.Kind {
	case model.PromiseCallEnded:
		if e.Resource > 0 {
			return fmt.Sprintf("c%d has r%d", e.Client, e.Resource)
		}
		switch {
		case e.Panicked:
			return fmt.Sprintf("c%d panicked", e.Client)
		case e.Op == model.PromiseAcquire || e.Op == model.PromiseTry:
			return fmt.Sprintf("c%d %s", e.Client, e.Outcome)
		case e.Outcome != Granted:
			return fmt.Sprintf("c%d %s: %s", e.Client, e.Op, e.Text)
		}
		return fmt.Sprintf("c%d done", e.Client)
	case model.PromiseCreateBegan:
		return fmt.Sprintf("create r%d", e.Resource)
	case model.PromiseDestroyBegan:
		return fmt.Sprintf("destroy r%d", e.Resource)
	case model.PromiseCheckBegan:
		return fmt.Sprintf("check r%d", e.Resource)
	case model.PromiseCreateEnded, model.PromiseCheckEnded:
		if e.Failed {
			return fmt.Sprintf("r%d fails", e.Resource)
		}
	}
	return ""
}

// debts returns what is wrong while nothing moves.
func (r *genRun) debts() (v *model.PromiseViolation) {
	if v := r.judge.Rest(time.Since(r.env.start)); v != nil {
		return v
	}
	r.traffic.waits += r.judge.Waiting()
	r.traffic.gates += len(r.env.gated())
	if r.judge.Hooks() > 0 || r.pool == nil || len(r.flying) > r.judge.Waiting() {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			v = &model.PromiseViolation{Rule: "panic", Text: fmt.Sprintf("counting panicked: %v", p)}
		}
	}()
	r.clock.solo(func() {
		if c, ok := r.pool.(Counter); ok {
			v = r.judge.Counted(c.Counts())
		}
		if c, ok := r.pool.(Waiting); ok && v == nil {
			v = r.judge.CountedWaiting(c.Waiting())
		}
	})
	if v != nil {
		v.Debt = true
	}
	return v
}

// free returns the first client without call and lease, or 0.
func (r *genRun) free() int {
	for i := range r.clients {
		if r.clients[i].call == nil && r.clients[i].lease == nil {
			return i + 1
		}
	}
	return 0
}

// holders returns the clients that hold a lease.
func (r *genRun) holders() []int {
	var ids []int
	for i := range r.clients {
		if r.clients[i].call == nil && r.clients[i].lease != nil {
			ids = append(ids, i+1)
		}
	}
	return ids
}
