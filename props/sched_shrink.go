package props

import (
	"flag"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/sched"
)

// schedShrinker makes a finding small: fewest lines first, then fewest preemptions, then
// the simplest configuration. A smaller program needs another schedule, so each is tried
// under several.
type schedShrinker struct {
	tt     *testing.T
	target *PoolTarget
	best   *schedFound
	rng    *rand.Rand
	until  time.Time
}

// How many schedules a smaller program is tried under.
const (
	schedDrawnTries  = 60
	schedSearchTries = 400  // with one preemption at most
	schedFinalTries  = 4000 // with the fewest preemptions that do
)

// shrinkSchedule returns the smallest finding that it comes to.
func (t *PoolTarget) shrinkSchedule(tt *testing.T, f *schedFound) *schedFound {
	tt.Helper()
	limit := 20 * time.Second
	if fl := flag.Lookup("rapid.shrinktime"); fl != nil {
		if d, err := time.ParseDuration(fl.Value.String()); err == nil {
			limit = d
		}
	}
	if deadline, ok := tt.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	s := &schedShrinker{tt: tt, target: t, best: f, rng: rand.New(rand.NewPCG(1, 1)), until: time.Now().Add(limit)}
	for changed := true; changed && !s.spent(); {
		changed = s.drop()
		changed = s.simplify() || changed
		changed = s.plainConfig() || changed
	}
	s.fewerPreemptions()
	return s.best
}

func (s *schedShrinker) spent() bool { return time.Now().After(s.until) }

// run runs a program once and keeps what it finds.
func (s *schedShrinker) run(p *schedProgram, strategy sched.Strategy) bool {
	f := s.target.schedTest(s.tt, p, sched.Options{Strategy: strategy})
	if f.err == nil || fullRule(f.err) == "unknown" {
		return false
	}
	s.best = f
	return true
}

// try replaces the best finding by one of a smaller program, if there is one.
func (s *schedShrinker) try(p *schedProgram) bool {
	if s.spent() {
		return false
	}
	if s.run(p, sched.NewReplay(s.best.script.schedule)) || s.run(p, sched.NewReplay(nil)) {
		return true
	}
	for range schedDrawnTries {
		if s.run(p, sched.NewDrawn(func(_ string, n int) int { return s.rng.IntN(n) })) {
			return true
		}
	}
	return s.search(p, 1, schedSearchTries)
}

// search tries the schedules with up to that many preemptions.
func (s *schedShrinker) search(p *schedProgram, preemptions, tries int) bool {
	e := sched.NewExhaustive(preemptions)
	for range tries {
		if !e.Next() || s.spent() {
			return false
		}
		if s.run(p, e) {
			return true
		}
	}
	return false
}

// drop leaves out lines, many at a time first.
func (s *schedShrinker) drop() (changed bool) {
	for client := range s.best.script.program.clients {
		for size := len(s.best.script.program.clients[client]); size > 0; size /= 2 {
			for at := 0; at+size <= len(s.best.script.program.clients[client]); {
				p := s.best.script.program.clone()
				p.clients[client] = slices.Delete(p.clients[client], at, at+size)
				if s.try(p) {
					changed = true
				} else {
					at++
				}
			}
		}
	}
	for at := 0; at < len(s.best.script.program.hooks); {
		p := s.best.script.program.clone()
		p.hooks = slices.Delete(p.hooks, at, at+1)
		if s.try(p) {
			changed = true
		} else {
			at++
		}
	}
	return changed
}

// simplify tries simpler forms of each line.
func (s *schedShrinker) simplify() (changed bool) {
	if s.best.script.program.observed {
		p := s.best.script.program.clone()
		p.observed = false
		changed = s.try(p)
	}
	for client := range s.best.script.program.clients {
		for at := range s.best.script.program.clients[client] {
			for _, simpler := range s.best.script.program.clients[client][at].simpler() {
				p := s.best.script.program.clone()
				p.clients[client][at] = simpler
				if s.try(p) {
					changed = true
					break
				}
			}
		}
	}
	for at := range s.best.script.program.hooks {
		h := s.best.script.program.hooks[at]
		if h.how > fullError {
			p := s.best.script.program.clone()
			p.hooks[at].how = fullError
			changed = s.try(p) || changed
		}
	}
	return changed
}

// simpler lists simpler forms of an operation, the simplest first.
func (o schedOp) simpler() (out []schedOp) {
	add := func(change func(*schedOp)) {
		n := o
		change(&n)
		if n != o {
			out = append(out, n)
		}
	}
	switch o.verb {
	case schedDiscard, schedUnusable:
		add(func(n *schedOp) { n.verb = schedRelease })
	case schedTry, schedDo, schedDoError, schedDoPanic, schedDoGoexit:
		add(func(n *schedOp) { n.verb = schedAcquire })
	case schedShutdown:
		add(func(n *schedOp) { *n = schedOp{verb: schedClose} })
	case schedPause:
		if o.n > 1 {
			add(func(n *schedOp) { n.n = 1 })
		}
	}
	if o.verb != schedEndSession {
		add(func(n *schedOp) { n.session = 0 })
	}
	add(func(n *schedOp) { n.ends = schedEndsNever })
	return out
}

// plainConfig tries simpler settings, one after the other.
func (s *schedShrinker) plainConfig() (changed bool) {
	fields := reflect.TypeFor[model.Config]()
	for i := range fields.NumField() {
		if name := fields.Field(i).Name; !fields.Field(i).IsExported() || name == "Offer" || name == "Clients" || name == "Sessions" || name == "Affinity" {
			continue
		}
		cfg := *s.best.script.program.cfg
		v := reflect.ValueOf(&cfg).Elem().Field(i)
		if v.IsZero() {
			continue
		}
		v.SetZero()
		switch fields.Field(i).Name {
		case "MaxSize":
			cfg.MaxSize = max(1, cfg.MinSize)
		case "BackoffMin":
			cfg.BackoffMin = 1
		}
		if fullConfigText(&cfg) == fullConfigText(s.best.script.program.cfg) || !schedSound(&cfg) {
			continue
		}
		p := s.best.script.program.clone()
		p.cfg = &cfg
		changed = s.try(p) || changed
	}
	return changed
}

// schedSound tells whether a pool can be set up like that.
func schedSound(cfg *model.Config) bool {
	limited := cfg.MaxLifetime > 0 || cfg.MaxLeases > 0
	return cfg.Validate() == nil && !(limited && cfg.Affinity == model.Strict && cfg.SessionTTL == 0) && cfg.HasCheck == (cfg.HealthCheckPeriod > 0)
}

// fewerPreemptions looks for a schedule of the best program with the fewest preemptions,
// and then for the simplest such schedule.
func (s *schedShrinker) fewerPreemptions() {
	program := s.best.script.program
	for n := range s.best.result.Preemptions {
		if s.search(program, n, schedFinalTries) {
			break
		}
	}
	for s.simplerSchedule() {
	}
	last := s.target.schedTest(s.tt, program, sched.Options{Strategy: sched.NewReplay(s.best.script.schedule), Positions: true})
	if last.err != nil { // a run that is not instrumented need not come out the same
		s.best = last
	}
}

// simplerSchedule leaves out a choice, or lowers one, if that finds something under no
// more preemptions.
func (s *schedShrinker) simplerSchedule() bool {
	best := s.best
	for _, at := range slices.Sorted(maps.Keys(best.script.schedule)) {
		for _, choice := range []int{0, 1} {
			if s.spent() {
				return false
			}
			if choice >= best.script.schedule[at] {
				continue
			}
			schedule := maps.Clone(best.script.schedule)
			delete(schedule, at)
			if choice > 0 {
				schedule[at] = choice
			}
			if s.run(best.script.program, sched.NewReplay(schedule)) {
				if s.best.result.Preemptions <= best.result.Preemptions && schedChoices(s.best.script.schedule) < schedChoices(best.script.schedule) {
					return true
				}
				s.best = best
			}
		}
	}
	return false
}

// schedChoices measures how much a schedule chooses.
func schedChoices(schedule sched.Schedule) (n int) {
	for _, choice := range schedule {
		n += 1 + choice
	}
	return n
}
