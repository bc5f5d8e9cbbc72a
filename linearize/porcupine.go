package linearize

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/anishathalye/porcupine"
)

// local is a window prepared for porcupine: an index that knows only the workers and
// sessions that its points are about, so that states are small.
type local struct {
	*index
	points []point
	st     *state
}

// localise prepares the points, which start in st.
func (x *index) localise(points []point, st *state) *local {
	to := *x
	to.workers, to.sessions, to.mayEnd = nil, nil, nil
	to.worker, to.session = map[uint64]int32{}, map[string]int32{}
	start := *st
	start.workers, start.sessions = nil, nil
	worker := func(w int32) int32 {
		if w == none {
			return none
		}
		known := len(to.workers)
		n := to.workerOf(x.workers[w])
		if int(n) == known {
			to.mayEnd = append(to.mayEnd, x.mayEnd[w])
			start.workers = append(start.workers, st.workers[w])
		}
		return n
	}
	l := &local{index: &to, points: slices.Clone(points), st: &start}
	rank := start.rank
	for i := range l.points {
		p := &l.points[i]
		p.w = worker(p.w)
		if p.s == none {
			if p.do == doGhost {
				rank++
				p.rank = rank
			}
			continue
		}
		known := len(to.sessions)
		of := st.sessions[p.s]
		if p.s = to.sessionOf(x.sessions[p.s]); int(p.s) == known {
			of.worker = worker(of.worker-1) + 1
			start.sessions = append(start.sessions, of)
		}
	}
	l.waiters(x, st)
	return l
}

// waiters keeps, of the ops known to have waited, those among the points.
func (l *local) waiters(x *index, st *state) {
	l.parked, l.place, l.st.settled, l.st.first = nil, map[int32]int32{}, nil, 0
	if len(x.parked) == 0 {
		return
	}
	here := map[int32]bool{}
	for i := range l.points {
		here[l.points[i].op] = true
	}
	for k, i := range x.parked {
		if here[i] {
			l.place[i] = int32(len(l.parked))
			l.parked = append(l.parked, i)
			l.st.settled = append(l.st.settled, st.settled[k])
		}
	}
}

func (st *state) clone() *state {
	c := *st
	c.workers, c.sessions, c.settled = slices.Clone(st.workers), slices.Clone(st.sessions), slices.Clone(st.settled)
	return &c
}

// bytes reckons what a remembered state takes.
func (st *state) bytes() int64 {
	return 128 + 16*int64(len(st.workers)) + 48*int64(len(st.sessions)) + int64(len(st.settled))
}

// equal reports whether nothing can tell the two apart from now on.
func (st *state) equal(other *state) bool {
	if st.capacity != other.capacity || st.held != other.held || st.ghosts != other.ghosts || st.seq != other.seq || st.rank != other.rank ||
		st.closing != other.closing || st.closed != other.closed || st.forced != other.forced {
		return false
	}
	return slices.EqualFunc(st.workers, other.workers, func(a, b workerState) bool {
		a.by, b.by = 0, 0
		return a == b
	}) && slices.EqualFunc(st.sessions, other.sessions, func(a, b sessionState) bool {
		a.by, b.by = 0, 0
		return a == b
	}) && slices.Equal(st.settled, other.settled)
}

// hash is the same for equal states.
func (st *state) hash(seed maphash.Seed) uint64 {
	h := maphash.Comparable(seed, [4]int32{st.capacity, st.held, st.ghosts, int32(st.seq)})
	for _, w := range st.workers {
		w.by = 0
		h = h*31 + maphash.Comparable(seed, w)
	}
	for _, s := range st.sessions {
		s.by = 0
		h = h*31 + maphash.Comparable(seed, s)
	}
	return h
}

// model returns the rules as porcupine takes them. step, if not nil, is asked before each
// step whether to go on.
func (l *local) model(goOn func(context.Context, *state) bool) porcupine.Model {
	seed := maphash.MakeSeed()
	return porcupine.Model{
		Init: func() any { return l.st },
		StepContext: func(ctx context.Context, from, in, _ any) (bool, any) {
			st, p := from.(*state), in.(*point)
			if goOn != nil && !goOn(ctx, st) {
				return false, from
			}
			if p.seq > 0 && p.seq < st.seq || p.rank > 0 && p.rank != st.rank+1 {
				return false, from
			}
			next := st.clone()
			if b := l.apply(next, p); b.why != fine {
				return false, from
			}
			next.seq, next.rank = max(next.seq, p.seq), max(next.rank, p.rank)
			return true, next
		},
		Equal: func(a, b any) bool { return a.(*state).equal(b.(*state)) },
		Hash:  func(st any) uint64 { return st.(*state).hash(seed) },
		DescribeOperation: func(in, _ any) string {
			p := in.(*point)
			text := l.h.Ops[p.op].String()
			if p.do == doCloseEnd {
				text += " returns"
			}
			return text
		},
		DescribeState: func(st any) string { return st.(*state).String() },
	}
}

// String says the state in short.
func (st *state) String() string {
	s := fmt.Sprintf("%d out", st.held)
	if st.capacity > 0 {
		s += fmt.Sprintf(" of %d", st.capacity)
	}
	if st.ghosts > 0 {
		s += fmt.Sprintf(", %d more perhaps", st.ghosts)
	}
	if st.closing {
		s += ", closing"
	}
	return s
}

func (l *local) operations() []porcupine.Operation {
	ops := make([]porcupine.Operation, len(l.points))
	for i := range l.points {
		p := &l.points[i]
		ops[i] = porcupine.Operation{
			ClientId: max(0, l.h.Ops[p.op].Client-1), Input: p, Call: int64(p.lo), Return: int64(p.hi),
		}
	}
	return ops
}

// porcupine searches the points of l for an order. It returns the order, or the first point
// that cannot follow the longest order found and the rule that it would break. When the
// budget is spent it says so in s.why.
func (s *search) porcupine(l *local) (order []int, b breach, p *point) {
	each := int64(len(l.points)/8) + l.st.bytes()
	goOn := func(context.Context, *state) bool {
		s.spent.Bytes += each // every step is remembered, at most
		return s.spend()
	}
	result, info := porcupine.CheckOperationsVerbose(l.model(goOn), l.operations(), 0)
	if s.why != "" {
		return nil, breach{}, nil
	}
	for _, partial := range info.PartialLinearizations()[0] {
		if len(partial) > len(order) {
			order = partial
		}
	}
	if result == porcupine.Ok {
		return order, breach{}, nil
	}
	b, p = l.stuck(order)
	return nil, b, p
}

// stuck plays an order that cannot be continued and returns the point that had to come next
// first of all, and the rule that it breaks.
func (l *local) stuck(order []int) (breach, *point) {
	done := make([]bool, len(l.points))
	st := l.st.clone()
	for _, i := range order {
		l.apply(st, &l.points[i])
		st.seq = max(st.seq, l.points[i].seq)
		done[i] = true
	}
	l.st = st
	next := -1
	for i := range l.points {
		if !done[i] && (next < 0 || l.points[i].hi < l.points[next].hi) {
			next = i
		}
	}
	p := &l.points[next]
	if p.seq > 0 && p.seq < st.seq {
		return broken(whyTime, none), p
	}
	return l.apply(st.clone(), p), p
}

// whole returns all points of a history as one window.
func (x *index) whole() *local {
	return &local{index: x, points: x.points, st: x.start()}
}

// Porcupine returns the history as porcupine takes it: one model of the whole pool, and
// the calls. A check of it knows nothing of what the other judges conclude, and its time
// grows fast with the number of calls under way at once; porcupine's Visualize draws it.
// It returns an error if the history's form is wrong.
func Porcupine(h *History) (porcupine.Model, []porcupine.Operation, error) {
	if err := checkForm(h); err != nil {
		return porcupine.Model{}, nil, err
	}
	l := newIndex(h).whole()
	return l.model(nil), l.operations(), nil
}
