package props

import (
	"slices"
	"time"
)

// genShrinker makes a failing script short: it drops lines and simplifies the others for
// as long as the same rule is broken. Lines that cannot be done any more are skipped by the
// run itself.
type genShrinker struct {
	run   func(ops []genOp) *genFinding
	hasty func(ops []genOp) *genFinding // a run that is quicker to take a debt for a finding
	best  *genFinding
	again int // how often a script is tried before it is believed to be harmless
	left  int // runs
	until time.Time
}

// genSure is how often a finding is replayed to learn how certain it is, and genRare how
// often if it has not been seen again by then.
const (
	genSure = 5
	genRare = 100
)

// shrink returns the shortest finding that it comes to.
func (s *genShrinker) shrink() *genFinding {
	first := s.best
	if s.sure(); s.best.seen == 0 {
		return s.best
	}
	s.again = 1
	if s.best.seen < s.best.tried {
		s.again = min(10, 2*s.best.tried/s.best.seen)
	}
	for changed := true; changed && !s.spent(); {
		changed = s.drop()
		changed = s.rename() || changed
		changed = s.simplify() || changed
	}
	if s.sure(); s.best.seen == 0 { // too hasty
		return first
	}
	return s.best
}

// sure learns how certain the best finding is: at least one replay, and more if there is time.
func (s *genShrinker) sure() {
	s.best.seen, s.best.tried = 0, 0
	enough := func() bool { return s.best.tried >= genSure && s.best.seen > 0 || s.best.tried >= genRare }
	for s.best.tried == 0 || !enough() && !s.spent() {
		s.best.tried++
		if f := s.run(s.best.ops); f != nil && f.violation.Rule == s.best.violation.Rule && !f.unfit {
			s.best.seen++
		}
	}
}

func (s *genShrinker) spent() bool { return s.left <= 0 || time.Now().After(s.until) }

// try replaces the best finding by that of ops, if they break the same rule.
func (s *genShrinker) try(ops []genOp) bool {
	for range s.again {
		if s.spent() {
			return false
		}
		s.left--
		f := s.hasty(ops)
		if f == nil || f.unfit || f.violation.Rule != s.best.violation.Rule || len(f.ops) > len(s.best.ops) {
			continue
		}
		s.best = f
		return true
	}
	return false
}

// drop removes lines, many at a time first.
func (s *genShrinker) drop() bool {
	changed := false
	for size := (len(s.best.ops) + 1) / 2; size > 0; size /= 2 {
		for i := 0; i+size <= len(s.best.ops); {
			if s.try(genWithout(s.best.ops, i, i+size)) {
				changed = true
				continue
			}
			i++
		}
	}
	return changed
}

// rename numbers clients and sessions in the order of their appearance.
func (s *genShrinker) rename() bool {
	clients, sessions := map[int]int{0: 0}, map[string]string{"": ""}
	ops := slices.Clone(s.best.ops)
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
	return !slices.Equal(ops, s.best.ops) && s.try(ops)
}

// simplify tries simpler forms of each line.
func (s *genShrinker) simplify() bool {
	changed := false
	for i := 0; i < len(s.best.ops); i++ {
		for _, simpler := range s.best.ops[i].simpler() {
			if i >= len(s.best.ops) {
				break
			}
			ops := slices.Clone(s.best.ops)
			ops[i] = simpler
			if s.try(ops) {
				changed = true
				break
			}
		}
	}
	return changed
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
	case genVWait:
		for _, d := range []time.Duration{time.Millisecond, time.Second, time.Minute, time.Hour} {
			if d < o.wait {
				add(func(n *genOp) { n.wait = d })
			}
		}
	}
	return out
}
