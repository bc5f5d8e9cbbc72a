package props

import (
	"slices"
	"time"

	"github.com/poolproof/poolproof/model"
)

// genShrinker makes a failing script short: it drops lines and simplifies the others for
// as long as the same rule is broken, and then looks for a shorter one among all scripts
// that use the same words. Lines that cannot be done any more are skipped by the run itself.
//
// Scripts that break another rule are passed by, though one fault may well break several:
// two faults may be there, too, and the one that is easier to show would hide the other.
//
// How far it gets depends on the number of runs, not on how fast the machine is.
type genShrinker struct {
	run    func(genPlay) (*genFinding, int) // does a run and returns what it cost, too
	hasty  func(genPlay) (*genFinding, int) // a run that is quicker to take a debt for a finding
	until  time.Time                        // when to stop in any case; zero: never
	greedy bool                             // small steps only: runs take too long for a search
	slow   bool                             // a run that is not hasty takes very long

	script func(ops []genOp, hasty bool) (*genFinding, int) // replaces run and hasty for scripts; may be nil
	better func(*genFinding)                                // told of each script that takes the best one's place

	best     *genFinding
	certain  bool   // best is seen in every replay, and so must be what takes its place
	again    int    // how often a script is tried before it is believed to be harmless
	left     int    // what runs may cost yet; a plain run costs 1
	searched [3]int // scripts of fewer lines than this have all been tried; by pass of the search
}

// genPlay does what a run is to do.
type genPlay = func(*genRun) *model.PromiseViolation

// genSure is how often a finding is replayed to learn how certain it is, and genRare how
// often if it has not been seen again by then.
const (
	genSure = 5
	genRare = 100
)

// What may be spent: on replays of one finding, on small steps until none is left, and on
// a pass of the search. A run that never ends costs genHung.
const (
	genForReplays = 20000
	genForSteps   = 5000
	genForPass    = 15000
	genHung       = 1000
)

// shrink returns the shortest finding that it comes to.
func (s *genShrinker) shrink() *genFinding {
	first := s.best
	if s.weigh(s.slow, genSure); s.best.seen == 0 {
		return s.best
	}
	s.again, s.certain = 1, s.best.seen == s.best.tried
	if !s.certain {
		s.again = min(10, 2*s.best.tried/s.best.seen)
	}
	s.steps()
	for !s.greedy && s.search() {
		s.steps()
	}
	sure := genSure
	if s.slow {
		sure = 1
	}
	if s.weigh(false, sure); s.best.seen == 0 { // too hasty
		return first
	}
	return s.best
}

// weigh learns how certain the best finding is: at least one replay, and more if there is time.
func (s *genShrinker) weigh(hasty bool, sure int) {
	s.left = genForReplays
	s.best.seen, s.best.tried = 0, 0
	enough := func() bool { return s.best.tried >= sure && s.best.seen > 0 || s.best.tried >= genRare }
	for s.best.tried == 0 || !enough() && !s.spent() {
		s.best.tried++
		if s.same(s.redo(s.best.ops, hasty)) {
			s.best.seen++
		}
	}
}

// steps takes every small step that leads to a simpler script, until there is none.
func (s *genShrinker) steps() {
	s.left = genForSteps
	genSteps(func() []genOp { return s.best.ops }, s.try, s.spent)
}

func (s *genShrinker) spent() bool {
	return s.left <= 0 || !s.until.IsZero() && time.Now().After(s.until)
}

// redo does what a script says.
func (s *genShrinker) redo(ops []genOp, hasty bool) *genFinding {
	switch {
	case s.script != nil:
		f, cost := s.script(ops, hasty)
		s.left -= cost
		return f
	case hasty:
		return s.replay(s.hasty, replayOps(ops))
	}
	return s.replay(s.run, replayOps(ops))
}

// replay does a run and pays for it.
func (s *genShrinker) replay(run func(genPlay) (*genFinding, int), play genPlay) *genFinding {
	f, cost := run(play)
	s.left -= cost
	if f != nil && f.unfit {
		s.left -= genHung
	}
	return f
}

// same reports whether f breaks the same rule as the best finding.
func (s *genShrinker) same(f *genFinding) bool {
	return f != nil && !f.unfit && f.violation.Rule == s.best.violation.Rule
}

// try replaces the best finding by that of ops, if they break the same rule.
func (s *genShrinker) try(ops []genOp) bool {
	for range s.again {
		if s.spent() {
			return false
		}
		if f := s.redo(ops, true); s.same(f) {
			return s.take(f)
		}
	}
	return false
}

// take replaces the best finding by f, unless f is longer or was a matter of luck: it must
// be seen again, and every time if that is true of the best.
func (s *genShrinker) take(f *genFinding) bool {
	if len(f.ops) > len(s.best.ops) {
		return false
	}
	seen, tried := 0, 0
	sure := genSure - 1
	if s.best.racing { // a replay is many runs
		sure = 1
	}
	for tried < sure || seen == 0 && tried < 2*s.again {
		if s.spent() {
			return false
		}
		tried++
		if s.same(s.redo(f.ops, true)) {
			seen++
		} else if s.certain {
			return false
		}
	}
	if seen == 0 {
		return false
	}
	s.best = f
	s.better(f)
	if seen == tried {
		s.certain, s.again = true, 1
	}
	return true
}

// genSteps takes every small step that leads to a simpler script, until there is none or too
// much was spent: try replaces what best returns by its argument, if that shows the same.
func genSteps(best func() []genOp, try func([]genOp) bool, spent func() bool) {
	for changed := true; changed && !spent(); {
		changed = genDrop(best, try)
		renamed := genRenamed(best())
		changed = !slices.Equal(renamed, best()) && try(renamed) || changed
		changed = genSimplify(best, try) || changed
	}
}

// genDrop removes lines, many at a time first.
func genDrop(best func() []genOp, try func([]genOp) bool) (changed bool) {
	for size := (len(best()) + 1) / 2; size > 0; size /= 2 {
		for i := 0; i+size <= len(best()); {
			if try(genWithout(best(), i, i+size)) {
				changed = true
			} else {
				i++
			}
		}
	}
	return changed
}

// genSimplify tries simpler forms of each line.
func genSimplify(best func() []genOp, try func([]genOp) bool) (changed bool) {
	for i := 0; i < len(best()); i++ {
		for _, simpler := range best()[i].simpler() {
			if i >= len(best()) {
				break
			}
			ops := slices.Clone(best())
			ops[i] = simpler
			if try(ops) {
				changed = true
				break
			}
		}
	}
	return changed
}

// genRenamed numbers clients and sessions in the order of their appearance.
func genRenamed(ops []genOp) []genOp {
	clients, sessions := map[int]int{0: 0}, map[string]string{"": ""}
	ops = slices.Clone(ops)
	for i := range ops {
		o := &ops[i]
		if _, ok := clients[o.client]; !ok {
			clients[o.client] = len(clients)
		}
		o.client = clients[o.client]
		if _, ok := sessions[o.session]; !ok {
			sessions[o.session] = genSessions()[min(len(sessions), len(genSessions()))-1]
		}
		o.session = sessions[o.session]
	}
	return ops
}

// simpler lists simpler forms of a line, the simplest first. None is ever the result of
// simplifying another, so that simplifying ends.
func (o genOp) simpler() []genOp {
	var out []genOp
	add := func(change func(*genOp)) {
		n := o
		change(&n)
		if n != o {
			out = append(out, n)
		}
	}
	if o.together {
		add(func(n *genOp) { n.together = false })
	}
	switch o.verb {
	case genVAcquire:
		add(func(n *genOp) { n.session = "" })
		add(func(n *genOp) { n.wait = 0 })
		add(func(n *genOp) { n.done = false })
	case genVTry:
		add(func(n *genOp) { n.verb = genVAcquire })
	case genVEnd, genVDiscard:
		add(func(n *genOp) { n.verb, n.ending = genVRelease, Normal })
	case genVShutdown:
		add(func(n *genOp) { n.verb, n.done = genVClose, false })
	case genVResize:
		if o.max > 1 {
			add(func(n *genOp) { n.max-- })
		}
	case genVChurn:
		add(func(n *genOp) { n.verb, n.max = genVAcquire, 0 })
		if o.max > 1 {
			add(func(n *genOp) { n.max /= 2 })
		}
	case genVOpen:
		add(func(n *genOp) { n.how = genPrompt })
		add(func(n *genOp) { n.gate = 1 })
	case genVNext:
		if o.plan.how != genFail && o.plan.how != genPrompt {
			add(func(n *genOp) { n.plan = genPlan{how: genFail} })
		}
		if o.plan.how == genGateCtx || o.plan.how == genSlow {
			add(func(n *genOp) { n.plan = genPlan{how: genGated} })
		}
		add(func(n *genOp) { n.hook = genCreate })
	case genVWait:
		for _, d := range []time.Duration{time.Millisecond, time.Second, time.Minute, time.Hour} {
			if d < o.wait {
				add(func(n *genOp) { n.wait = d })
			}
		}
	}
	return out
}
