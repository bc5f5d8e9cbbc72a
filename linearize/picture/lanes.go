package picture

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/poolproof/poolproof/linearize"
)

// lane is a row of the picture, or several where things overlap.
type lane struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	Short string `json:"short"`
	Main  bool   `json:"main"` // something marked has to do with it
	Rows  int    `json:"rows"`
	Items []item `json:"items"`
}

// item is something drawn in a lane.
type item struct {
	What string `json:"what"` // "call", "lease", "hold", "change", "fault"
	Of   int    `json:"of"`   // the index of its call, change or fault in the scene
	From int64  `json:"from"`
	To   int64  `json:"to"`
	// A lease is possible from the call of its acquire to the return of what ends it; it is
	// certain from the return of the one to the call of the other, or without end.
	Sure []int64 `json:"sure,omitempty"`
	Open bool    `json:"open,omitempty"` // it has no end
	Row  int     `json:"row"`
}

// The groups of lanes, from top to bottom.
const (
	groupPool     = "pool"
	groupFaults   = "faults"
	groupClients  = "clients"
	groupWorkers  = "workers"
	groupSessions = "sessions"
)

// maxRows bounds the rows of a lane; what overlaps even more is drawn in the last one.
const maxRows = 8

// laneKey tells lanes apart.
type laneKey struct {
	group  int // index into groupOrder
	number uint64
	name   string
}

var groupOrder = [...]string{groupFaults, groupPool, groupClients, groupWorkers, groupSessions}

// layout collects the items of lanes.
type layout struct {
	sel   *selection
	lanes map[laneKey]*lane
	none  bool // nothing is marked: every lane is a main one
}

// newLanes lays out what is selected.
func newLanes(h *linearize.History, s *selection, freedBy map[int]*linearize.Op) []lane {
	l := &layout{sel: s, lanes: map[laneKey]*lane{}, none: len(s.marks) == 0}
	for at, i := range s.calls {
		l.call(&h.Ops[i], at, freedBy[h.Ops[i].ID])
	}
	for at, i := range s.changes {
		l.change(&h.Changes[i], at)
	}
	for at, i := range s.faults {
		f := &h.Faults[i]
		it := item{What: "fault", Of: at, From: int64(f.From), To: int64(f.To)}
		l.faults().add(it)
		if f.Worker != 0 {
			l.worker(f.Worker).add(it)
		}
	}
	keys := make([]laneKey, 0, len(l.lanes))
	for k := range l.lanes {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b laneKey) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.number, b.number), cmp.Compare(a.name, b.name))
	})
	lanes := make([]lane, len(keys))
	for i, k := range keys {
		l.lanes[k].pack()
		lanes[i] = *l.lanes[k]
	}
	return lanes
}

// lane returns the lane for k, which is a new one if there is none.
func (l *layout) lane(k laneKey, name, short string, main bool) *lane {
	if l.lanes[k] == nil {
		l.lanes[k] = &lane{Group: groupOrder[k.group], Name: name, Short: short, Main: main || l.none}
	}
	return l.lanes[k]
}

func (l *layout) faults() *lane { return l.lane(laneKey{group: 0}, "faults", "faults", true) }
func (l *layout) pool() *lane   { return l.lane(laneKey{group: 1}, "pool", "pool", true) }

func (l *layout) client(n int) *lane {
	return l.lane(laneKey{group: 2, number: uint64(n)}, fmt.Sprintf("client %d", n), fmt.Sprintf("c%d", n), l.sel.names.clients[n])
}

func (l *layout) worker(n uint64) *lane {
	return l.lane(laneKey{group: 3, number: n}, fmt.Sprintf("worker %d", n), fmt.Sprintf("w%d", n), l.sel.names.workers[n])
}

func (l *layout) session(s string) *lane {
	return l.lane(laneKey{group: 4, name: s}, "session "+strconv.Quote(clip(s)), clip(s), l.sel.names.sessions[s])
}

func (l *lane) add(i item) { l.Items = append(l.Items, i) }

// call draws o: in the lane of its client, and what it means to a worker, a session or the
// pool in theirs.
func (l *layout) call(o *linearize.Op, at int, freedBy *linearize.Op) {
	it := item{What: "call", Of: at, From: int64(o.Call), To: int64(o.Return), Open: o.Outcome == linearize.NoAnswer}
	l.client(o.Client).add(it)
	switch {
	case o.Outcome == linearize.Granted:
		lease := leaseItem(o, at, freedBy)
		l.worker(o.Worker).add(lease)
		if o.Session != "" {
			l.session(o.Session).add(lease)
		}
		lease.What = "hold"
		l.client(o.Client).add(lease)
	case o.Acquires() && o.Session != "", o.Kind == linearize.EndSession:
		l.session(o.Session).add(it)
	case o.Kind == linearize.Retire:
		l.worker(o.Worker).add(it)
	case o.Kind == linearize.Resize || o.Closes():
		l.pool().add(it)
	}
}

// leaseItem draws the lease that o was granted.
func leaseItem(o *linearize.Op, at int, freedBy *linearize.Op) item {
	it := item{What: "lease", Of: at, From: int64(o.Call), To: int64(o.Return), Sure: []int64{int64(o.Return)}}
	if freedBy == nil {
		it.Open = true
		return it
	}
	until := max(o.Return, freedBy.Call)
	it.Sure = append(it.Sure, int64(until))
	it.To = int64(max(until, freedBy.Return))
	it.Open = freedBy.Outcome == linearize.NoAnswer
	return it
}

// change draws c where no call says the same, or if it is marked.
func (l *layout) change(c *linearize.Change, at int) {
	it := item{What: "change", Of: at, From: int64(c.At), To: int64(c.At)}
	marked := l.sel.seqs[c.Seq] > 0
	switch c.Kind {
	case linearize.Resized, linearize.ClosingBegun, linearize.ClosingEnded:
		l.pool().add(it)
	case linearize.SessionGone, linearize.SessionEnded, linearize.SessionBound:
		l.session(c.Session).add(it)
	case linearize.WorkerStarting, linearize.WorkerStarted, linearize.WorkerStartFailed, linearize.WorkerStopping,
		linearize.WorkerStopped, linearize.LeaseRevoked:
		l.worker(c.Worker).add(it)
	default:
		switch {
		case !marked && c.Kind != linearize.CheckBegun && c.Kind != linearize.CheckEnded:
		case c.Worker != 0:
			l.worker(c.Worker).add(it)
		case c.Session != "":
			l.session(c.Session).add(it)
		default:
			l.pool().add(it)
		}
	}
}

// extent returns what of i is kept free of others in its row.
func (i *item) extent() (from, to int64) {
	switch {
	case len(i.Sure) == 2:
		return i.Sure[0], i.Sure[1]
	case len(i.Sure) == 1:
		return i.Sure[0], math.MaxInt64
	case i.Open:
		return i.From, math.MaxInt64
	}
	return i.From, i.To
}

// pack puts the items of a lane in order of time, and into rows in which none overlap.
func (l *lane) pack() {
	slices.SortStableFunc(l.Items, func(a, b item) int {
		af, _ := a.extent()
		bf, _ := b.extent()
		return cmp.Compare(af, bf)
	})
	var ends []int64
	for n := range l.Items {
		i := &l.Items[n]
		from, to := i.extent()
		if i.What == "change" || i.What == "hold" {
			continue // thin: drawn over and under the others
		}
		row := 0
		for row < len(ends) && row < maxRows-1 && ends[row] > from {
			row++
		}
		if row == len(ends) {
			ends = append(ends, to)
		}
		ends[row] = max(ends[row], to)
		i.Row = row
	}
	l.Rows = max(1, len(ends))
}
