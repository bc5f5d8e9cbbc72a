package props

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/poolproof/poolproof/model"
)

// genAsk is what a parent asks of a child.
type genAsk struct {
	Do      string        `json:"do"`                // genSearchIt, genReplayIt or genShrinkIt
	Subtest string        `json:"subtest,omitempty"` // of a search
	Checks  int           `json:"checks,omitempty"`  // of a search; 0: as many as Budget allows
	Seed    uint64        `json:"seed,omitempty"`
	Script  string        `json:"script,omitempty"` // of a replay
	Tries   int           `json:"tries,omitempty"`  // of a replay: under how many drawn schedules, too
	Finding *genWire      `json:"finding,omitempty"`
	Budget  time.Duration `json:"budget,omitempty"` // of a shrinking; 0: as long as it takes
	Real    bool          `json:"real,omitempty"`   // in real time
	Prompt  bool          `json:"prompt,omitempty"` // of a search: no hook is made to wait
	Hasty   bool          `json:"hasty,omitempty"`  // take a debt for a finding sooner
}

// What can be asked.
const (
	genSearchIt = "search"
	genReplayIt = "replay"
	genShrinkIt = "shrink"
)

// genSaid is what a child says: how far it is, or, with Done, its answer.
type genSaid struct {
	Ran     int        `json:"ran,omitempty"` // checks since the ask
	Finding *genWire   `json:"finding,omitempty"`
	Traffic genTraffic `json:"traffic"`
	Done    bool       `json:"done,omitempty"`
	Error   string     `json:"error,omitempty"` // what was asked makes no sense

	Instrumented bool `json:"instrumented,omitempty"` // the pool has points of its own
}

// genWire is a finding on its way between processes.
type genWire struct {
	Rule   string     `json:"rule"`
	Text   string     `json:"text"`
	Debt   bool       `json:"debt,omitempty"`
	Script string     `json:"script"`
	Lines  []wireLine `json:"lines"`
	Stacks string     `json:"stacks,omitempty"`
	Unfit  bool       `json:"unfit,omitempty"`
	Deadly bool       `json:"deadly,omitempty"`
	Seen   int        `json:"seen,omitempty"`
	Tried  int        `json:"tried,omitempty"`
	Checks int        `json:"checks,omitempty"`

	Instrumented bool     `json:"instrumented,omitempty"`
	Preemptions  int      `json:"preemptions,omitempty"`
	Table        string   `json:"table,omitempty"`
	Events       []string `json:"events,omitempty"`
}

// wireLine is one line of a transcript; Op is empty if Text stands in its place.
type wireLine struct {
	Op    string   `json:"op,omitempty"`
	Text  string   `json:"text,omitempty"`
	Tail  bool     `json:"tail,omitempty"`
	Notes []string `json:"notes,omitempty"`
}

// wire returns f to be sent; nil for nil.
func (f *genFinding) wire() *genWire {
	if f == nil {
		return nil
	}
	w := &genWire{
		Rule: f.violation.Rule, Text: f.violation.Text, Debt: f.violation.Debt, Script: f.plain("-"),
		Stacks: f.stacks, Unfit: f.unfit, Deadly: f.deadly, Seen: f.seen, Tried: f.tried, Checks: f.checks,
		Instrumented: f.instrumented, Preemptions: f.preemptions, Table: f.steps(), Events: f.events,
	}
	for _, l := range f.lines {
		wl := wireLine{Text: l.text, Tail: l.tail, Notes: l.notes}
		if l.text == "" {
			wl.Op = l.op.String()
		}
		w.Lines = append(w.Lines, wl)
	}
	return w
}

// finding returns what w stands for; nil for nil.
func (w *genWire) finding() (*genFinding, error) {
	if w == nil {
		return nil, nil
	}
	s, err := parseScript(w.Script)
	if err != nil {
		return nil, fmt.Errorf("script: %w", err)
	}
	f := &genFinding{
		violation: &model.PromiseViolation{Rule: w.Rule, Text: w.Text, Debt: w.Debt},
		ops:       s.ops, stacks: w.Stacks, unfit: w.Unfit, deadly: w.Deadly, seen: w.Seen, tried: w.Tried, checks: w.Checks,
		scheduled: s.scheduled, schedule: s.schedule, racing: s.racing, seed: s.seed,
		instrumented: w.Instrumented, preemptions: w.Preemptions, table: w.Table, events: w.Events,
	}
	for _, wl := range w.Lines {
		l := genLine{text: wl.Text, tail: wl.Tail, notes: wl.Notes}
		if wl.Op != "" {
			if l.op, err = parseGenOp(wl.Op); err != nil {
				return nil, fmt.Errorf("transcript: %w", err)
			}
		}
		f.lines = append(f.lines, l)
	}
	return f, nil
}

// counts lists the traffic's counters.
func (t *genTraffic) counts() []*int {
	return []*int{
		&t.runs, &t.calls, &t.grants, &t.waits, &t.cancels, &t.creates, &t.failures, &t.gates, &t.closes, &t.known,
		&t.steps, &t.preemptions,
	}
}

// MarshalJSON writes the counters as a list.
func (t genTraffic) MarshalJSON() ([]byte, error) { return json.Marshal(t.counts()) }

// UnmarshalJSON reads what MarshalJSON writes.
func (t *genTraffic) UnmarshalJSON(text []byte) error {
	var list []int
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	counts := t.counts()
	if len(list) != len(counts) {
		return fmt.Errorf("%d counters; want %d", len(list), len(counts))
	}
	for i, n := range counts {
		*n = list[i]
	}
	return nil
}
