//go:build race

package props

import (
	"strings"
	"testing"
)

// A data race is a finding with a script, where there is a race detector.
func TestDataRaceIsAFinding(t *testing.T) {
	t.Parallel()
	for _, subtest := range []string{"Accounting", genScheduledName, raceName} {
		out, ok := child(t, t.TempDir(), "^TestInChildDeadly$/^race$/^"+subtest+"$", "-rapid.checks=300", "-rapid.nofailfile", "-rapid.shrinktime=10s")
		if ok || !strings.Contains(out, "race breaks race: a data race: ") || !strings.Contains(out, "deadlyPool") || !strings.Contains(out, " reset\n") {
			t.Errorf("%s: got success %v:\n%s", subtest, ok, out)
		}
	}
}
