package props

import (
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/model"
)

// conformTries bounds how often a finding is run again to make it shorter.
const conformTries = 2000

// conformTrail leads a machine through steps on the graph, each in the names that its state
// has by then, and stops where the pool goes elsewhere.
type conformTrail struct {
	c     *conformer
	steps []conformStep
}

func (s *conformTrail) lead(m *fullMachine) error {
	for _, step := range s.steps {
		at, err := s.c.place(m)
		if err != nil {
			return err
		}
		if at.state != step.state {
			return nil
		}
		op := step.op
		if step.pair >= 0 {
			at.names.Turn(step.turn)
			op = at.names.Op(s.c.graph.Op(step.pair))
		} else if !slices.Contains(m.live.harmless(nil, m.cfg.Sessions), op) {
			continue
		}
		if err := m.step(op, step.variant); err != nil {
			return err
		}
	}
	return nil
}

// conformScript leads a machine through plays, and leaves out what is not possible when
// its turn comes.
type conformScript struct {
	plays []fullPlay
}

func (s *conformScript) lead(m *fullMachine) error {
	for _, play := range s.plays {
		possible := play.op.Kind <= model.OpTick && model.Enabled(m.cfg, &m.states[0], play.op)
		if play.op.Kind > model.OpTick {
			possible = slices.Contains(m.live.harmless(nil, m.cfg.Sessions), play.op)
		}
		if !possible {
			continue
		}
		if err := m.step(play.op, play.variant); err != nil {
			return err
		}
	}
	return nil
}

// conformShrinker makes the script of a finding shorter.
type conformShrinker struct {
	c     *conformer
	t     *testing.T
	rules []string
	tries int

	best   []fullPlay // what was done until err showed
	err    error
	report string
}

// explain turns what a walk has found into a finding, with a script as short as can be.
func (c *conformer) explain(t *testing.T, m *fullMachine, err error) *Finding {
	s := &conformShrinker{c: c, t: t, rules: strings.Fields(fullRule(err))}
	s.keep(m, err)
	s.shorten()
	s.shrink()
	message, _, _ := strings.Cut(s.err.Error(), "\n")
	return &Finding{
		Subtest: "Conform", Rule: fullRule(s.err), Message: message, Checks: c.pools - 1, Length: len(s.best),
		Script: s.err.Error() + "\n\n" + s.report,
	}
}

func (s *conformShrinker) keep(m *fullMachine, err error) {
	s.err, s.report, s.best = err, m.report(), s.best[:0]
	for _, line := range m.script.lines {
		if line.op.Kind != model.OpNone {
			s.best = append(s.best, line.plain())
		}
	}
}

// try runs a machine, and keeps what it did if that breaks one of the same rules.
func (s *conformShrinker) try(leader fullLeader) bool {
	if s.tries++; s.tries > conformTries {
		return false
	}
	m := &fullMachine{target: s.c.target, cfg: s.c.graph.Config(), guide: leader}
	err := s.c.target.judge(s.t, m)
	if err == nil || !slices.ContainsFunc(strings.Fields(fullRule(err)), func(rule string) bool {
		return slices.Contains(s.rules, rule)
	}) {
		return false
	}
	s.keep(m, err)
	return true
}

// shorten takes the shortest way to one of the last states of the walk, and goes on from there.
func (s *conformShrinker) shorten() {
	p, did := s.c.plan, s.c.did
	p.shorten()
	for i := len(did) - 1; i >= 0; i-- {
		if p.come[did[i].state].depth < 0 {
			continue
		}
		var steps []conformStep
		for _, pair := range p.wayTo(did[i].state) {
			steps = append(steps, conformStep{state: p.stateOf(int(pair)), pair: int(pair)})
		}
		if s.try(&conformTrail{s.c, append(steps, did[i:]...)}) {
			return
		}
	}
}

// shrink leaves out ever smaller parts, then any two operations, such as an acquire and
// its release, and varies as little as possible.
func (s *conformShrinker) shrink() {
	for part := len(s.best) / 2; part > 0; {
		shorter := false
		for at := len(s.best) - part; at >= 0; at-- {
			shorter = at+part <= len(s.best) && s.without(at, at+part) || shorter
		}
		if part > 1 || !shorter {
			part /= 2
		}
	}
	for i := 0; i < len(s.best); i++ {
		for j := i + 1; j < len(s.best); j++ {
			plays := slices.Delete(slices.Clone(s.best), j, j+1)
			if s.try(&conformScript{slices.Delete(plays, i, i+1)}) {
				i, j = 0, 0
			}
		}
	}
	for i := 0; i < len(s.best); i++ {
		if s.best[i].variant > 0 {
			plays := slices.Clone(s.best)
			plays[i].variant = 0
			s.try(&conformScript{plays})
		}
	}
}

// without leaves a part out. If it is one that began a worker, the later ones get its number.
func (s *conformShrinker) without(from, end int) bool {
	for fewer := range model.Worker(2) {
		plays := slices.Delete(slices.Clone(s.best), from, end)
		for i := from; i < len(plays); i++ {
			plays[i].op.Worker = max(plays[i].op.Worker, fewer) - fewer
		}
		if s.try(&conformScript{plays}) {
			return true
		}
	}
	return false
}
