package props

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails if a goroutine is left, other than those that a run which found
// something leaves behind in its bubble: a broken pool strands its callers.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		for g := range strings.SplitSeq(err.Error(), "Goroutine ") {
			head, _, _ := strings.Cut(g, " with ")
			if strings.Contains(head, " in state ") && !strings.Contains(head, "synctest bubble") {
				fmt.Fprintln(os.Stderr, "left behind: goroutine", g)
				code = 1
			}
		}
	}
	os.Exit(code)
}
