package linearize

import (
	"cmp"
	"slices"
	"time"
)

// bySession judges each session by itself, as far as the intervals of its calls show it:
// two leases of one binding are of one worker, one of them made the binding, and none is
// told of a loss that nothing can have caused. It runs after byWorker.
func (x *index) bySession() *Verdict {
	if x.cfg.Affinity == None {
		return nil
	}
	type calls struct {
		grants, ends, told []int32
		unsure             time.Duration // from then on a call that got nothing may have bound or moved it
	}
	of := make([]calls, len(x.sessions))
	for i := range of {
		of[i].unsure = forever
	}
	for i := range x.points {
		p := &x.points[i]
		if p.s == none {
			continue
		}
		c := &of[p.s]
		switch {
		case p.do == doGrant:
			c.grants = append(c.grants, int32(i))
		case p.do == doEndSession:
			c.ends = append(c.ends, int32(i))
		case p.do == doGhost, p.do == doTurnAway && x.cfg.Affinity == Prefer && x.h.Ops[p.op].Outcome == Cancelled:
			c.unsure = min(c.unsure, p.lo)
		case p.do == doTurnAway && x.h.Ops[p.op].Outcome == SessionLost:
			c.told = append(c.told, int32(i))
		}
	}
	for i := range of {
		c := &of[i]
		byStart := func(a, b int32) int { return cmp.Compare(x.points[a].lo, x.points[b].lo) }
		slices.SortStableFunc(c.grants, byStart)
		for k, g := range c.grants {
			if p := &x.points[g]; p.hi >= c.unsure {
				break
			} else if v := x.boundBefore(p, c.grants); v != nil {
				return v
			} else if k == 0 {
				continue
			} else if v := x.sameBinding(&x.points[c.grants[k-1]], p, c.ends); v != nil {
				return v
			}
		}
		for _, t := range c.told {
			p := &x.points[t]
			if lost := len(c.grants) > 0 && x.points[c.grants[0]].lo <= p.hi && x.cfg.Affinity == Strict; lost || p.hi >= min(c.unsure, x.gaveUp[i]) {
				continue
			}
			v := x.illegal("affinity", nil, p, broken(whyNotLost, none))
			return &v
		}
	}
	return nil
}

// boundBefore judges a grant that says that its session was bound to the worker already.
func (x *index) boundBefore(p *point, grants []int32) *Verdict {
	if !x.cfg.Fresh || x.h.Ops[p.op].Fresh {
		return nil
	}
	for _, g := range grants {
		q := &x.points[g]
		if q.lo > p.hi {
			break
		}
		if q.op != p.op && q.w == p.w && x.h.Ops[q.op].Fresh {
			return nil
		}
	}
	v := x.illegal("affinity", nil, p, broken(whyNotFresh, none))
	return &v
}

// sameBinding judges two grants of a session between which nothing can have ended the
// binding.
func (x *index) sameBinding(a, b *point, ends []int32) *Verdict {
	first, last := &x.h.Ops[a.op], &x.h.Ops[b.op]
	idle := max(first.Return, last.Return) - min(first.Call, last.Call)
	if x.cfg.Affinity == Prefer || x.cfg.SessionTTL > 0 && idle >= x.cfg.SessionTTL {
		return nil
	}
	from, to := min(a.lo, b.lo), max(a.hi, b.hi)
	if x.cfg.Affinity == Sticky && (x.ends(a.w, b.hi) || x.ends(b.w, a.hi)) {
		return nil
	}
	for _, e := range ends {
		if end := &x.points[e]; end.lo <= to && end.hi >= from {
			return nil
		}
	}
	if b.hi < a.hi {
		a, b = b, a
	}
	why := fine
	switch {
	case a.w != b.w:
		why = x.whyMoved()
	case x.cfg.Fresh && x.h.Ops[a.op].Fresh && x.h.Ops[b.op].Fresh:
		why = whyBoundTwice
	default:
		return nil
	}
	v := x.illegal("affinity", nil, b, broken(why, a.op))
	return &v
}
