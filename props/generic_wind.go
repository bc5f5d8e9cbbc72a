package props

import (
	"fmt"
	"time"

	"github.com/poolproof/poolproof/model"
)

// wind ends a run: hooks succeed again and gates open, no load is offered any more, every
// waiter must be served, and then exactly the capacity can be taken at once and given
// back, and Close returns, with everything destroyed.
func (r *genRun) wind() *model.PromiseViolation {
	r.tail = true
	r.dropped()
	if v := r.calm(); v != nil {
		return v
	}
	if v := r.reopen(); v != nil {
		return v
	}
	if closing, _ := r.judge.Closing(); !closing {
		if v := r.forgive(); v != nil {
			return v
		}
		if v := r.full(); v != nil {
			return v
		}
		if v := r.step(genOp{verb: genVClose, client: r.free()}); v != nil {
			return v
		}
	}
	if r.target.Spec.CloseTwice && r.free() > 0 {
		if v := r.step(genOp{verb: genVClose, client: r.free()}); v != nil {
			return v
		}
	}
	return r.ended()
}

// calm heals the hooks, opens the gates, and releases every lease until none is left.
func (r *genRun) calm() *model.PromiseViolation {
	r.env.heal()
	for r.judge.Hooks() > 0 { // none is gated any more, and slow ones end
		o := genOp{verb: genVOpen, gate: 1}
		if len(r.env.gated()) == 0 {
			o = genOp{verb: genVWait, wait: genMaxSlow}
		}
		if v := r.step(o); v != nil {
			return v
		}
	}
	for range 4 * len(r.clients) { // each round serves a waiter at least
		ids := r.holders()
		if len(ids) == 0 {
			return r.settle()
		}
		for _, id := range ids {
			if v := r.step(genOp{verb: genVRelease, client: id}); v != nil {
				return v
			}
		}
	}
	return &model.PromiseViolation{Rule: "I5", Text: "leases are still out after every lease has been released many times over"}
}

// reopen opens a closed pool again, where that is possible.
func (r *genRun) reopen() *model.PromiseViolation {
	if _, closed := r.judge.Closing(); !closed || !genHas[Reopener](r.pool) {
		return nil
	}
	return r.step(genOp{verb: genVReopen, client: r.free()})
}

// forgive ends all sessions and lets earlier failures be forgotten.
func (r *genRun) forgive() *model.PromiseViolation {
	for _, s := range genSessions() {
		if r.used[s] {
			if v := r.step(genOp{verb: genVEndSession, client: r.free(), session: s}); v != nil {
				return v
			}
		}
	}
	if r.judge.Failures() == 0 {
		return nil
	}
	return r.pause()
}

// pause lets as much time pass as a failure may be held against the callers.
func (r *genRun) pause() *model.PromiseViolation {
	if r.target.RealTime {
		return r.step(genOp{verb: genVWait, wait: genMaxReal})
	}
	return r.step(genOp{verb: genVWait, wait: r.target.patience() + time.Second})
}

// full takes the whole capacity at once, and tries for one more.
func (r *genRun) full() *model.PromiseViolation {
	least, most := r.judge.Capacity()
	for try := 0; r.judge.Held() < least; try++ {
		if try == 5 {
			return &model.PromiseViolation{
				Rule: "I5", Text: fmt.Sprintf("only %d of %d could be taken at once, with nothing else under way", r.judge.Held(), least),
			}
		}
		if try > 0 {
			if v := r.pause(); v != nil {
				return v
			}
		}
		for r.judge.Held()+r.judge.Waiting() < least {
			before := r.judge.Held()
			if v := r.step(genOp{verb: genVAcquire, client: r.free()}); v != nil {
				return v
			}
			if r.judge.Held() == before {
				break // refused: try again later
			}
		}
	}
	if least == most {
		if v := r.oneMore(); v != nil {
			return v
		}
	}
	return r.calm()
}

// oneMore asks for one more than the capacity, which the judge knows not to be there.
func (r *genRun) oneMore() *model.PromiseViolation {
	id := r.free()
	if v := r.step(genOp{verb: genVAcquire, client: id}); v != nil {
		return v
	}
	return r.step(genOp{verb: genVCancel, client: id})
}

// ended checks that nothing is left.
func (r *genRun) ended() *model.PromiseViolation {
	for i := range r.clients {
		if c := r.clients[i].call; c != nil {
			return &model.PromiseViolation{Rule: "I4", Text: fmt.Sprintf("client %d: %s never returned", i+1, c.kind)}
		}
	}
	return r.gone()
}

// gone checks what stands behind resources that have been destroyed.
func (r *genRun) gone() *model.PromiseViolation {
	r.env.mu.Lock()
	resources := r.env.resources
	r.env.mu.Unlock()
	for _, res := range resources {
		g, ok := res.Value().(interface{ Gone() bool })
		if !ok || !res.isDestroyed() {
			continue
		}
		for left := r.target.patience(); !g.Gone(); left -= 10 * time.Millisecond {
			if left <= 0 {
				return &model.PromiseViolation{Rule: "I13", Text: fmt.Sprintf("what resource %d stood for is not gone", res.id)}
			}
			r.clock.sleep(10 * time.Millisecond)
		}
	}
	return nil
}

func (r *Resource) isDestroyed() bool {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	return r.destroyed
}

// abort lets everything go after a finding, so that goroutines can end: hooks succeed,
// gates open, contexts end, leases come back, the pool is closed.
func (r *genRun) abort() {
	r.env.silence(true)
	for len(r.env.gated()) > 0 {
		r.env.letGo(0, genPrompt)
	}
	leases := make([]Lease, 0, len(r.clients))
	for i := range r.clients {
		if c := r.clients[i].call; c != nil {
			c.cancel()
		}
		if c := r.clients[i].lease; c != nil {
			leases = append(leases, c.lease)
		}
	}
	let := func(f func()) {
		r.clock.start(func() {
			defer func() { _ = recover() }() // the finding has been made
			f()
		})
	}
	for _, l := range leases {
		let(l.Release)
	}
	if closing, _ := r.judge.Closing(); !closing && r.pool != nil {
		let(func() { _ = r.pool.Close() })
	}
	for range 3 {
		r.clock.sleep(100 * time.Millisecond)
		for len(r.env.gated()) > 0 {
			r.env.letGo(0, genPrompt)
		}
		for _, c := range r.flying {
			c.cancel()
		}
	}
	r.releaseLate()
}

// releaseLate gives back leases that were granted while the run was being aborted.
func (r *genRun) releaseLate() {
	for _, e := range r.env.drain() {
		if e.Kind != model.PromiseCallEnded {
			continue
		}
		c := r.flying[e.Call]
		if c == nil || c.lease == nil || c.kind != model.PromiseAcquire && c.kind != model.PromiseTry {
			continue
		}
		r.clock.start(func() {
			defer func() { _ = recover() }()
			c.lease.Release()
		})
	}
	r.clock.sleep(100 * time.Millisecond)
}
