package linearize

import (
	"cmp"
	"math/bits"
	"slices"
	"time"
)

// inTime looks for an order of points in which each takes effect when its time is over, and
// sooner only where another one needs that: a just-in-time linearization (Lowe, 2017). Calls
// that only look at the pool are settled as soon as what they saw is so. It goes back on its
// choices, the last one first, and into no configuration that has failed before, so that in
// the end it has tried every order that matters. It needs no quiescence, and one state.
type inTime struct {
	*index
	points []point // by lo
	ends   []int32 // the points by hi
	st     *state
	search *search // which counts the steps

	begun, over int             // so many points have begun, of so many the time is over
	applied     []bool          // of each point
	active      places          // begun, not applied
	watching    places          // those of them that only look at the pool
	turns       []int32         // of each point, its turn among those of its session, from 1, as a guess; nil: none
	grants      []int32         // of each worker: how many of its grants are to come; nil: not all are known
	lastGrant   []time.Duration // of each worker: its last grant can come no sooner
	trail       []applied       // in order
	nodes       []node
	next        []int32          // the candidates, in order
	failed      map[key]struct{} // configurations from which nothing leads on
	hash        key              // of what was applied, and of what that left

	deepest int // the furthest end that could not be passed,
	stuckAt int32
	stuck   breach // and what it would have broken
}

// node is a place in the search where a choice was made.
type node struct {
	trail, begun, over, tried int32
}

// applied is a point that took effect, and what it changed.
type applied struct {
	p, own                 int32 // own: the worker to which its session was bound, or none
	of, ofOwn              workerState
	session                sessionState
	capacity, held, ghosts int32
	rank, first            int32
	seq                    uint64
	flags                  [3]bool
	hash                   key
}

// key is a hash of a configuration, too long for two to have the same.
type key [2]uint64

// places is a set of points that remembers where each is in its list.
type places struct {
	list []int32
	at   []int32
}

func (s *places) add(i int32) {
	s.at[i] = int32(len(s.list))
	s.list = append(s.list, i)
}

func (s *places) remove(i int32) {
	last := s.list[len(s.list)-1]
	at := s.at[i]
	s.list[at], s.at[last] = last, at
	s.list = s.list[:len(s.list)-1]
}

// newInTime prepares a search of the points, which are in order of lo, from st, which it
// changes, by the rules of x.
func (s *search) newInTime(x *index, points []point, st *state) *inTime {
	j := &inTime{
		index: x, search: s, points: points, st: st, ends: make([]int32, len(points)), applied: make([]bool, len(points)),
		active: places{at: make([]int32, len(points))}, watching: places{at: make([]int32, len(points))},
		failed: map[key]struct{}{}, deepest: -1, lastGrant: s.last,
		trail: make([]applied, 0, len(points)), nodes: make([]node, 0, len(points)/2),
	}
	for i := range j.ends {
		j.ends[i] = int32(i)
	}
	slices.SortStableFunc(j.ends, func(a, b int32) int { return cmp.Compare(points[a].hi, points[b].hi) })
	return j
}

// countGrants notes how many grants of each worker are to come: all of them are points.
func (j *inTime) countGrants() {
	j.grants = make([]int32, len(j.workers))
	for i := range j.points {
		if p := &j.points[i]; p.do == doGrant {
			j.grants[p.w]++
		}
	}
}

// run reports whether it found an order; false also if the budget is spent.
func (j *inTime) run() bool {
	for {
		p := j.advance()
		if p == none {
			return true
		}
		if !j.choose(p, 0) && !j.back() {
			return false
		}
	}
}

// advance goes on to the next end of a point that has not been applied, and returns that;
// none if there is no more that must be.
func (j *inTime) advance() int32 {
	for j.over < len(j.ends) {
		p := j.ends[j.over]
		for j.begun < len(j.points) && j.points[j.begun].lo <= j.points[p].hi {
			j.begin(int32(j.begun))
			j.begun++
		}
		switch {
		case j.applied[p]:
			j.over++
		case j.points[p].hi == forever:
			return none
		default:
			return p
		}
	}
	return none
}

// begin takes a point in whose time has come.
func (j *inTime) begin(i int32) {
	j.of(i).add(i)
	if j.looks(&j.points[i]) {
		j.look(i)
	}
}

// of returns the list where a point is that has begun and is not applied.
func (j *inTime) of(i int32) *places {
	if j.looks(&j.points[i]) {
		return &j.watching
	}
	return &j.active
}

// looks reports whether a point leaves the pool as it is, but for those who wait: the sooner
// it takes effect the better.
func (j *inTime) looks(p *point) bool {
	if p.do != doTurnAway {
		return false
	}
	switch j.h.Ops[p.op].Outcome {
	case SessionLost:
		return false
	case Cancelled:
		return p.s == none || j.cfg.Affinity != Prefer
	}
	return true
}

// look settles a point that only looks at the pool, if what it saw is so.
func (j *inTime) look(i int32) {
	p := &j.points[i]
	if p.seq == 0 && j.refusable(j.st, p).why == fine {
		j.watching.remove(i)
		j.apply(i)
	}
}

// apply has point i take effect, if the rules allow it.
func (j *inTime) apply(i int32) breach {
	p, st := &j.points[i], j.st
	if p.seq > 0 && p.seq < st.seq {
		return broken(whyTime, none)
	}
	a := applied{
		p: i, own: none, capacity: st.capacity, held: st.held, ghosts: st.ghosts, rank: st.rank, first: st.first, seq: st.seq,
		flags: [3]bool{st.closing, st.closed, st.forced}, hash: j.hash,
	}
	if p.w != none {
		a.of = st.workers[p.w]
	}
	if p.s != none {
		a.session = st.sessions[p.s]
		if a.own = a.session.worker - 1; a.own != none {
			a.ofOwn = st.workers[a.own]
		}
	}
	if b := j.index.apply(st, p); b.why != fine {
		return b
	}
	st.seq = max(st.seq, p.seq)
	j.applied[i] = true
	j.trail = append(j.trail, a)
	j.rehash(&a)
	if p.do == doGrant && j.grants != nil {
		j.grants[p.w]--
	}
	for _, w := range [...]int32{p.w, a.own} {
		if w != none && st.workers[w].dead && (j.lastGrant[w] > p.hi || j.grants != nil && j.grants[w] > 0) {
			j.undo()
			return broken(whyDead, none) // it is too soon for its end
		}
	}
	return breach{}
}

// take applies a point that has begun, and settles those who see what they saw.
func (j *inTime) take(i int32) breach {
	b := j.apply(i)
	if b.why != fine {
		return b
	}
	j.of(i).remove(i)
	for k := len(j.watching.list) - 1; k >= 0; k-- {
		j.look(j.watching.list[k])
	}
	return breach{}
}

// undo takes back the last point.
func (j *inTime) undo() {
	a := &j.trail[len(j.trail)-1]
	p, st := &j.points[a.p], j.st
	if p.s != none {
		st.sessions[p.s] = a.session
		if a.own != none {
			st.workers[a.own] = a.ofOwn
		}
	}
	if p.w != none {
		st.workers[p.w] = a.of
	}
	if k, parked := j.place[p.op]; parked {
		st.settled[k] = false
	}
	st.capacity, st.held, st.ghosts, st.rank, st.first, st.seq = a.capacity, a.held, a.ghosts, a.rank, a.first, a.seq
	st.closing, st.closed, st.forced = a.flags[0], a.flags[1], a.flags[2]
	j.hash = a.hash
	j.applied[a.p] = false
	if p.do == doGrant && j.grants != nil {
		j.grants[p.w]++
	}
	j.trail = j.trail[:len(j.trail)-1]
}

// restore goes back to a node.
func (j *inTime) restore(n *node) {
	for len(j.trail) > int(n.trail) {
		i := j.trail[len(j.trail)-1].p
		j.undo()
		j.of(i).add(i)
	}
	for j.begun > int(n.begun) {
		j.begun--
		j.of(int32(j.begun)).remove(int32(j.begun))
	}
	j.over = int(n.over)
}

// choose takes one of the points that may come next, before the end of p or as p itself,
// but none of the first so many. It reports whether there was one.
func (j *inTime) choose(p, tried int32) bool {
	if tried == 0 && len(j.failed) > 0 {
		if _, known := j.failed[j.configuration()]; known {
			return false
		}
	}
	n := node{int32(len(j.trail)), int32(j.begun), int32(j.over), tried}
	next := j.candidates(p)
	for ; int(n.tried) < len(next); n.tried++ {
		if !j.search.spend() {
			return false
		}
		i := next[n.tried]
		b := j.take(i)
		if b.why == fine {
			n.tried++
			j.nodes = append(j.nodes, n)
			return true
		}
		if i == p && j.over > j.deepest {
			j.deepest, j.stuckAt, j.stuck = j.over, p, b
		}
	}
	const each = 40 // bytes, about
	j.failed[j.configuration()] = struct{}{}
	j.search.spent.Bytes += each
	return false
}

// back goes back to the last node that leaves a choice, and takes that. It reports whether
// there is one.
func (j *inTime) back() bool {
	for len(j.nodes) > 0 {
		n := j.nodes[len(j.nodes)-1]
		j.nodes = j.nodes[:len(j.nodes)-1]
		j.restore(&n)
		if j.choose(j.ends[n.over], n.tried) {
			return true
		}
		if !j.search.spend() {
			return false
		}
	}
	return false
}

// configuration returns what tells this place of the search from others.
func (j *inTime) configuration() key {
	k := j.hash
	k.mix(1, uint64(j.over), uint64(j.st.capacity), uint64(j.st.ghosts))
	return k
}

// rehash takes into the hash that a was applied, and what that changed.
func (j *inTime) rehash(a *applied) {
	p := &j.points[a.p]
	j.hash.mix(2, uint64(a.p))
	if p.w != none {
		j.hash.worker(p.w, &a.of, &j.st.workers[p.w])
	}
	if p.s == none {
		return
	}
	if a.own != none && a.own != p.w {
		j.hash.worker(a.own, &a.ofOwn, &j.st.workers[a.own])
	}
	if p.do == doGrant || p.do == doFree {
		j.hash.mix(5, uint64(p.w), uint64(uint32(j.st.workers[p.w].epoch))) // of the lease, while it is out
	}
	j.hash.session(p.s, &a.session)
	j.hash.session(p.s, &j.st.sessions[p.s])
}

// worker takes in that a worker has changed. What is not here follows from what was applied.
func (k *key) worker(w int32, from, to *workerState) {
	if from.dead != to.dead {
		k.mix(3, uint64(w))
	}
}

func (k *key) session(s int32, of *sessionState) {
	flags := uint64(0)
	if of.lost {
		flags |= 1
	}
	if of.unsure {
		flags |= 2
	}
	k.mix(4, uint64(s), uint64(uint32(of.worker))<<32|uint64(uint32(of.leases)), uint64(uint32(of.epoch))<<2|flags, uint64(of.used), uint64(of.rested))
}

// mix adds a hash of the words, which adding it again takes away.
func (k *key) mix(words ...uint64) {
	a, b := uint64(0x9e3779b97f4a7c15), uint64(0xd1b54a32d192ed03)
	for _, w := range words {
		a = scramble(a ^ w)
		b = scramble(b + w*0xff51afd7ed558ccd)
	}
	k[0] ^= a
	k[1] ^= b
}

// scramble spreads the bits of a word.
func scramble(v uint64) uint64 {
	hi, lo := bits.Mul64(v^0x2d358dccaa6c78a5, 0x8bb84b93962eacc9)
	v = hi ^ lo
	v ^= v >> 29
	return v * 0xbf58476d1ce4e5b9
}
