package props

import (
	"context"

	"github.com/poolproof/poolproof/model"
)

// A churn is a client that takes and gives back as fast as it can, so many times, unseen by
// the root: what goes wrong between two steps of a pool needs callers that meet there. To
// the judge its calls are like any other.

// newCall numbers a call.
func (r *genRun) newCall() int { return int(r.calls.Add(1)) }

// churn begins the churn that o asks for.
func (r *genRun) churn(o genOp) {
	c := &genCall{op: o, kind: model.PromiseAcquire}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	r.clients[o.client-1].call = c
	r.traffic.calls += 2 * o.max
	r.clock.start(func() {
		defer r.env.churned(o.client)
		for range o.max {
			if !r.turn(c) {
				return
			}
		}
	})
}

// turn takes something once and gives it back; false if there is nothing to be had any more.
func (r *genRun) turn(c *genCall) bool {
	taken := &genCall{
		op: genOp{verb: genVAcquire, client: c.op.client}, number: r.newCall(), kind: model.PromiseAcquire, ctx: c.ctx,
	}
	ev := model.PromiseEvent{Kind: model.PromiseCallBegan, Op: taken.kind, Call: taken.number, Client: c.op.client}
	r.env.began(ev)
	answer := r.perform(taken)
	r.env.returned(answer, taken)
	if taken.lease == nil {
		return answer.Outcome == Refused || answer.Outcome == CreateFailed
	}
	back := &genCall{
		op: genOp{verb: genVRelease, client: c.op.client}, number: r.newCall(), kind: model.PromiseRelease,
		ctx: c.ctx, lease: taken.lease, lent: taken.lent,
	}
	ev.Op, ev.Call, ev.Lease, ev.Resource = back.kind, back.number, taken.number, taken.lent
	r.env.began(ev)
	r.env.returned(r.perform(back), back)
	return true
}

// churned notes that a client's churn is over.
func (e *Env) churned(client int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.churns = append(e.churns, client)
}

// churnsOver returns the clients whose churns have ended since the last call.
func (e *Env) churnsOver() []int {
	e.mu.Lock()
	defer e.mu.Unlock()
	over := e.churns
	e.churns = nil
	return over
}
