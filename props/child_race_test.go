//go:build race

package props

import (
	"strings"
	"testing"
)

// A data race is a finding with a script, where there is a race detector.
func TestDataRaceIsAFinding(t *testing.T) {
	t.Parallel()
	out, ok := child(t, t.TempDir(), "^TestInChildDeadly$/^race$/^Accounting$", "-rapid.checks=200", "-rapid.nofailfile")
	if ok || !strings.Contains(out, "race breaks race: a data race: ") || !strings.Contains(out, "deadlyPool") || !strings.Contains(out, " reset\n") {
		t.Errorf("got success %v:\n%s", ok, out)
	}
}
