package fallback_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/fallback"
)

// The reference: what the package comment promises, written down once more. Calls are
// told to it one at a time, with what every layer would answer; it knows no clock but the
// one that it is given.

// answer is how a fake layer answers an acquire.
type answer int

const (
	grants answer = iota
	closed
	saturated
	failsToStart
	timesOut
	lost
	limited
	odd   // an error that no pool returns
	hangs // until the caller's context ends
	blowsUp
)

func (a answer) String() string {
	return [...]string{"grants", "closed", "saturated", "fails to start", "times out", "lost", "limited", "odd", "hangs", "blows up"}[a]
}

// ending is how a caller's function ends.
type ending int

const (
	returnsNil ending = iota
	returnsError
	returnsBroken
	panics
	exits
	isCancelled // and the worker broke under it
)

func (e ending) String() string {
	return [...]string{"nil", "error", "broken", "panic", "goexit", "cancelled"}[e]
}

// result is what a call comes to, as far as the model says.
type result struct {
	layer  string
	from   string // it moved from there
	passed string
	class  string // of the error
	ran    string // the layers whose workers the function ran on
}

type modelCall struct {
	session  string
	layer    int
	epoch    int
	permit   *modelPermit
	outcome  result
	finished bool
}

type modelPermit struct {
	b     *modelBreaker
	life  int
	at    time.Duration
	freed bool
	over  bool
}

type modelBreaker struct {
	fallback.Breaker
	state    fallback.State
	life     int // counts the changes of state
	since    time.Duration
	inRow    int
	results  []modelResult
	probes   []*modelPermit // of this life
	wins     int
	occupied int // places taken by probes that succeeded in time
	changes  []string
}

type modelResult struct {
	at     time.Duration // when the call was admitted
	failed bool
}

func (b *modelBreaker) become(s fallback.State, now time.Duration) {
	b.changes = append(b.changes, fmt.Sprintf("%v to %v", b.state, s))
	life := b.life + 1
	*b = modelBreaker{Breaker: b.Breaker, state: s, life: life, since: now, changes: b.changes}
}

// look lets time have its effect.
func (b *modelBreaker) look(now time.Duration) {
	if b.state == fallback.Open && now-b.since >= b.OpenFor {
		b.become(fallback.HalfOpen, now)
	}
}

func (b *modelBreaker) admit(now time.Duration) (*modelPermit, string) {
	b.look(now)
	x := &modelPermit{b: b, life: b.life, at: now}
	switch b.state {
	case fallback.Open:
		return nil, "breaker open"
	case fallback.HalfOpen:
		taken := b.occupied
		for _, p := range b.probes {
			p.freed = p.freed || now-p.at >= b.ProbeTimeout
			if !p.freed && !p.over {
				taken++
			}
		}
		if taken >= b.Probes {
			return nil, "probes out"
		}
		b.probes = append(b.probes, x)
	}
	return x, ""
}

// judge takes an outcome: +1 success, -1 failure, 0 neither.
func (x *modelPermit) judge(v int, now time.Duration) {
	b := x.b
	b.look(now)
	x.over = true
	if x.life != b.life || v == 0 {
		return
	}
	if b.state == fallback.HalfOpen {
		if v < 0 {
			b.become(fallback.Open, now)
			return
		}
		b.wins++
		if !x.freed {
			b.occupied++
		}
		if b.wins >= b.Probes {
			b.become(fallback.Closed, now)
		}
		return
	}
	b.inRow++
	if v > 0 {
		b.inRow = 0
	}
	b.results = append(b.results, modelResult{x.at, v < 0})
	if v < 0 && b.trips(now) {
		b.become(fallback.Open, now)
	}
}

func (b *modelBreaker) trips(now time.Duration) bool {
	if b.FailureRatio == 0 {
		return b.inRow >= b.FailuresInRow
	}
	slice := b.Window / 10
	calls, failed := 0, 0
	for _, r := range b.results {
		if (now-b.since)/slice-(r.at-b.since)/slice < 10 {
			calls++
			if r.failed {
				failed++
			}
		}
	}
	return calls >= b.MinCalls && float64(failed)/float64(calls) >= b.FailureRatio
}

type modelSession struct {
	layer  int
	epoch  int
	leases int
	rest   time.Duration
}

type model struct {
	cfg      fallback.Config[worker]
	now      time.Duration
	breakers []*modelBreaker
	answers  []answer
	sessions map[string]*modelSession
	epochs   int
	told     []string // EndSession that pools must have got, in order
}

func newModel(cfg fallback.Config[worker]) *model {
	m := &model{cfg: cfg, answers: make([]answer, len(cfg.Layers)), sessions: map[string]*modelSession{}}
	for _, l := range cfg.Layers {
		m.breakers = append(m.breakers, &modelBreaker{Breaker: l.Breaker})
	}
	return m
}

func (m *model) name(layer int) string { return m.cfg.Layers[layer].Name }

// settle lets time have its effect on everything.
func (m *model) settle() {
	for id, s := range m.sessions {
		if m.cfg.SessionTTL > 0 && s.leases == 0 && m.now-s.rest >= m.cfg.SessionTTL {
			m.unbind(id)
		}
	}
	for _, b := range m.breakers {
		b.look(m.now)
	}
}

func (m *model) unbind(id string) {
	m.told = append(m.told, m.name(m.sessions[id].layer)+" "+id)
	delete(m.sessions, id)
}

func (m *model) endSession(id string) {
	if m.sessions[id] != nil {
		m.unbind(id)
	}
}

// begin says whom a call reaches, given that the layers in left must not be asked.
// It returns a call that is finished if that is nobody.
func (m *model) begin(id string, left []int, passed string, done bool) *modelCall {
	refuse := func(class string) *modelCall {
		return &modelCall{outcome: result{passed: passed, class: class}, finished: true}
	}
	s := m.sessions[id]
	if done {
		return refuse("cancelled")
	}
	if id != "" && s == nil && m.cfg.MaxSessions > 0 && len(m.sessions) >= m.cfg.MaxSessions {
		return refuse("limited")
	}
	order := make([]int, 0, len(m.breakers))
	if s != nil {
		order = append(order, s.layer)
	}
	for i := range m.breakers {
		if s == nil || i != s.layer {
			order = append(order, i)
		}
	}
	for _, layer := range order {
		if slices.Contains(left, layer) {
			continue
		}
		here := s != nil && s.layer == layer
		permit, why := m.breakers[layer].admit(m.now)
		if permit != nil {
			if s != nil && s.leases == 0 {
				s.rest = m.now
			}
			switch m.answers[layer] {
			case grants:
				return m.grant(id, layer, permit, passed)
			case lost, limited, odd:
				permit.judge(0, m.now)
				return refuse(m.answers[layer].String())
			case hangs:
				permit.judge(0, m.now)
				return refuse("cancelled")
			case closed:
				why = "pool closed"
				permit.judge(-1, m.now)
			case saturated:
				why = "saturated"
				permit.judge(0, m.now)
			case failsToStart:
				why = "start failed"
				permit.judge(-1, m.now)
			case timesOut:
				why = "acquire timeout"
				if here {
					permit.judge(0, m.now)
				} else {
					permit.judge(-1, m.now)
				}
			}
		}
		passed += m.name(layer) + ": " + why + "; "
		busy := why == "saturated" || why == "acquire timeout"
		if here && (m.cfg.Affinity == pool.Strict || m.cfg.Affinity == pool.Sticky && busy) {
			return refuse("held")
		}
	}
	return refuse("exhausted")
}

func (m *model) grant(id string, layer int, permit *modelPermit, passed string) *modelCall {
	c := &modelCall{session: id, layer: layer, permit: permit, outcome: result{layer: m.name(layer), passed: passed}}
	if id == "" {
		return c
	}
	s := m.sessions[id]
	if s == nil || s.layer != layer {
		if s != nil {
			c.outcome.from = m.name(s.layer)
			m.unbind(id)
		}
		m.epochs++
		s = &modelSession{layer: layer, epoch: m.epochs}
		m.sessions[id] = s
	}
	s.leases++
	c.epoch = s.epoch
	return c
}

// finish ends a call that reached a worker, and says whether the worker broke.
func (m *model) finish(c *modelCall, how ending) (broke bool) {
	v := 0
	switch how {
	case returnsNil:
		v = 1
	case returnsError:
		c.outcome.class = "error"
		if m.cfg.Broken != nil {
			v = 1
		}
	case returnsBroken:
		c.outcome.class = "broken"
		v = -1
	case panics, exits:
		c.outcome.class = how.String()
		v = -1
	case isCancelled:
		c.outcome.class = "broken"
	}
	c.permit.judge(v, m.now)
	c.outcome.ran += c.outcome.layer + " "
	if s := m.sessions[c.session]; c.session != "" && s != nil && s.epoch == c.epoch {
		s.leases--
		s.rest = m.now
	}
	c.finished = true
	return how == returnsBroken
}

// call is a whole call.
func (m *model) call(id string, how []ending, idempotent, done bool) result {
	var last result // of the function's runs
	var left []int
	c := m.begin(id, nil, "", done)
	for {
		if c.finished {
			c.outcome.layer, c.outcome.from, c.outcome.ran = last.layer, last.from, last.ran
			if last.ran != "" {
				c.outcome.class += " after broken"
			}
			return c.outcome
		}
		broke := m.finish(c, how[len(left)])
		c.outcome.ran = last.ran + c.outcome.ran
		if !broke || !idempotent || id != "" && m.cfg.Affinity == pool.Strict {
			return c.outcome
		}
		last = c.outcome
		left = append(left, c.layer)
		c = m.begin(id, left, c.outcome.passed+m.name(c.layer)+": worker broke; ", false)
	}
}
