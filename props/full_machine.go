package props

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/model"
)

// fullMachine drives a pool and the model in lock step. It keeps all states of the model
// that fit what was seen so far; when none is left, pool and model disagree.
type fullMachine struct {
	target *PoolTarget
	cfg    *model.Config
	steps  []fullStep
	omit   uint32                               // classes of operations that are not drawn
	play   []fullPlay                           // done before the steps: a trace
	guide  fullLeader                           // says what is done before the steps; may be nil
	memory *fullMemo                            // of other runs, to do something else; may be nil
	visit  func(from *model.State, op model.Op) // told what is done from which state; may be nil

	live   *fullRun
	states []model.State
	spare  []model.State
	next   []model.Next
	script fullScript
}

// fullLeader decides what a machine does as it goes.
type fullLeader interface {
	// lead drives m, which has begun, and returns what is wrong.
	lead(m *fullMachine) error
}

func drawFullMachine(t *PoolTarget, rt *rapid.T) fullJudge {
	m := &fullMachine{target: t, cfg: t.config(rt)}
	m.omit = fullDrawOmit(rt)
	m.steps = fullDrawSteps(rt)
	return m
}

// GoString keeps rapid from printing what the report says better.
func (m *fullMachine) GoString() string { return "see the script" }

func (m *fullMachine) length() int { return m.script.length() }

func (m *fullMachine) report() string {
	return fmt.Sprintf("%s\n\nTo replay it, save this in testdata/traces and run go test ./props -run TestTraces.\ntrace:\n%s", m.script.columns(m.cfg.Clients), m.script.trace(m.cfg))
}

func (m *fullMachine) run() (err error) {
	if err := m.open(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			m.live.abandon()
		}
	}()
	if err := m.begin(); err != nil {
		return err
	}
	for _, play := range m.play {
		if err := m.step(play.op, play.variant); err != nil {
			return err
		}
	}
	if m.guide != nil {
		if err := m.guide.lead(m); err != nil {
			return err
		}
	}
	chooser := m.target.chooser()
	var possible []model.Op
	for _, step := range m.steps {
		possible = model.Ops(m.cfg, &m.states[0], possible[:0])
		possible = m.live.harmless(possible, m.cfg.Sessions)
		if m.memory != nil && step.variant > 0 {
			possible = m.memory.prefer(&m.states[0], possible)
		}
		op, ok := chooser.choose(step, possible, m.omit)
		if !ok {
			break
		}
		if err := m.step(op, step.variant); err != nil {
			return err
		}
	}
	return m.live.finish()
}

// open opens the pool.
func (m *fullMachine) open() (err error) {
	m.script.lines = m.script.lines[:0]
	tick, clock := fullTick, m.target.clock()
	if real, ok := clock.(*fullReal); ok {
		tick = fullForever // nothing that waits for time happens
		real.allowed = nil
	}
	m.live, err = fullOpen(m.target, m.cfg, tick, clock)
	return err
}

// begin compares what New did.
func (m *fullMachine) begin() error {
	r := m.live
	r.clock.rest(r)
	r.collect()
	m.script.add(fullPlay{}, r.seen)
	if err := r.settled(); err != nil {
		return err
	}
	return m.judge(model.Op{})
}

// step does one operation on both sides.
func (m *fullMachine) step(op model.Op, variant uint8) error {
	r := m.live
	m.expect(op)
	if m.visit != nil && op.Kind <= model.OpTick {
		m.visit(&m.states[0], op)
	}
	if m.memory != nil && op.Kind <= model.OpTick {
		m.memory.did(&m.states[0], op)
	}
	err := r.do(op, variant)
	m.script.add(fullPlay{op, variant}, r.seen)
	if err != nil {
		return err
	}
	if op.Kind > model.OpTick {
		return nil
	}
	return m.judge(op)
}

// expect tells a clock of real time what rest will look like.
func (m *fullMachine) expect(op model.Op) {
	real, ok := m.live.clock.(*fullReal)
	if !ok {
		return
	}
	real.allowed = func(seen []model.Event) bool {
		if op.Kind > model.OpTick {
			return len(seen) > 0 || op.Kind == fullOpAgain
		}
		got, ok := model.EventsOf(seen...)
		return ok && len(m.follow(nil, op, &got)) > 0
	}
}

// judge follows the model through op and what was seen.
func (m *fullMachine) judge(op model.Op) error {
	seen := m.live.seen
	to := m.spare[:0]
	got, ok := model.EventsOf(seen...)
	if ok && op.Kind == model.OpNone {
		if next := model.Initial(m.cfg); next.Events == got {
			to = append(to, next.State)
		}
	}
	if ok && op.Kind != model.OpNone {
		to = m.follow(to, op, &got)
	}
	if len(to) == 0 {
		return m.mismatch(op)
	}
	m.states, m.spare = to, m.states
	return nil
}

// follow appends the states in which op can end if it shows what was seen.
func (m *fullMachine) follow(to []model.State, op model.Op, seen *model.Events) []model.State {
	for i := range m.states {
		m.next = model.AppendStep(m.next[:0], m.cfg, &m.states[i], op)
		for j := range m.next {
			if n := &m.next[j]; n.Events == *seen && !slices.Contains(to, n.State) {
				to = append(to, n.State)
			}
		}
	}
	return to
}

// mismatch says what the model would have expected.
func (m *fullMachine) mismatch(op model.Op) error {
	if op.Kind == model.OpNone {
		next := model.Initial(m.cfg)
		return fmt.Errorf("I5: a new pool shows %s, want %s", fullEventTexts(m.live.seen), fullEventTexts(next.Events.All()))
	}
	_, mismatch := model.Follow(m.cfg, m.states, op, m.live.seen)
	rules := strings.Join(mismatch.Rules, " ")
	if rules == "" {
		rules = "I4"
	}
	return fmt.Errorf("%s: %w", rules, mismatch)
}
