package model

import (
	"fmt"
	"strings"
	"time"
)

// Bounds limit an exploration. Zero is no limit.
type Bounds struct {
	MaxStates int // stop when that many are known
	MaxDepth  int // do not go on from states that many operations away
}

// Report is the result of an exploration.
type Report struct {
	States      int // up to renaming of workers, sessions and clients
	Transitions int // ways to go on from them; of clients and sessions that are alike, one acts
	Depth       int // operations from the new pool to the farthest state
	BoundHit    bool
	Bytes       int // memory for the states
	Search      time.Duration
	Progress    time.Duration // for the search for stuck waiters; none if a bound was hit

	Counterexample *Counterexample // nil if all is well
}

// StatesPerSecond is the speed of the search.
func (r *Report) StatesPerSecond() float64 { return float64(r.States) / r.Search.Seconds() }

// TransitionsPerSecond is the speed of the search.
func (r *Report) TransitionsPerSecond() float64 { return float64(r.Transitions) / r.Search.Seconds() }

// String writes the report on one line, and the counterexample after it.
func (r *Report) String() string {
	text := fmt.Sprintf("%d states, %d transitions, depth %d, %.2f M states/s, %.2f M transitions/s, %.0f bytes a state, progress in %v",
		r.States, r.Transitions, r.Depth, r.StatesPerSecond()/1e6, r.TransitionsPerSecond()/1e6,
		float64(r.Bytes)/float64(r.States), r.Progress.Round(time.Millisecond))
	if r.BoundHit {
		text += ", bound hit"
	}
	if r.Counterexample != nil {
		text += "\n" + r.Counterexample.String()
	}
	return text
}

// Counterexample is a shortest way to a broken promise.
type Counterexample struct {
	Err    error
	Script []ScriptStep // the first one is the making of the pool
}

// ScriptStep is an operation and what it shows.
type ScriptStep struct {
	Op     Op // OpNone: the pool is made
	Events []Event
}

// String writes the script as trace files have it, then what is wrong.
func (c *Counterexample) String() string {
	var b strings.Builder
	for _, step := range c.Script {
		if step.Op.Kind != OpNone {
			fmt.Fprintln(&b, step.Op)
		} else {
			fmt.Fprintln(&b, "new")
		}
		fmt.Fprintln(&b, "----")
		for _, e := range step.Events {
			fmt.Fprintln(&b, e)
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprintf(&b, "%v", c.Err)
	return b.String()
}

// Explore visits every state that a pool with cfg can reach, breadth first, and checks each
// with [Check]. Then it looks for states from which waiters cannot all be served, by
// nothing more than releases, hooks that succeed, and time. The first broken promise ends
// the search. An error means that cfg cannot be explored.
func Explore(cfg *Config, bounds Bounds) (*Report, error) {
	x, err := newExplorer(cfg, bounds)
	if err != nil {
		return nil, err
	}
	return x.run(), nil
}

// explorer is a search in progress.
type explorer struct {
	cfg    *Config
	bounds Bounds
	layout *layout
	known  *store
	m      machine
	report Report
	nexts  []Next
	ops    []Op
	key    key
	visit  func(n int, s *State, ops []Op) // unless nil, called for each state
	lead   func(op Op, to int)             // unless nil, called for each way on from it
}

func newExplorer(cfg *Config, bounds Bounds) (*explorer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l, err := newLayout(cfg)
	if err != nil {
		return nil, err
	}
	x := &explorer{cfg: cfg, bounds: bounds, layout: l, known: newStore(l.words)}
	x.m = machine{cfg: cfg, quiet: true}
	return x, nil
}

func (x *explorer) run() *Report {
	begun := time.Now()
	x.search()
	x.report.Search = time.Since(begun)
	if x.report.Counterexample == nil && !x.report.BoundHit {
		begun = time.Now()
		x.checkProgress()
		x.report.Progress = time.Since(begun)
	}
	x.report.States, x.report.Bytes = x.known.n, x.known.bytes()
	return &x.report
}

func (x *explorer) search() {
	start := Initial(x.cfg).State
	first := x.layout.pack(&start)
	x.known.add(&first, 0)
	if err := Check(x.cfg, &start); err != nil {
		x.fail(err, 0, nil)
		return
	}
	level := 1 // states before it are at most Depth operations away
	for n := 0; n < x.known.n; n++ {
		if n == level {
			level = x.known.n
			x.report.Depth++
		}
		if x.bounds.MaxDepth > 0 && x.report.Depth >= x.bounds.MaxDepth ||
			x.bounds.MaxStates > 0 && x.known.n >= x.bounds.MaxStates {
			x.report.BoundHit = true
			return
		}
		if !x.expand(n) {
			return
		}
	}
}

// expand visits what follows from state n; false if that breaks a promise.
func (x *explorer) expand(n int) bool {
	k := x.known.at(n)
	s := x.layout.unpack(&k)
	x.ops = x.layout.ops(&s, x.ops[:0])
	if x.visit != nil {
		x.visit(n, &s, x.ops)
	}
	for _, op := range x.ops {
		if x.m.single(&s, op) {
			if !x.take(n, &s, &x.m.s, op) {
				return false
			}
			continue
		}
		x.nexts = x.m.appendStep(x.nexts[:0], &s, op)
		for i := range x.nexts {
			if !x.take(n, &s, &x.nexts[i].State, op) {
				return false
			}
		}
	}
	return true
}

// take adds a transition from s, which has number n, to t; false if it breaks a promise.
func (x *explorer) take(n int, s, t *State, op Op) bool {
	x.report.Transitions++
	if *t == *s {
		x.leads(op, n)
		return true
	}
	x.layout.packInto(t, &x.key)
	err := checkStep(x.cfg, s, t, op)
	to, isNew := x.known.add(&x.key, n)
	if isNew && err == nil {
		err = Check(x.cfg, t)
	}
	x.leads(op, to)
	if err != nil {
		x.fail(err, n, &x.key)
		return false
	}
	return true
}

func (x *explorer) leads(op Op, to int) {
	if x.lead != nil {
		x.lead(op, to)
	}
}

// fail reports a broken promise in the state with key k, reached from state n.
func (x *explorer) fail(err error, n int, k *key) {
	keys := x.keysTo(n)
	if k != nil {
		keys = append(keys, *k)
	}
	x.report.Counterexample = x.script(keys, err)
}

// keysTo returns the keys of the states on a shortest way to state n.
func (x *explorer) keysTo(n int) []key {
	keys := []key{x.known.at(n)}
	for n != 0 {
		n = int(x.known.came[n])
		keys = append(keys, x.known.at(n))
	}
	for i, j := 0, len(keys)-1; i < j; i, j = i+1, j-1 {
		keys[i], keys[j] = keys[j], keys[i]
	}
	return keys
}

// script finds operations that lead along the states with the given keys, with the same
// names throughout. The error is told in these names too, if it can be.
func (x *explorer) script(keys []key, err error) *Counterexample {
	at := Initial(x.cfg)
	c := &Counterexample{Err: err, Script: []ScriptStep{{Events: at.Events.All()}}}
	for i := range keys[1:] {
		op, next := x.towards(&at.State, &keys[i+1])
		broken := checkStep(x.cfg, &at.State, &next.State, op)
		at = next
		if broken == nil {
			broken = Check(x.cfg, &at.State)
		}
		if broken != nil {
			c.Err = broken
		}
		c.Script = append(c.Script, ScriptStep{Op: op, Events: at.Events.All()})
	}
	return c
}

// towards finds an operation that leads from s to a state with key k.
func (x *explorer) towards(s *State, k *key) (Op, Next) {
	m := machine{cfg: x.cfg}
	for _, op := range Ops(x.cfg, s, nil) {
		for _, next := range m.appendStep(nil, s, op) {
			if x.layout.pack(&next.State) == *k {
				return op, next
			}
		}
	}
	panic("model: a state is not reached as the explorer reached it")
}

// ops is [Ops] without what differs only by the names of clients and sessions: of those
// clients that are out, and of those that hold revoked leases, the first acts; of the
// sessions that are unknown, the first is used.
func (l *layout) ops(s *State, dst []Op) []Op {
	var done [clientRevoked + 1]bool
	sessions := 0
	for sessions < l.cfg.Sessions && s.sessions[sessions].status != sessionUnknown {
		sessions++
	}
	sessions = min(sessions+1, l.cfg.Sessions)
	for i := range l.cfg.Clients {
		p := s.clients[i].phase
		if alike := p == clientOut || p == clientRevoked; alike && done[p] {
			continue
		}
		done[p] = true
		dst = appendClientOps(dst, l.cfg, s, Client(i+1), sessions)
	}
	for i := range s.live {
		dst = appendWorkerOps(dst, l.cfg, &s.workers[i])
	}
	return appendCommonOps(dst, l.cfg, s, sessions)
}
