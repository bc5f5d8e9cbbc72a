package picture

import (
	"strconv"
	"time"

	"github.com/poolproof/poolproof/linearize"
)

// scene is what the page's script draws. Times are nanoseconds.
type scene struct {
	Calls   []call   `json:"calls"`
	Changes []change `json:"changes"`
	Faults  []fault  `json:"faults"`
	Lanes   []lane   `json:"lanes"`
	From    int64    `json:"from"` // the time that the page covers
	To      int64    `json:"to"`
	Marks   []int64  `json:"marks"` // from and to of what is marked; none: nothing is
}

// number is a number of up to 64 bits, which JavaScript would round.
type number uint64

func (n number) MarshalJSON() ([]byte, error) {
	const exact = 1 << 53
	if n < exact {
		return strconv.AppendUint(nil, uint64(n), 10), nil
	}
	return strconv.AppendQuote(nil, strconv.FormatUint(uint64(n), 10)), nil
}

// call is an Op.
type call struct {
	ID      int    `json:"id"`
	Mark    int    `json:"mark,omitempty"` // its number among what is marked
	Client  int    `json:"client"`
	Kind    string `json:"kind"`
	Outcome string `json:"outcome"`
	Session string `json:"session,omitempty"`
	From    int64  `json:"from"`
	To      int64  `json:"to,omitempty"`
	Open    bool   `json:"open,omitempty"` // it has no answer, and To no meaning
	Parked  int64  `json:"parked,omitempty"`
	Worker  number `json:"worker,omitempty"`
	Token   number `json:"token,omitempty"`
	Fresh   bool   `json:"fresh,omitempty"`
	Ended   bool   `json:"ended,omitempty"`
	Seq     number `json:"seq,omitempty"`
	Lease   int    `json:"lease,omitempty"`
	FreedBy int    `json:"freedBy,omitempty"` // the op that gave the lease back
	Max     int    `json:"max,omitempty"`
}

// change is a Change.
type change struct {
	Seq     number `json:"seq"`
	Mark    int    `json:"mark,omitempty"`
	At      int64  `json:"at"`
	Kind    string `json:"kind"`
	Outcome string `json:"outcome,omitempty"`
	Worker  number `json:"worker,omitempty"`
	Token   number `json:"token,omitempty"`
	Session string `json:"session,omitempty"`
	Fresh   bool   `json:"fresh,omitempty"`
}

// fault is a Fault.
type fault struct {
	Kind   string `json:"kind"`
	From   int64  `json:"from"`
	To     int64  `json:"to"`
	Worker number `json:"worker,omitempty"`
	Ends   bool   `json:"ends,omitempty"`
	Text   string `json:"text,omitempty"`
}

// clip shortens s to what a page shows of a text.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	n := 0
	for i := range s {
		if n++; n == maxText {
			return s[:i] + "…"
		}
	}
	return s
}

// newScene returns what is drawn of a history.
func newScene(h *linearize.History, s *selection) *scene {
	sc := &scene{Calls: []call{}, Changes: []change{}, Faults: []fault{}, Lanes: []lane{}}
	freedBy := freed(h, s)
	for _, i := range s.calls {
		o := &h.Ops[i]
		c := call{
			ID: o.ID, Mark: s.ops[o.ID], Client: o.Client, Kind: o.Kind.String(), Outcome: o.Outcome.String(),
			Session: clip(o.Session), From: int64(o.Call), To: int64(o.Return), Open: o.Outcome == linearize.NoAnswer,
			Parked: int64(o.Parked), Worker: number(o.Worker), Token: number(o.Token), Fresh: o.Fresh, Ended: o.Ended,
			Seq: number(o.Seq), Lease: o.Lease, Max: o.Max,
		}
		if by := freedBy[o.ID]; by != nil {
			c.FreedBy = by.ID
		}
		sc.Calls = append(sc.Calls, c)
	}
	for _, i := range s.changes {
		c := &h.Changes[i]
		drawn := change{
			Seq: number(c.Seq), Mark: s.seqs[c.Seq], At: int64(c.At), Kind: c.Kind.String(),
			Worker: number(c.Worker), Token: number(c.Token), Session: clip(c.Session), Fresh: c.Fresh,
		}
		if c.Outcome != linearize.NoAnswer {
			drawn.Outcome = c.Outcome.String()
		}
		sc.Changes = append(sc.Changes, drawn)
	}
	for _, i := range s.faults {
		f := &h.Faults[i]
		sc.Faults = append(sc.Faults, fault{clip(f.Kind), int64(f.From), int64(f.To), number(f.Worker), f.Ends, clip(f.Text)})
	}
	sc.span(h, s)
	sc.Lanes = newLanes(h, s, freedBy)
	return sc
}

// span finds what times the page covers, and which of them are marked.
func (sc *scene) span(h *linearize.History, s *selection) {
	first := true
	cover := func(from, to time.Duration) {
		if first {
			sc.From, sc.To = int64(from), int64(to)
			first = false
		}
		sc.From, sc.To = min(sc.From, int64(from)), max(sc.To, int64(to))
	}
	for _, i := range s.calls {
		cover(h.Ops[i].Call, max(h.Ops[i].Call, h.Ops[i].Return))
	}
	for _, i := range s.changes {
		cover(h.Changes[i].At, h.Changes[i].At)
	}
	for _, i := range s.faults {
		cover(h.Faults[i].From, h.Faults[i].To)
	}
	for _, m := range s.marks {
		if len(sc.Marks) == 0 {
			sc.Marks = []int64{int64(m.from), int64(m.to)}
		}
		sc.Marks[0], sc.Marks[1] = min(sc.Marks[0], int64(m.from)), max(sc.Marks[1], int64(m.to))
	}
}

// freed finds, for each selected acquire, the op that gives its lease back.
func freed(h *linearize.History, s *selection) map[int]*linearize.Op {
	by := make(map[int]*linearize.Op, len(s.calls))
	for _, i := range s.calls {
		if h.Ops[i].Outcome == linearize.Granted {
			by[h.Ops[i].ID] = nil
		}
	}
	for i := range h.Ops {
		o := &h.Ops[i]
		if first, wanted := by[o.Lease]; wanted && first == nil && o.Frees() {
			by[o.Lease] = o
		}
	}
	return by
}
