package picture

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/poolproof/poolproof/linearize"
)

// A page holds at most so many calls, changes and faults, and so much of any text: a
// browser stays quick, and a file small enough to send.
const (
	maxCalls   = 4000
	maxChanges = 2000
	maxFaults  = 500
	maxMarks   = 200 // of each kind
	maxText    = 200 // characters
)

// interval is a closed piece of time.
type interval struct{ from, to time.Duration }

// nearness tells how far something is from the marked operations.
type nearness struct {
	at []interval // of what is marked, apart from each other and in order; none: the beginning counts
}

func newNearness(at []interval) *nearness {
	slices.SortFunc(at, func(a, b interval) int { return cmp.Compare(a.from, b.from) })
	n := &nearness{}
	for _, i := range at {
		if last := len(n.at) - 1; last >= 0 && i.from <= n.at[last].to {
			n.at[last].to = max(n.at[last].to, i.to)
			continue
		}
		n.at = append(n.at, i)
	}
	return n
}

// gap returns the time between i and the nearest of what is marked, 0 if they touch.
func (n *nearness) gap(i interval) time.Duration {
	if len(n.at) == 0 {
		return i.from
	}
	after, _ := slices.BinarySearchFunc(n.at, i.from, func(m interval, t time.Duration) int { return cmp.Compare(m.from, t) })
	gap := time.Duration(math.MaxInt64)
	if after < len(n.at) {
		gap = max(0, n.at[after].from-i.to)
	}
	if after > 0 {
		gap = min(gap, max(0, i.from-n.at[after-1].to))
	}
	return gap
}

// candidate is something that could be drawn.
type candidate struct {
	index   int
	marked  bool
	related bool // it has a client, worker or session in common with what is marked
	gap     time.Duration
}

// nearest returns the indexes, in order, of limit candidates: the marked ones, then the
// nearest of the related, which may take half of what is left, then the nearest of all.
func nearest(all []candidate, limit int) []int {
	if len(all) > limit {
		byGap := func(a, b candidate) int {
			return cmp.Or(cmp.Compare(a.gap, b.gap), cmp.Compare(a.index, b.index))
		}
		rank := func(c candidate) int {
			switch {
			case c.marked:
				return 0
			case c.related:
				return 1
			}
			return 2
		}
		slices.SortFunc(all, func(a, b candidate) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), byGap(a, b)) })
		marked := 0
		for marked < limit && all[marked].marked {
			marked++
		}
		related := marked
		for related < marked+(limit-marked)/2 && all[related].related {
			related++
		}
		slices.SortFunc(all[related:], byGap)
		all = all[:limit]
	}
	indexes := make([]int, len(all))
	for i, c := range all {
		indexes[i] = c.index
	}
	slices.Sort(indexes)
	return indexes
}

// selection is what of a history a page holds.
type selection struct {
	calls, changes, faults []int          // indexes into the history
	ops                    map[int]int    // the mark of an op by ID, from 1
	seqs                   map[uint64]int // the mark of a change by seq
	marks                  []interval
	names                  *names // of what is marked
}

func setOf[T comparable](list []T) map[T]bool {
	set := make(map[T]bool, len(list))
	for _, e := range list {
		set[e] = true
	}
	return set
}

// choose selects what to draw and numbers what is marked, in order of time.
func choose(h *linearize.History, v *linearize.Verdict) *selection {
	names := newNames()
	s := &selection{ops: map[int]int{}, seqs: map[uint64]int{}, names: names}
	ops, seqs := setOf(v.Ops), setOf(v.Changes)
	for i := range h.Ops {
		o := &h.Ops[i]
		if !ops[o.ID] || len(s.ops) == maxMarks {
			continue
		}
		s.ops[o.ID] = len(s.ops) + 1
		s.marks = append(s.marks, interval{o.Call, max(o.Call, o.Return)})
		names.add(o.Client, o.Worker, o.Session)
	}
	for i := range h.Changes {
		c := &h.Changes[i]
		if !seqs[c.Seq] || s.seqs[c.Seq] == 0 && len(s.seqs) == maxMarks {
			continue
		}
		if s.seqs[c.Seq] == 0 { // one change may be reported in several parts
			s.seqs[c.Seq] = len(s.ops) + len(s.seqs) + 1
		}
		s.marks = append(s.marks, interval{c.At, c.At})
		names.add(0, c.Worker, c.Session)
	}
	near := newNearness(slices.Clone(s.marks))
	all := make([]candidate, 0, len(h.Ops))
	for i := range h.Ops {
		o := &h.Ops[i]
		all = append(all, candidate{
			i, s.ops[o.ID] > 0, names.has(o.Client, o.Worker, o.Session),
			near.gap(interval{o.Call, max(o.Call, o.Return)}),
		})
	}
	s.calls = nearest(all, maxCalls)
	all = all[:0]
	for i := range h.Changes {
		c := &h.Changes[i]
		all = append(all, candidate{i, s.seqs[c.Seq] > 0, names.has(0, c.Worker, c.Session), near.gap(interval{c.At, c.At})})
	}
	s.changes = nearest(all, maxChanges)
	all = all[:0]
	for i := range h.Faults {
		f := &h.Faults[i]
		all = append(all, candidate{i, false, names.has(0, f.Worker, ""), near.gap(interval{f.From, f.To})})
	}
	s.faults = nearest(all, maxFaults)
	return s
}

// names are clients, workers and sessions that marked operations have to do with.
type names struct {
	clients  map[int]bool
	workers  map[uint64]bool
	sessions map[string]bool
}

func newNames() *names {
	return &names{map[int]bool{}, map[uint64]bool{}, map[string]bool{}}
}

// add takes in what is not zero.
func (n *names) add(client int, worker uint64, session string) {
	if client != 0 {
		n.clients[client] = true
	}
	if worker != 0 {
		n.workers[worker] = true
	}
	if session != "" {
		n.sessions[session] = true
	}
}

func (n *names) has(client int, worker uint64, session string) bool {
	return n.clients[client] || n.workers[worker] || n.sessions[session]
}
