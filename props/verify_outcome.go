package props

import (
	"testing"
	"time"
)

// genOutcome is what a subtest of Verify came to.
type genOutcome struct {
	v          *genVerifier
	subtest    string
	found      *genFinding
	total      genTraffic
	ran, asked int // checks
	began      time.Time
	took       time.Duration // without shrinking
	broken     *Broken
}

// outcome returns that of a subtest which begins now.
func (v *genVerifier) outcome(subtest string) *genOutcome {
	return &genOutcome{v: v, subtest: subtest, began: time.Now()}
}

// judge fails the test for what was found, which it makes short, or for too little done. What
// the log says of it ends with more.
func (o *genOutcome) judge(t *testing.T, more string) {
	t.Helper()
	v := o.v
	if o.found != nil {
		f := v.shrink(t, o.found)
		o.broken = &Broken{
			Rule: f.violation.Rule, Text: f.violation.Text, Script: f.script(v.target.Name), Stacks: f.stacks,
			Lines: len(f.ops), Seen: f.seen, Tried: f.tried, Checks: o.ran, After: o.took,
		}
		v.fail(t, f)
		return
	}
	t.Logf("%s: %v in %v%s", v.target.Name, o.total, o.took.Round(time.Millisecond), more)
	if o.total.runs == 0 {
		t.Errorf("props: %s: nothing was checked; ask for one check at least (-rapid.checks is %d), or give the test more time (-timeout)",
			v.target.Name, o.asked)
		return
	}
	if o.ran < o.asked {
		t.Errorf("props: only %d of %d checks ran; give the test more time (-timeout) or ask for fewer (-rapid.checks)", o.ran, o.asked)
	}
	if o.subtest != raceName {
		v.enough(t, o.total, o.subtest == genScheduledName)
	} else if v.raceIdle(&o.total) {
		v.idle(t, "", &o.total)
	}
}

// report tells the target's reporter, if it has one.
func (o *genOutcome) report(t *testing.T) {
	t.Helper()
	v := o.v
	if v.target.Report == nil {
		return
	}
	v.target.Report.Result(Result{
		Machine: "generic", Subtest: o.subtest, Asked: o.asked, Executed: o.ran, Operations: o.total.calls,
		Failed: t.Failed(), Elapsed: time.Since(o.began), RealTime: v.target.RealTime, Mixed: v.mixed, Known: o.total.known,
		Unchecked: v.unchecked(), Broken: o.broken, Instrumented: v.instrumented,
	})
}
