package linearize

import (
	"cmp"
	"slices"
	"time"
)

// hold is a lease as an interval: it was out from the return of its acquire to the call of
// what ended it for certain, and at most from lo to hi.
type hold struct {
	grant, free int32 // points; free is none if nothing ended it
	from, to    time.Duration
}

// byWorker judges each worker by itself: its leases must follow one another, and its end
// must come after the last. Where that holds, the order of the leases is known, and the
// points are narrowed to the times that it leaves them.
func (x *index) byWorker() *Verdict {
	freeOf := make(map[int32]int32)
	for i := range x.points {
		p := &x.points[i]
		if p.do != doFree {
			continue
		}
		lease := x.lease[p.op]
		if _, twice := freeOf[lease]; twice {
			v := x.illegal("partition", nil, p, broken(whyNotOut, lease))
			return &v
		}
		freeOf[lease] = int32(i)
	}
	holds := make([][]hold, len(x.workers))
	for i := range x.points {
		p := &x.points[i]
		if p.do != doGrant {
			continue
		}
		h := hold{int32(i), none, p.hi, forever}
		if free, known := freeOf[p.op]; known {
			h.free, h.to = free, x.points[free].lo
		}
		holds[p.w] = append(holds[p.w], h)
	}
	var first *Verdict
	for _, of := range holds {
		slices.SortFunc(of, func(a, b hold) int {
			return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(x.endOf(a), x.endOf(b)))
		})
		if v := x.exclusive(of); v != nil && (first == nil || v.Ops[len(v.Ops)-1] < first.Ops[len(first.Ops)-1]) {
			first = v
		}
	}
	if first != nil {
		return first
	}
	return x.afterRetire()
}

// endOf returns what ended a lease: a Release, a Discard, or nothing, in this order.
func (x *index) endOf(h hold) Kind {
	if h.free == none {
		return Discard + 1
	}
	return x.h.Ops[x.points[h.free].op].Kind
}

// exclusive judges the leases of one worker, in order of their grants' returns.
func (x *index) exclusive(of []hold) *Verdict {
	for i := 1; i < len(of); i++ {
		before, p := of[i-1], &x.points[of[i].grant]
		b := breach{}
		switch {
		case of[i].from < before.to:
			b = broken(whyHeld, x.points[before.grant].op)
		case x.endOf(before) == Discard:
			b = broken(whyDead, x.points[before.free].op)
		}
		if b.why != fine {
			v := x.illegal("partition", nil, p, b)
			return &v
		}
		if before.from == of[i].to {
			continue // on a coarse clock both began and ended at once, in either order
		}
		freed := &x.points[before.free]
		p.lo = max(p.lo, freed.lo)
		freed.hi = min(freed.hi, p.hi)
	}
	return nil
}

// afterRetire finds a grant of a worker that had been retired.
func (x *index) afterRetire() *Verdict {
	retired := map[int32]int32{} // the first point to retire each worker
	for i := range x.points {
		p := &x.points[i]
		if first, known := retired[p.w]; p.do == doRetire && (!known || p.hi < x.points[first].hi) {
			retired[p.w] = int32(i)
		}
	}
	if len(retired) == 0 {
		return nil
	}
	for i := range x.points {
		p := &x.points[i]
		if by, known := retired[p.w]; known && p.do == doGrant && p.lo > x.points[by].hi {
			v := x.illegal("partition", nil, p, broken(whyDead, x.points[by].op))
			return &v
		}
	}
	return nil
}

// byPool judges what couples all workers, as far as intervals show it: how many leases are
// out, and closing. It runs after byWorker, whose narrower points it needs.
func (x *index) byPool() *Verdict {
	for _, judge := range []func() *Verdict{x.byContext, x.byClosing, x.byCapacity, x.byRefusals, x.byArrival} {
		if v := judge(); v != nil {
			return v
		}
	}
	return nil
}

func (x *index) byContext() *Verdict {
	for i := range x.points {
		p := &x.points[i]
		if p.do == doGrant && x.h.Ops[p.op].Ended {
			v := x.illegal("partition", nil, p, broken(whyEnded, none))
			return &v
		}
	}
	return nil
}

// byClosing judges what the intervals of closes show.
func (x *index) byClosing() *Verdict {
	begun, called, over := forever, forever, forever // certainly closing, perhaps, and a close has returned
	by, after, forced := none, none, forever
	for i := range x.points {
		p := &x.points[i]
		o := &x.h.Ops[p.op]
		told := p.do == doTurnAway && o.Outcome == Closed
		if p.do == doCloseBegin {
			called = min(called, p.lo)
			if o.Kind == Shutdown {
				forced = min(forced, p.lo)
			}
		}
		if (told || p.do == doCloseBegin) && p.hi < begun {
			begun, by = p.hi, p.op
		}
		if p.do == doCloseEnd && p.hi < over {
			over, after = p.hi, p.op
		}
	}
	for i := range x.points {
		p := &x.points[i]
		o := &x.h.Ops[p.op]
		b := breach{}
		switch {
		case p.do == doTurnAway && o.Outcome == Closed && p.hi < called:
			b = broken(whyNotClosed, none)
		case p.do == doGrant && p.lo > over:
			b = broken(whyClosed, after)
		case p.do == doGrant && p.lo > begun && x.cfg.NoneAfter:
			b = broken(whyClosing, by)
		case p.do == doCloseEnd && x.cfg.CloseWaits && p.hi < forced:
			if lease := x.outDuring(p); lease != none {
				b = broken(whyLeasesOut, lease)
			}
		}
		if b.why != fine {
			v := x.illegal("partition", nil, p, b)
			return &v
		}
	}
	return nil
}

// outDuring returns an op whose lease was certainly out all through p, or none.
func (x *index) outDuring(p *point) int32 {
	ended := map[int32]time.Duration{}
	for i := range x.points {
		if q := &x.points[i]; q.do == doFree {
			ended[x.lease[q.op]] = q.lo
		}
	}
	for i := range x.points {
		q := &x.points[i]
		if q.do != doGrant || q.hi >= p.lo {
			continue
		}
		if at, known := ended[q.op]; !known || at > p.hi {
			return q.op
		}
	}
	return none
}

// byCapacity counts the leases that were certainly out at the same time.
func (x *index) byCapacity() *Verdict {
	if x.cfg.Capacity == 0 {
		return nil
	}
	type turn struct {
		at time.Duration
		by int
		p  int32
	}
	var turns []turn
	for i := range x.points {
		p := &x.points[i]
		switch p.do {
		case doGrant:
			turns = append(turns, turn{p.hi, 1, int32(i)})
		case doFree:
			turns = append(turns, turn{p.lo, -1, int32(i)})
		case doResize:
			turns = append(turns, turn{p.lo, 0, int32(i)})
		}
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
	out, brief := map[int32]bool{}, map[int32]bool{} // brief: it ended, by the clock, when it began
	limit := x.cfg.Capacity
	for _, t := range turns {
		p := &x.points[t.p]
		switch t.by {
		case 0:
			limit = max(limit, x.h.Ops[p.op].Max) // it may not have shrunk before
		case -1:
			if lease := x.lease[p.op]; out[lease] {
				delete(out, lease)
			} else {
				brief[lease] = true
			}
		default:
			if brief[p.op] {
				continue
			}
			if out[p.op] = true; len(out) > limit {
				return x.crowded(p, out)
			}
		}
	}
	return nil
}

func (x *index) crowded(p *point, out map[int32]bool) *Verdict {
	v := x.illegal("partition", nil, p, broken(whyFull, none))
	v.Ops = v.Ops[:0]
	for op := range out {
		v.Ops = append(v.Ops, x.h.Ops[op].ID)
	}
	slices.Sort(v.Ops)
	return &v
}

// byRefusals counts the leases that may have been out while a call was refused for want of
// a worker.
func (x *index) byRefusals() *Verdict {
	if !x.cfg.FullOnly || x.cfg.Capacity == 0 {
		return nil
	}
	st := x.start()
	var begun, over []time.Duration
	for i := range x.points {
		switch p := &x.points[i]; p.do {
		case doGrant, doGhost:
			begun = append(begun, p.lo)
		case doFree:
			over = append(over, p.hi)
		case doResize, doCloseBegin:
			return nil // the search knows
		}
	}
	slices.Sort(begun)
	slices.Sort(over)
	for i := range x.points {
		p := &x.points[i]
		o := &x.h.Ops[p.op]
		if p.do != doTurnAway || p.s != none && x.cfg.Affinity != Prefer || o.Outcome != Refused && o.Outcome != Saturated {
			continue
		}
		taken, _ := slices.BinarySearch(begun, p.hi+1)
		back, _ := slices.BinarySearch(over, p.lo)
		st.held = int32(taken - back)
		if b := x.refusable(st, p); b.why != fine {
			v := x.illegal("partition", nil, p, b)
			return &v
		}
	}
	return nil
}

// byArrival finds a grant that certainly came after that of a later caller, who could have
// been served only from the same workers.
func (x *index) byArrival() *Verdict {
	if len(x.parked) == 0 {
		return nil
	}
	grants := make([]int32, 0, len(x.points)) // of no session, by return
	at := make(map[int32]int32, len(x.parked))
	for i := range x.points {
		p := &x.points[i]
		if at[p.op] = int32(i); p.do == doGrant && x.h.Ops[p.op].Session == "" {
			grants = append(grants, int32(i))
		}
	}
	slices.SortFunc(grants, func(a, b int32) int { return cmp.Compare(x.points[a].hi, x.points[b].hi) })
	for _, i := range x.parked {
		a, o := &x.points[at[i]], &x.h.Ops[i]
		if a.do != doGrant || o.Session != "" {
			continue
		}
		from, _ := slices.BinarySearchFunc(grants, o.Parked, func(g int32, t time.Duration) int { return cmp.Compare(x.points[g].hi, t) })
		for _, g := range grants[from:] {
			b := &x.points[g]
			if b.hi >= a.lo {
				break
			}
			if x.h.Ops[b.op].Call > o.Parked {
				v := x.illegal("partition", nil, b, broken(whyOvertakes, i))
				return &v
			}
		}
	}
	return nil
}
