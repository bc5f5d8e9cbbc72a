package props

import (
	"strconv"
	"testing"
)

// HuntTarget runs the subtest Scheduled of Verify on a pool that is expected to be wrong, for
// up to that many checks, and returns what it found, shrunk; t does not fail. It sets rapid's
// flags for the time being: no test may run in parallel.
func HuntTarget(t *testing.T, target Target, checks int) Finding {
	t.Helper()
	if err := target.check(); err != nil {
		t.Fatalf("props: %v", err)
	}
	defer fullSetFlags(map[string]string{"rapid.checks": strconv.Itoa(checks), "rapid.nofailfile": "true"})()
	v := newGenVerifier(t, target)
	found, _, ran, _ := v.searchSchedules(t)
	if found == nil {
		if ran < checks {
			t.Errorf("%s: %d checks were executed, want %d", target.Name, ran, checks)
		}
		return Finding{Checks: ran, Instrumented: v.instrumented}
	}
	if found.unfit {
		t.Fatalf("%s: %v\n%s", target.Name, found.violation, found.stacks)
	}
	found = v.shrinkSchedule(t, found)
	out := Finding{
		Subtest: genScheduledName, Rule: found.violation.Rule, Message: found.violation.Text, Checks: ran,
		Length: len(found.ops), Script: found.script(target.Name), Instrumented: v.instrumented,
	}
	out.Preemptions = found.preemptions
	return out
}
