package linearize

import (
	"cmp"
	"slices"
	"time"
)

// byToken judges the tokens of leases, where the pool gives them: by a higher one a later
// lease of a worker is known, so each is given once, and they rise in order of grants, by the
// clock and by the numbers of changes.
// Neither the rules of the other judges nor porcupine know of tokens.
func (x *index) byToken() *Verdict {
	grants := x.grants[:0]
	for i := range x.points {
		if p := &x.points[i]; p.do == doGrant && x.h.Ops[p.op].Token != 0 {
			grants = append(grants, int32(i))
		}
	}
	x.grants = grants
	token := func(i int32) uint64 { return x.h.Ops[x.points[i].op].Token }
	slices.SortFunc(grants, func(a, b int32) int {
		return cmp.Or(cmp.Compare(token(a), token(b)), cmp.Compare(x.points[a].hi, x.points[b].hi))
	})
	var called time.Duration // of the grants with lower tokens, the latest call
	latest, numbered := none, none
	for k, i := range grants {
		p := &x.points[i]
		switch {
		case k > 0 && token(grants[k-1]) == token(i):
			v := x.illegal("partition", nil, p, broken(whyToken, x.points[grants[k-1]].op))
			return &v
		case p.hi < called:
			v := x.illegal("partition", nil, &x.points[latest], broken(whyToken, p.op))
			return &v
		case p.seq != 0 && numbered != none && p.seq < x.points[numbered].seq:
			v := x.illegal("partition", nil, &x.points[numbered], broken(whyTokenOrder, p.op))
			return &v
		}
		if p.lo > called {
			called, latest = p.lo, i
		}
		if p.seq != 0 {
			numbered = i
		}
	}
	return nil
}
