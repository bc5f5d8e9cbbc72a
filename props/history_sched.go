package props

import (
	"context"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
)

// schedHistory takes down the calls of a run under the scheduler, one client each. Its
// methods are called with the factory's lock held.
type schedHistory struct {
	recorder *linearize.Recorder
	clients  []*linearize.Client
	taken    []linearize.Lease // by client
	known    []bool            // by client: the call under way is one that a history knows
	blind    bool              // some grant was not told whether it is fresh
}

// begin begins the history of a run.
func (h *schedHistory) begin(r *schedRun) {
	h.recorder.Reset(linearize.RecorderConfig{
		Head: linearize.Head{Pool: r.target.Name, Config: historyOf(r.program.cfg, fullTick)}, Ordered: true,
	})
	h.clients, h.taken, h.known, h.blind = h.clients[:0], h.taken[:0], h.known[:0], false
	for range r.clients {
		h.clients, h.taken, h.known = append(h.clients, h.recorder.Client()), append(h.taken, 0), append(h.known, false)
	}
}

// called takes down that a call begins. Retiring a worker that the pool has not begun to
// start does nothing, and is no call that a history knows.
func (h *schedHistory) called(call *schedCall, workers int) {
	i := int(call.client()) - 1
	op := &call.op
	q := linearize.Request{Session: string(fullSessionName(op.Session)), Lease: h.taken[i], Ended: call.stale}
	h.known[i] = true
	switch op.Kind {
	case model.OpAcquire:
		q.Kind = linearize.Acquire
	case model.OpTry:
		q.Kind = linearize.Try
	case model.OpRelease:
		q.Kind = linearize.Release
	case model.OpDiscard, model.OpReleaseUnusable:
		q.Kind = linearize.Discard
	case model.OpEndSession:
		q.Kind = linearize.EndSession
	case model.OpRetire:
		q.Kind, q.Worker = linearize.Retire, uint64(op.Worker)
		h.known[i] = int(op.Worker) <= workers
	case model.OpResize:
		q.Kind, q.Max = linearize.Resize, int(op.Max)
	case model.OpClose:
		q.Kind = linearize.Close
		if call.verb == schedShutdown {
			q.Kind = linearize.Shutdown
		}
	default:
		h.known[i] = false
	}
	if h.known[i] {
		h.clients[i].Call(q)
	}
}

// returned takes down that it has returned.
func (h *schedHistory) returned(call *schedCall) {
	i := int(call.client()) - 1
	if !h.known[i] {
		return
	}
	a := linearize.Answer{Outcome: linearize.Done}
	switch {
	case call.granted:
		a = linearize.Answer{Outcome: linearize.Granted, Worker: uint64(call.worker), Token: call.token, Fresh: call.fresh}
		h.blind = h.blind || call.blind
	case call.acquires():
		a.Outcome = schedOutcome(call.reason)
	case call.closed:
		a.Outcome = linearize.Failed
	}
	if lease := h.clients[i].Return(a); call.granted {
		h.taken[i] = lease
	}
}

// schedOutcome is the outcome of a refusal.
func schedOutcome(reason model.Reason) linearize.Outcome {
	switch reason {
	case model.ReasonCancelled:
		return linearize.Cancelled
	case model.ReasonClosed:
		return linearize.Closed
	case model.ReasonLost:
		return linearize.SessionLost
	case model.ReasonLimit:
		return linearize.SessionLimit
	case model.ReasonStartFailed:
		return linearize.StartFailed
	case model.ReasonSaturated:
		return linearize.Saturated
	case model.ReasonNotAvailable:
		return linearize.Refused
	case model.ReasonTimeout:
		return linearize.TimedOut
	}
	return linearize.Failed
}

// verify judges the history of a run that is over; a nil keeper writes no file.
func (h *schedHistory) verify(keeper *recorded.Keeper) error {
	history := h.recorder.History()
	if h.blind {
		history.Head.Config.Fresh = false
	}
	if keeper != nil {
		if f := keeper.Sift(history); f != nil {
			return f
		}
		return nil
	}
	if v := linearize.Judge(context.Background(), history, linearize.Budget{}); v.Result != linearize.Ok {
		return &recorded.Failure{History: history, Verdict: v}
	}
	return nil
}

// observe is the Observer of a run that has one.
func (h *schedHistory) observe(e pool.Event) { h.recorder.Observe(e) }
