package pooltest

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/internal/inventory"
)

// CheckLeaks fails the test, at its end, for everything of the process that is there
// then and was not when CheckLeaks was called: goroutines (except in a bubble, which
// looks after its own), child processes, reaped or not, and open descriptors. It waits
// up to about a second for them to go. It judges after every clean-up that was
// registered later. It must not be used in tests that run in parallel with others.
func CheckLeaks(t testing.TB) {
	t.Helper()
	current := goleak.IgnoreCurrent()
	before := inventory.Take()
	t.Cleanup(func() {
		t.Helper()
		if !inventory.InBubble() {
			// Goroutines first: they hold the rest.
			if err := goleak.Find(current); err != nil {
				t.Errorf("leak: goroutines: %v", err)
			}
		}
		for _, leak := range inventory.AwaitNothingSince(before) {
			t.Errorf("leak: %s", leak)
		}
	})
}
