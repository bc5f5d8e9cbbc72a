package props

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/poolproof/poolproof/sched"
)

// genSchedShrinker makes a finding of Scheduled small: fewest lines first, then fewest
// preemptions. A smaller program needs another schedule, so each is tried under several.
type genSchedShrinker struct {
	v     *genVerifier
	t     *testing.T
	best  *genFinding
	rng   *rand.Rand
	until time.Time
	left  int // what runs may cost yet; a plain run costs 1
}

// How much is tried: in all, under how many schedules a smaller program is, and for the
// fewest preemptions.
const (
	genSchedRuns   = 30_000
	genSchedDrawn  = 60
	genSchedSearch = 300 // with one preemption at most
	genSchedFinal  = 5000
)

// shrinkSchedule returns the smallest finding that it comes to.
func (v *genVerifier) shrinkSchedule(t *testing.T, f *genFinding) *genFinding {
	t.Helper()
	defer v.watch()()
	s := &genSchedShrinker{v: v, t: t, best: f, rng: rand.New(rand.NewPCG(1, 1)), until: genShrinkUntil(t, false), left: genSchedRuns}
	for try := 0; try < genSure && s.best.result == nil; try++ { // it was found elsewhere
		if again := s.replayed(f.ops, f.schedule); again != nil {
			again.checks = f.checks
			s.best = again
		}
	}
	if s.best.result == nil { // it hangs, and each try would take as long, or it does not show again
		return f
	}
	genSteps(func() []genOp { return s.best.ops }, s.try, s.spent)
	s.left = genSchedRuns
	s.fewer()
	s.reword()
	s.calm()
	s.weigh()
	s.best.checks = f.checks
	return s.best
}

func (s *genSchedShrinker) spent() bool {
	return s.left <= 0 || !s.until.IsZero() && time.Now().After(s.until)
}

// run runs a program once and returns what it finds if that breaks the same rule.
func (s *genSchedShrinker) run(ops []genOp, o sched.Options) *genFinding {
	f, _, result := s.v.schedule(s.t, replayOps(ops), o)
	s.left -= genSchedCost(result)
	if f == nil || result == nil || f.violation.Rule != s.best.violation.Rule {
		return nil
	}
	return f
}

// genSchedCost is what a run costs: one that hangs or never ends as much as elsewhere, and of
// the others one that takes longer, more.
func genSchedCost(r *sched.Result) int {
	if r == nil || r.Finding != nil && r.Finding.Kind == sched.Endless {
		return genHung
	}
	const plain = 100 // steps
	return max(1, r.Steps/plain)
}

// under is run with a strategy that has its say until the run winds down.
func (s *genSchedShrinker) under(ops []genOp, strategy sched.Strategy) *genFinding {
	return s.run(ops, s.v.schedOptions(&genCalm{inner: strategy}))
}

// replayed is run with a schedule.
func (s *genSchedShrinker) replayed(ops []genOp, schedule sched.Schedule) *genFinding {
	return s.run(ops, s.v.schedOptions(sched.NewReplay(schedule)))
}

// try replaces the best finding by one of a smaller program, if there is one.
func (s *genSchedShrinker) try(ops []genOp) bool {
	if s.spent() {
		return false
	}
	f := s.replayed(ops, s.best.schedule)
	if f == nil {
		f = s.replayed(ops, nil)
	}
	for i := 0; i < genSchedDrawn && f == nil; i++ {
		f = s.under(ops, sched.NewDrawn(func(_ string, n int) int { return s.rng.IntN(n) }))
	}
	if f == nil {
		f = s.search(ops, 1, genSchedSearch)
	}
	if f != nil {
		s.best = f
		s.v.better(f)
	}
	return f != nil
}

// search tries the schedules with up to that many preemptions.
func (s *genSchedShrinker) search(ops []genOp, preemptions, tries int) *genFinding {
	e := sched.NewExhaustive(preemptions)
	for range tries {
		if s.spent() || !e.Next() {
			return nil
		}
		if f := s.under(ops, e); f != nil {
			return f
		}
	}
	return nil
}

// fewer looks for a schedule of the best program with the fewest preemptions, and then for
// the simplest such schedule.
func (s *genSchedShrinker) fewer() {
	for n := range s.best.result.Preemptions {
		if f := s.search(s.best.ops, n, genSchedFinal); f != nil {
			s.best = f
			break
		}
	}
	for s.simplerSchedule() {
	}
}

// reword looks, if the best finding takes several preemptions, for one that takes fewer: a
// discard says in one line what a release says together with whatever made its resource
// unwanted, and leaves fewer steps to come between.
func (s *genSchedShrinker) reword() {
	if s.best.result.Preemptions < 2 {
		return
	}
	first := s.best
	for at, o := range first.ops {
		for without := range first.ops {
			if o.verb != genVRelease || without == at {
				continue
			}
			ops := slices.Clone(first.ops)
			ops[at].verb = genVDiscard
			if f := s.search(genWithout(ops, without, without+1), 1, genSchedSearch); f != nil {
				s.best = f
				s.fewer()
				return
			}
		}
	}
}

// simplerSchedule leaves out a choice, or lowers one, if that does not take more preemptions.
func (s *genSchedShrinker) simplerSchedule() bool {
	size := func(f *genFinding) int {
		return f.result.Preemptions*1000 + schedChoices(f.schedule)
	}
	for _, at := range slices.Sorted(maps.Keys(s.best.schedule)) {
		for choice := range s.best.schedule[at] {
			if s.spent() {
				return false
			}
			schedule := maps.Clone(s.best.schedule)
			delete(schedule, at)
			if choice > 0 {
				schedule[at] = choice
			}
			if f := s.replayed(s.best.ops, schedule); f != nil && cmp.Less(size(f), size(s.best)) {
				s.best = f
				return true
			}
		}
	}
	return false
}

// calm looks, if the best finding takes no schedule, for a shorter one among all scripts that
// use the same words, as for a finding of one operation after the other.
func (s *genSchedShrinker) calm() {
	if len(s.best.schedule) > 0 {
		return
	}
	run := func(play genPlay) (*genFinding, int) {
		f, _, result := s.v.schedule(s.t, play, s.v.schedOptions(sched.NewReplay(nil)))
		if f != nil && result == nil { // it hangs
			f.unfit = true
		}
		return f, genSchedCost(result)
	}
	shorter := &genShrinker{run: run, hasty: run, until: s.until, best: s.best, better: s.v.better}
	s.best = shorter.shrink()
}

// weigh learns in how many replays the finding is seen again, and where its steps are.
func (s *genSchedShrinker) weigh() {
	seen, best := 0, s.best
	for range genSure {
		o := s.v.schedOptions(sched.NewReplay(best.schedule))
		o.Positions = true
		if f := s.run(best.ops, o); f != nil {
			seen++
			s.best = f
		}
	}
	s.best.seen, s.best.tried = seen, genSure
}
