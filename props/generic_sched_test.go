package props

import "testing"

// Every fault that one operation after the other shows is found under a schedule, too, and
// the scripts are as short.
func TestScheduledControls(t *testing.T) {
	for _, c := range controls() {
		t.Run(c.name, func(t *testing.T) {
			f := HuntTarget(t, c.target(), 5000)
			shortest, ok := c.rules[f.Rule]
			if !ok || f.Length > shortest+1 || f.Preemptions > 1 {
				t.Errorf("got %s in %d lines with %d preemptions; want one of these rules in at most one line more: %v\n%s",
					f.Rule, f.Length, f.Preemptions, c.rules, f.Script)
			}
		})
	}
}
