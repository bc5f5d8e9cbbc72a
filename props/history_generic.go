package props

import (
	"cmp"
	"context"
	"strings"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/model"
)

// genHistory takes down the calls of a run. Its methods are called with Env's lock held.
type genHistory struct {
	recorder *linearize.Recorder
	spec     *Spec
	clients  map[int]*linearize.Client
	leases   map[int]linearize.Lease // by the number of the acquire
	most     int                     // the largest capacity so far
	sealed   bool
}

// record has the run's calls taken down from now on.
func (r *genRun) record(seed uint64, ordered bool) {
	spec := &r.target.Spec
	cfg := linearize.ConfigOf(*spec, r.target.Capacity)
	if cfg.SessionTTL > 0 {
		cfg.SessionTTL, cfg.Slack = max(1, cfg.SessionTTL-historyDrift), cfg.Slack+2*historyDrift
	}
	cfg.MaxWaiters = 0 // refusals are not told apart
	r.env.history = &genHistory{
		recorder: linearize.NewRecorder(linearize.RecorderConfig{
			Head: linearize.Head{Pool: r.target.Name, Seed: seed, Config: cfg}, Ordered: ordered,
		}),
		spec: spec, most: cfg.Capacity, clients: map[int]*linearize.Client{}, leases: map[int]linearize.Lease{},
	}
}

// recorded ends the recording.
func (r *genRun) recorded() *linearize.History {
	r.env.mu.Lock()
	defer r.env.mu.Unlock()
	r.env.history.sealed = true
	return r.env.history.recorder.History()
}

// historyViolation judges a history.
func historyViolation(keeper *recorded.Keeper, h *linearize.History) *model.PromiseViolation {
	f := keeper.Judge(h)
	if f == nil {
		return nil
	}
	rule, text, _ := strings.Cut(f.Error(), ": ")
	return &model.PromiseViolation{Rule: rule, Text: text + "\n" + keeper.Keep(f)}
}

// siftViolation judges one of many short histories; without a keeper no file is written.
func siftViolation(keeper *recorded.Keeper, h *linearize.History) *model.PromiseViolation {
	if keeper != nil && keeper.Sift(h) == nil {
		return nil
	}
	if keeper != nil {
		return historyViolation(keeper, h)
	}
	v := linearize.Judge(context.Background(), h, linearize.Budget{})
	if v.Result == linearize.Ok {
		return nil
	}
	return &model.PromiseViolation{Rule: cmp.Or(v.Rule, "unknown"), Text: "the history shows: " + v.Text}
}

// historyKind returns the call as a history knows it, if it does.
func historyKind(op model.PromiseOp) (kind linearize.Kind, known bool) {
	switch op {
	case model.PromiseAcquire:
		return linearize.Acquire, true
	case model.PromiseTry:
		return linearize.Try, true
	case model.PromiseRelease:
		return linearize.Release, true
	case model.PromiseDiscard:
		return linearize.Discard, true
	case model.PromiseEndSession:
		return linearize.EndSession, true
	case model.PromiseResize:
		return linearize.Resize, true
	case model.PromiseClose:
		return linearize.Close, true
	case model.PromiseShutdown:
		return linearize.Shutdown, true
	}
	return 0, false
}

// began takes down that a call begins.
func (h *genHistory) began(ev *model.PromiseEvent) {
	if ev.Op == model.PromiseReopen {
		h.sealed = true // a history ends with the pool
	}
	kind, known := historyKind(ev.Op)
	if h.sealed || !known || ev.Kind != model.PromiseCallBegan {
		return
	}
	c := h.clients[ev.Client]
	if c == nil {
		c = h.recorder.Client()
		h.clients[ev.Client] = c
	}
	// What was created before a shrink may be granted for long after it, if so promised.
	least := 1
	if h.spec.ShrinksLate {
		h.most = max(h.most, ev.Max)
		least = h.most
	}
	c.Call(linearize.Request{
		Kind: kind, Session: ev.Session, Lease: h.leases[ev.Lease], Max: max(least, ev.Max),
		Ended: ev.Done && kind == linearize.Acquire && !h.spec.NoContext && !h.spec.DoneTakes,
	})
}

// returned takes down that it has returned. Of one that failed in a way that leaves open
// what it did, there is no answer.
func (h *genHistory) returned(ev *model.PromiseEvent, call *genCall) {
	kind, known := historyKind(call.kind)
	c := h.clients[ev.Client]
	if h.sealed || !known || c == nil || ev.Panicked {
		return
	}
	a := linearize.Answer{Outcome: linearize.Done}
	if kind == linearize.Acquire || kind == linearize.Try {
		a.Outcome = map[Outcome]linearize.Outcome{
			Granted: linearize.Granted, Cancelled: linearize.Cancelled, Refused: linearize.Refused, Closed: linearize.Closed,
			CreateFailed: linearize.StartFailed, SessionLost: linearize.SessionLost,
		}[ev.Outcome]
		a.Worker = ev.Resource
		if a.Outcome == linearize.Granted && a.Worker == 0 {
			return // of no resource: the other judge objects
		}
	} else if ev.Outcome == Refused && kind == linearize.Resize {
		return
	}
	if lease := c.Return(a); a.Outcome == linearize.Granted {
		h.leases[ev.Call] = lease
	}
}
