package linearize

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// forever is later than any time in a history.
const forever = time.Duration(math.MaxInt64)

// index is a history prepared for judging: its workers and sessions numbered, its calls
// taken apart into points, and what can be said of a call without knowing the order.
type index struct {
	h   *History
	cfg *Config

	workers  []uint64
	sessions []string
	worker   map[uint64]int32
	session  map[string]int32

	points []point
	lease  []int32 // of each op that frees: the op whose lease it ends; else -1

	gaveUp   []time.Duration // of each session: since when a call of it that gave up may have had a worker
	mayEnd   []time.Duration // of each worker: since when there is a reason for its end
	mayEndBy time.Duration   // the same for all workers
	exact    bool            // the ends of workers are reported, at their places in the order
	touched  []time.Duration // of each op: until when earlier calls may have kept its session from expiring
	crowd    []int32         // of each saturated op: how many others may have been waiting
	racing   []int32         // of each acquire: how many under way with it were cancelled, perhaps after a grant
	closed   time.Duration   // when the first close had returned
	parked   []int32         // ops known to have waited, by when that was known
	place    map[int32]int32 // of those among parked

	calls, returns []time.Duration // memory of findCrowds
	grants         []int32         // memory of byToken
}

// action is what a point does to the pool.
type action uint8

const (
	doGrant    action = iota
	doGhost           // an acquire without an answer, which may have been granted
	doTurnAway        // an acquire that was not granted
	doFree
	doEndSession
	doResize
	doRetire
	doCloseBegin
	doCloseEnd
)

// point is a moment between lo and hi at which a call takes effect. Most calls have one; a
// close that returned has two.
type point struct {
	do     action
	op     int32 // index among the ops
	w, s   int32 // worker and session, -1 for none
	lo, hi time.Duration
	seq    uint64
	rank   int32 // among calls without an answer that are alike, from 1: they come in this order; 0: none
}

// none is the number of no worker, session or op.
const none int32 = -1

// newIndex prepares h, whose form has been checked.
func newIndex(h *History) *index {
	x := &index{}
	x.prepare(h)
	return x
}

// prepare makes x the index of h, whose form has been checked, in the memory that it has.
func (x *index) prepare(h *History) {
	if x.worker == nil {
		x.worker, x.session, x.place = map[uint64]int32{}, map[string]int32{}, map[int32]int32{}
	}
	clear(x.worker)
	clear(x.session)
	clear(x.place)
	*x = index{
		h: h, cfg: &h.Head.Config, worker: x.worker, session: x.session, place: x.place,
		workers: x.workers[:0], sessions: x.sessions[:0], mayEnd: x.mayEnd[:0], gaveUp: x.gaveUp[:0], parked: x.parked[:0],
		calls: x.calls[:0], returns: x.returns[:0], grants: x.grants[:0],
		lease: slices.Grow(x.lease[:0], len(h.Ops)), points: slices.Grow(x.points[:0], len(h.Ops)+1),
	}
	for i := range h.Ops {
		x.lease = append(x.lease, none)
		x.add(int32(i))
	}
	for i := range h.Changes {
		c := &h.Changes[i]
		x.workerOf(c.Worker)
		x.sessionOf(c.Session)
	}
	x.findEnds()
	x.findTouched()
	x.closed = forever
	for i := range x.points {
		if p := &x.points[i]; p.do == doCloseEnd {
			x.closed = min(x.closed, p.hi)
		}
	}
	x.findCrowds()
	x.findRacing()
	x.findGivenUp()
}

// findGivenUp finds out since when each session may have been bound by a call that gave up.
func (x *index) findGivenUp() {
	for range x.sessions {
		x.gaveUp = append(x.gaveUp, forever)
	}
	for i := range x.points {
		if p := &x.points[i]; p.do == doTurnAway && p.s != none && x.h.Ops[p.op].Outcome == Cancelled {
			x.gaveUp[p.s] = min(x.gaveUp[p.s], p.lo)
		}
	}
}

func (x *index) workerOf(id uint64) int32 {
	if id == 0 {
		return none
	}
	n, known := x.worker[id]
	if !known {
		n = int32(len(x.workers))
		x.worker[id] = n
		x.workers = append(x.workers, id)
	}
	return n
}

func (x *index) sessionOf(name string) int32 {
	if name == "" || x.cfg.Affinity == None {
		return none
	}
	n, known := x.session[name]
	if !known {
		n = int32(len(x.sessions))
		x.session[name] = n
		x.sessions = append(x.sessions, name)
	}
	return n
}

// add takes the op apart.
func (x *index) add(i int32) {
	o := &x.h.Ops[i]
	p := point{op: i, w: none, s: x.sessionOf(o.Session), lo: o.Call, hi: o.Return, seq: o.Seq}
	if o.Outcome == NoAnswer {
		p.hi = forever
	}
	switch {
	case o.Acquires() && o.Outcome == Granted:
		p.do, p.w = doGrant, x.workerOf(o.Worker)
	case o.Acquires() && o.Outcome == NoAnswer:
		p.do = doGhost
	case o.Acquires():
		p.do = doTurnAway
	case o.Outcome != Done && o.Outcome != NoAnswer:
		return // it had no effect
	case o.Frees():
		x.lease[i] = x.opOf(o.Lease)
		p.do, p.w, p.s = doFree, x.workerOf(o.Worker), x.sessionOf(x.h.Ops[x.lease[i]].Session)
	case o.Kind == EndSession:
		p.do = doEndSession
		if p.s == none {
			return
		}
	case o.Kind == Resize:
		p.do = doResize
	case o.Kind == Retire:
		p.do, p.w = doRetire, x.workerOf(o.Worker)
	default:
		p.do = doCloseBegin
		x.points = append(x.points, p)
		if o.Outcome == NoAnswer {
			return
		}
		p.do, p.seq = doCloseEnd, 0
	}
	x.points = append(x.points, p)
}

// opOf returns the index of the op with that ID, or none.
func (x *index) opOf(id int) int32 { return opOf(x.h.Ops, id) }

func opOf(ops []Op, id int) int32 {
	if id >= 1 && id <= len(ops) && ops[id-1].ID == id {
		return int32(id - 1)
	}
	if i, found := slices.BinarySearchFunc(ops, id, func(o Op, id int) int { return cmp.Compare(o.ID, id) }); found {
		return int32(i)
	}
	return none
}

// findEnds finds out since when each worker may have come to its end.
func (x *index) findEnds() {
	unknown := forever
	if !x.cfg.Ends {
		unknown = 0
	}
	x.mayEndBy = unknown
	for range x.workers {
		x.mayEnd = append(x.mayEnd, unknown)
	}
	since := func(w int32, at time.Duration) {
		if w == none {
			x.mayEndBy = min(x.mayEndBy, at)
			return
		}
		x.mayEnd[w] = min(x.mayEnd[w], at)
	}
	for i := range x.h.Ops {
		switch o := &x.h.Ops[i]; {
		case o.Kind == Discard, o.Kind == Retire:
			if w := x.workerOf(o.Worker); w != none {
				since(w, o.Call)
			}
		case o.Kind == Resize, o.Closes():
			since(none, o.Call)
		}
	}
	for i := range x.h.Changes {
		if c := &x.h.Changes[i]; c.Kind == WorkerStopping && c.Worker != 0 {
			since(x.workerOf(c.Worker), 0)
		}
	}
	for i := range x.h.Faults {
		f := &x.h.Faults[i]
		w, known := x.worker[f.Worker]
		switch {
		case f.Ends && f.Worker == 0:
			since(none, f.From)
		case f.Ends && known:
			since(w, f.From)
		}
	}
}

// ends reports whether there is a reason, by the time at, for the end of a worker.
func (x *index) ends(w int32, at time.Duration) bool {
	return !x.exact && min(x.mayEnd[w], x.mayEndBy) <= at
}

// findTouched finds out until when other calls may have kept sessions alive.
func (x *index) findTouched() {
	if x.cfg.SessionTTL == 0 {
		return
	}
	x.touched = make([]time.Duration, len(x.h.Ops))
	busy := make([]time.Duration, len(x.sessions)) // until when earlier calls were under way
	for i := range x.h.Ops {
		o := &x.h.Ops[i]
		s := x.sessionOf(o.Session)
		if s == none || !o.Acquires() {
			continue
		}
		x.touched[i] = min(busy[s], o.Call)
		until := o.Return
		if o.Outcome == NoAnswer {
			until = forever
		}
		busy[s] = max(busy[s], until)
	}
}

// findCrowds counts, for saturated ops, those that may have waited, and lists the ops that
// are known to have waited.
func (x *index) findCrowds() {
	calls, returns := x.calls, x.returns
	saturated := false
	for i := range x.h.Ops {
		o := &x.h.Ops[i]
		saturated = saturated || o.Outcome == Saturated
		if x.cfg.FIFO && o.Parked > 0 && o.Outcome != NoAnswer {
			x.parked = append(x.parked, int32(i))
		}
		if o.Kind == Acquire && o.Outcome != Saturated {
			calls = append(calls, o.Call)
			if o.Outcome != NoAnswer {
				returns = append(returns, o.Return)
			}
		}
	}
	x.calls, x.returns = calls, returns
	slices.SortFunc(x.parked, func(a, b int32) int { return cmp.Compare(x.h.Ops[a].Parked, x.h.Ops[b].Parked) })
	for k, i := range x.parked {
		x.place[i] = int32(k)
	}
	if !saturated {
		return
	}
	slices.Sort(returns)
	x.crowd = make([]int32, len(x.h.Ops))
	for i := range x.h.Ops {
		if o := &x.h.Ops[i]; o.Outcome == Saturated {
			begun, _ := slices.BinarySearch(calls, o.Return+1)
			over, _ := slices.BinarySearch(returns, o.Call)
			x.crowd[i] = int32(begun - over)
		}
	}
}

// findRacing counts the calls that may have had a lease for a moment: one whose context
// ends as it is granted gives the lease back.
func (x *index) findRacing() {
	if !x.cfg.FullOnly {
		return
	}
	x.racing = make([]int32, len(x.h.Ops))
	var calls, returns []time.Duration
	for i := range x.h.Ops {
		if o := &x.h.Ops[i]; o.Acquires() && o.Outcome == Cancelled {
			calls, returns = append(calls, o.Call), append(returns, o.Return)
		}
	}
	if len(calls) == 0 {
		return
	}
	slices.Sort(returns)
	for i := range x.h.Ops {
		if o := &x.h.Ops[i]; o.Acquires() && o.Outcome != NoAnswer {
			begun, _ := slices.BinarySearch(calls, o.Return+1)
			over, _ := slices.BinarySearch(returns, o.Call)
			x.racing[i] = int32(begun - over)
		}
	}
}
