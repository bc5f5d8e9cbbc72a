package linearize

import (
	"context"
	"slices"
	"time"
)

// Bounds on the smaller histories that Minimise judges: their number, and the steps of the
// search in each.
const (
	maxTrials     = 2000
	stepsPerTrial = 20_000
)

// Minimise leaves out of an illegal history what the failure v does not need, and returns
// what remains, whose ops keep their IDs, with its own verdict: the same rule is broken. It
// leaves out only what cannot excuse the failure: where something is missing, such as the
// end of a session or a lease that took the last worker, nothing that could be it is left
// out. The Config of the result promises no more than the failure is about. Minimise ends
// with ctx, with what it has by then; h is not changed.
func Minimise(ctx context.Context, h *History, v Verdict, budget Budget) (*History, Verdict) {
	if v.Result != Illegal {
		return h, v
	}
	m := &minimiser{ctx: ctx, h: h, v: v, budget: budget.withDefaults()}
	m.budget.Steps = min(m.budget.Steps, stepsPerTrial)
	m.link()
	kept := m.core()
	found, ok := m.try(kept)
	for margin := time.Duration(1); !ok; margin *= 4 {
		whole := margin > h.Span()
		if whole {
			kept = m.all()
		} else {
			m.widen(kept, margin)
		}
		if found, ok = m.try(kept); whole {
			break
		}
	}
	if !ok {
		return h, v
	}
	return m.shrink(kept, found)
}

type minimiser struct {
	ctx    context.Context
	h      *History
	v      Verdict
	budget Budget
	frees  map[int32][]int32 // of each acquire, the ops that end its lease
	needed map[int32]bool    // never left out
	trials int
}

// link finds out what ends each lease.
func (m *minimiser) link() {
	m.frees, m.needed = map[int32][]int32{}, map[int32]bool{}
	for i := range m.h.Ops {
		if o := &m.h.Ops[i]; o.Frees() {
			lease := opOf(m.h.Ops, o.Lease)
			m.frees[lease] = append(m.frees[lease], int32(i))
		}
	}
}

// add takes an op in, and with it the rest of its lease.
func (m *minimiser) add(to map[int32]bool, i int32) {
	if o := &m.h.Ops[i]; o.Frees() {
		i = opOf(m.h.Ops, o.Lease)
	}
	to[i] = true
	for _, free := range m.frees[i] {
		to[free] = true
	}
}

// core returns the ops that the verdict names, and what might excuse them.
func (m *minimiser) core() map[int32]bool {
	kept := map[int32]bool{}
	from, to := forever, time.Duration(0)
	workers, sessions := map[uint64]bool{}, map[string]bool{}
	for _, id := range m.v.Ops {
		i := opOf(m.h.Ops, id)
		o := &m.h.Ops[i]
		m.add(kept, i)
		from, to = min(from, o.Call), max(to, o.Return)
		workers[o.Worker], sessions[o.Session] = true, true
	}
	delete(sessions, "")
	delete(workers, 0)
	counts := m.v.why == whyFree || m.v.why == whyBoundFree || m.v.why == whyCrowd
	lacks := m.v.why == whyNotFresh || m.v.why == whyNotLost || m.v.why == whyNotClosed
	for i := range m.h.Ops {
		o := &m.h.Ops[i]
		if o.Call > to {
			break
		}
		excuse := o.Closes()
		until := m.until(int32(i))
		switch {
		case lacks && sessions[o.Session]:
			excuse = true
		case o.Kind == Retire, o.Kind == Discard:
			excuse = workers[o.Worker]
		case until < from:
		case o.Kind == EndSession, o.Outcome == NoAnswer && sessions[o.Session]:
			excuse = sessions[o.Session]
		case o.Kind == Resize:
			excuse = true
		case counts:
			excuse = o.Acquires()
		case o.Outcome == Cancelled:
			excuse = sessions[o.Session]
		}
		if excuse {
			m.add(kept, int32(i))
		}
	}
	for i := range kept {
		m.needed[i] = true
	}
	for i := range m.h.Ops { // what had the workers before says when they came free
		if o := &m.h.Ops[i]; o.Outcome == Granted && workers[o.Worker] && o.Call <= to && m.until(int32(i)) >= from {
			m.add(kept, int32(i))
		}
	}
	return kept
}

// until returns when an op has no effect any more: for an acquire the end of its lease.
func (m *minimiser) until(i int32) time.Duration {
	o := &m.h.Ops[i]
	switch {
	case o.Outcome == NoAnswer:
		return forever
	case o.Outcome != Granted:
		return o.Return
	}
	until := forever
	for _, free := range m.frees[i] {
		if end := &m.h.Ops[free]; end.Outcome != NoAnswer {
			until = end.Return
		}
	}
	return until
}

// widen takes in all ops whose effect comes within the margin of those kept.
func (m *minimiser) widen(kept map[int32]bool, margin time.Duration) {
	from, to := forever, time.Duration(0)
	for i := range kept {
		o := &m.h.Ops[i]
		from, to = min(from, o.Call), max(to, o.Call, o.Return)
	}
	from, to = from-margin, to+margin
	for i := range m.h.Ops {
		if o := &m.h.Ops[i]; o.Call <= to && m.until(int32(i)) >= from {
			m.add(kept, int32(i))
		}
	}
}

func (m *minimiser) all() map[int32]bool {
	kept := make(map[int32]bool, len(m.h.Ops))
	for i := range m.h.Ops {
		kept[int32(i)] = true
	}
	return kept
}

// try judges the ops kept, first by themselves, then with what the pool reported of them.
func (m *minimiser) try(kept map[int32]bool) (candidate, bool) {
	if m.ctx.Err() != nil || m.trials >= maxTrials {
		return candidate{}, false
	}
	bare := m.cut(kept)
	for _, changes := range [][]Change{nil, m.changes(kept)} {
		m.trials++
		h := *bare
		h.Changes = changes
		if v := Judge(m.ctx, &h, m.budget); v.Result == Illegal && v.Rule == m.v.Rule {
			return candidate{&h, v}, true
		}
	}
	return candidate{}, false
}

// candidate is a smaller history that fails in the same way.
type candidate struct {
	h *History
	v Verdict
}

// cut returns the history of the ops kept, without changes.
func (m *minimiser) cut(kept map[int32]bool) *History {
	order := make([]int32, 0, len(kept))
	for i := range kept {
		order = append(order, i)
	}
	slices.Sort(order)
	h := &History{Head: m.h.Head, Ops: make([]Op, 0, len(order))}
	m.weaken(&h.Head.Config)
	workers := map[uint64]bool{}
	for _, i := range order {
		h.Ops = append(h.Ops, m.h.Ops[i])
		workers[m.h.Ops[i].Worker] = true
	}
	for i := range m.h.Faults {
		if f := &m.h.Faults[i]; f.Worker == 0 || workers[f.Worker] {
			h.Faults = append(h.Faults, *f)
		}
	}
	return h
}

// weaken takes from a Config the promises that the failure is not about: by them, what
// remains of the history could be wrong in other ways.
func (m *minimiser) weaken(c *Config) {
	counted := m.v.why == whyFree || m.v.why == whyBoundFree || m.v.why == whyCrowd
	switch m.v.Rule {
	case "I8", "I9":
		counted = c.Affinity == Prefer
	default:
		if !counted && m.v.why != whyOvertakes {
			c.Affinity, c.Fresh, c.SessionTTL = None, false, 0
		}
		c.Fresh = false
	}
	if !counted {
		c.FullOnly = false
		if m.v.why != whyFull {
			c.Capacity = 0
		}
	}
	c.FIFO = c.FIFO && m.v.why == whyOvertakes
	if m.v.Rule != "I13" {
		c.CloseWaits, c.NoneAfter = false, false
	}
}

// changes returns the changes that the verdict names and those that the ops kept made; all
// changes if all ops are kept.
func (m *minimiser) changes(kept map[int32]bool) []Change {
	if len(kept) == len(m.h.Ops) {
		return m.h.Changes
	}
	named := map[uint64]bool{}
	for _, seq := range m.v.Changes {
		named[seq] = true
	}
	tokens, seqs := map[uint64]bool{}, map[uint64]bool{}
	for i := range kept {
		o := &m.h.Ops[i]
		tokens[o.Token] = true
		seqs[o.Seq] = true
	}
	delete(tokens, 0)
	delete(seqs, 0)
	out := map[uint64]uint64{} // tokens by worker
	var changes []Change
	for _, c := range m.h.Changes {
		use := named[c.Seq]
		switch c.Kind {
		case LeaseGranted:
			out[c.Worker] = c.Token
			use = use || tokens[c.Token]
		case LeaseEnded, LeaseRevoked:
			use = use || tokens[out[c.Worker]]
			delete(out, c.Worker)
		case Resized, ClosingBegun, ClosingEnded:
			use = use || seqs[c.Seq]
		}
		if use {
			changes = append(changes, c)
		}
	}
	return changes
}

// shrink leaves out leases and other calls, many at a time and then few, while the failure
// stays.
func (m *minimiser) shrink(kept map[int32]bool, best candidate) (*History, Verdict) {
	var units []int32
	for i := range kept {
		if o := &m.h.Ops[i]; !m.needed[i] && !o.Frees() && m.mayDrop(o) {
			units = append(units, i)
		}
	}
	slices.Sort(units)
	for size := len(units); size > 0; size /= 2 {
		for at := 0; at < len(units); {
			end := min(at+size, len(units))
			fewer := map[int32]bool{}
			for i := range kept {
				fewer[i] = true
			}
			for _, i := range units[at:end] {
				delete(fewer, i)
				for _, free := range m.frees[i] {
					delete(fewer, free)
				}
			}
			found, ok := m.try(fewer)
			if !ok {
				at = end
				continue
			}
			kept, best = fewer, found
			units = slices.Delete(units, at, end)
		}
	}
	return best.h, best.v
}

// mayDrop reports whether leaving an op out can make nothing illegal that was legal.
func (m *minimiser) mayDrop(o *Op) bool {
	c := &m.h.Head.Config
	counted := c.FullOnly && (m.v.why == whyFree || m.v.why == whyBoundFree || m.v.why == whyMovedIdle)
	switch {
	case o.Outcome == NoAnswer, o.Kind == EndSession, o.Kind == Resize, o.Kind == Retire, o.Closes():
		return false
	case o.Outcome == Granted:
		bound := c.Affinity != None && o.Session != "" && m.v.Rule == "I8" || m.v.Rule == "I9"
		return !counted && !bound && m.v.why != whyCrowd
	case o.Outcome == Cancelled:
		return !counted && c.Affinity != Prefer
	}
	return m.v.why != whyCrowd && m.v.why != whyNotClosed
}
