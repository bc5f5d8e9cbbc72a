package props

import (
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/sched"
)

// HuntScheduled runs the subtest Scheduled of VerifyPool on a pool that is expected to be
// wrong, for up to that many checks, and returns what it found, shrunk for up to a minute; t
// does not fail. It sets rapid's flags for the time being: no test may run in parallel.
func HuntScheduled(t *testing.T, target PoolTarget, checks int) Finding {
	t.Helper()
	defer fullSetFlags(map[string]string{
		"rapid.checks": strconv.Itoa(checks), "rapid.nofailfile": "true", "rapid.shrinktime": "60s",
	})()
	found, traffic, _ := target.searchSchedules(t, t)
	if found == nil {
		if traffic.checks < checks {
			t.Errorf("%s: %d checks were executed, want %d", target.Name, traffic.checks, checks)
		}
		return Finding{Checks: traffic.checks}
	}
	return target.shrinkSchedule(t, found).finding(traffic.checks)
}

// Instrumented tells whether the pool that the target opens has scheduling points of its
// own, as 'poolproof test -instrument' gives it.
func Instrumented(t *testing.T, target PoolTarget) bool {
	t.Helper()
	return target.abilities(t).points
}

// Exhausted is what an exhaustive search through the schedules of one program came to.
type Exhausted struct {
	Schedules int
	Complete  bool // every schedule within the bound was tried
	Steps     int  // of all of them
	Finding   Finding
}

// ExhaustScheduled runs the program of a script under every schedule with up to that many
// preemptions, until one breaks a promise or most schedules were tried, 0 being no limit.
// The schedule of the script is not used. t does not fail.
func ExhaustScheduled(t *testing.T, target PoolTarget, script string, preemptions, most int) Exhausted {
	t.Helper()
	s, err := parseSchedScript(script)
	if err != nil {
		t.Fatalf("props: script: %v", err)
	}
	s.program.cfg = target.complete(s.program.cfg)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	e := sched.NewExhaustive(preemptions)
	var out Exhausted
	for (most == 0 || out.Schedules < most) && e.Next() {
		f := target.schedTest(t, s.program, sched.Options{Strategy: e})
		out.Schedules++
		out.Steps += f.result.Steps
		if f.err != nil {
			out.Finding = f.finding(out.Schedules)
			return out
		}
	}
	out.Complete = e.Complete()
	return out
}

// finding describes what was found after that many checks.
func (f *schedFound) finding(checks int) Finding {
	message, _, _ := strings.Cut(f.err.Error(), "\n")
	return Finding{
		Subtest: schedSubtest, Rule: fullRule(f.err), Message: message, Checks: checks,
		Length: f.script.program.length(), Preemptions: f.result.Preemptions, Script: f.script.String(),
	}
}
