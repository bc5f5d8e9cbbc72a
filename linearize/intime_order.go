package linearize

import (
	"cmp"
	"slices"
)

// candidates returns the points that may come next, the likeliest first, when p must not
// wait any longer. Some of them the rules forbid.
func (j *inTime) candidates(p int32) []int32 {
	const far = 4 // points, each of which has to come before the last
	q := &j.points[p]
	if q.do == doFree && j.fillable() {
		return j.sorted(p, func(i int32) bool { return j.points[i].do == doGrant })
	}
	need, t := p, q
	for range far {
		if i := j.before(need); i != none {
			need, t = i, &j.points[i]
			continue
		}
		b := j.forbidden(j.st, t)
		switch {
		case b.why == fine && j.kills(t):
			return j.sorted(p, func(i int32) bool { return j.helps(&j.points[i], t, broken(whyDead, none)) })
		case b.why == fine && need == p:
			return j.sorted(p, nil)
		case b.why == fine:
			return j.sorted(p, func(i int32) bool { return i == need })
		case b.why != whyOvertakes:
			return j.sorted(p, func(i int32) bool { return j.helps(&j.points[i], t, b) })
		}
		first := slices.IndexFunc(j.active.list, func(i int32) bool { return j.points[i].op == b.other })
		if first < 0 {
			break
		}
		need = j.active.list[first]
		t = &j.points[need]
	}
	return j.sorted(p, func(i int32) bool { return i == need })
}

// kills reports whether a grant moves its session from a worker that may not have come to
// its end, so that the move would be what shows that end.
func (j *inTime) kills(p *point) bool {
	own := j.own(p)
	return p.do == doGrant && own != none && own != p.w && j.cfg.Affinity == Sticky && !j.st.workers[own].dead &&
		j.grants != nil && j.grants[own] > 0
}

// before returns a point of p's session that should come before it and can, or none.
func (j *inTime) before(p int32) int32 {
	first := none
	if j.turns == nil || j.turns[p] == 0 {
		return none
	}
	for _, i := range j.active.list {
		if j.points[i].s == j.points[p].s && j.turns[i] != 0 && j.turns[i] < j.turns[p] && (first == none || j.turns[i] < j.turns[first]) {
			first = i
		}
	}
	return first
}

// sorted returns the active points: those that are wanted, p, and then the others.
func (j *inTime) sorted(p int32, wanted func(int32) bool) []int32 {
	list := j.next[:0]
	for _, i := range j.active.list {
		if i != p && wanted != nil && wanted(i) && j.before(i) == none {
			list = append(list, i)
		}
	}
	sooner := func(a, b int32) int {
		return cmp.Or(cmp.Compare(j.points[a].hi, j.points[b].hi), cmp.Compare(a, b))
	}
	slices.SortFunc(list, sooner)
	list = append(list, p)
	from := len(list)
	for _, i := range j.active.list {
		if i != p && !slices.Contains(list[:from], i) {
			list = append(list, i)
		}
	}
	slices.SortFunc(list[from:], sooner)
	j.next = list
	return list
}

// helps reports whether q may do away with the reason for which p cannot be applied.
func (j *inTime) helps(q, p *point, b breach) bool {
	switch b.why {
	case whyHeld:
		return q.do == doFree && q.w == p.w
	case whyFull, whyLeasesOut:
		return q.do == doFree || q.do == doResize
	case whyNotClosed:
		return q.do == doCloseBegin
	case whyFree, whyBoundFree:
		return q.do == doGrant || q.do == doGhost || q.do == doCloseBegin || q.do == doResize
	case whyMoved, whyMovedAlive, whyMovedIdle, whyBoundTwice, whyNotFresh, whyOutlived, whyDead, whyNotLost:
		return q.s == p.s && (q.do == doEndSession || q.do == doGhost || q.do == doGrant) || q.do == doGrant && q.w == j.own(p)
	case whyOvertakes:
		return q.op == b.other
	}
	return false
}

// own returns the worker of p's session.
func (j *inTime) own(p *point) int32 {
	if p.s == none {
		return none
	}
	return j.st.sessions[p.s].worker - 1
}

// fillable reports whether calls that were refused wait to see all workers leased, and the
// grants that may come now can make that so.
func (j *inTime) fillable() bool {
	if len(j.watching.list) == 0 || j.st.capacity == 0 {
		return false
	}
	more := int32(0)
	for _, i := range j.active.list {
		if p := &j.points[i]; p.do == doGrant && j.st.workers[p.w].holder == 0 && j.before(i) == none {
			more++
		}
	}
	return more > 0 && j.st.held+j.st.ghosts+more >= j.st.capacity
}
