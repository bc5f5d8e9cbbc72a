package props

import (
	"flag"
	"math"
	"testing"
	"time"
)

// shrink makes a finding short.
func (v *genVerifier) shrink(t *testing.T, f *genFinding) *genFinding {
	t.Helper()
	until := genShrinkUntil(t, v.target.RealTime || f.deadly || f.racing)
	if v.far != nil {
		return v.far.shrink(t, f, until)
	}
	return v.shrinkHere(t, f, until)
}

// shrinkHere makes a finding short in this process.
func (v *genVerifier) shrinkHere(t *testing.T, f *genFinding, until time.Time) *genFinding {
	t.Helper()
	if f.scheduled {
		return v.shrinkSchedule(t, f)
	}
	if f.racing {
		return v.shrinkRace(f, until)
	}
	s := &genShrinker{best: f, greedy: v.target.RealTime, slow: v.target.RealTime, until: until, better: v.better}
	s.run = func(play genPlay) (*genFinding, int) {
		f, traffic := v.run(t, play)
		return f, traffic.cost()
	}
	s.hasty = s.run
	if hasty := v.hastier(true); hasty != v {
		s.hasty = func(play genPlay) (*genFinding, int) {
			f, traffic := hasty.run(t, play)
			return f, traffic.cost()
		}
	}
	return s.shrink()
}

// shrinkRace makes a finding of Race short in this process.
func (v *genVerifier) shrinkRace(f *genFinding, until time.Time) *genFinding {
	s := &genShrinker{best: f, greedy: true, slow: true, until: until, better: v.better}
	s.script = func(ops []genOp, hasty bool) (*genFinding, int) {
		script := s.best.source(v.target.Name)
		script.ops = ops
		f, traffic := v.hastier(hasty).replayRace(&script)
		return f, traffic.cost()
	}
	return s.shrink()
}

// genShrinkUntil returns when shrinking must stop: half-way to the test's deadline, and
// after the time that rapid was told. Its default bounds shrinking in real time only, for
// what comes out of a bubble is not to depend on how fast the machine is.
func genShrinkUntil(t *testing.T, realTime bool) (until time.Time) {
	limit := time.Duration(math.MaxInt64)
	if fl := flag.Lookup("rapid.shrinktime"); realTime || genGiven(fl.Name, "RAPID_SHRINKTIME") {
		if d, err := time.ParseDuration(fl.Value.String()); err == nil {
			limit = d
		}
	}
	if deadline, ok := t.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	if limit < math.MaxInt64 {
		until = time.Now().Add(limit)
	}
	return until
}
