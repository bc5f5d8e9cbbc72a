package props_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/poolproof/poolproof/pool/pooltest/broken"
	"github.com/poolproof/poolproof/props"
)

// TestSchedules replays every script on the pool and on the second one: those of faults that
// they had, and those of the planted ones, which they do not have. Where the pool is instrumented the schedules
// choose among all its points, else among those of clients and hooks.
func TestSchedules(t *testing.T) {
	files, err := filepath.Glob("../testdata/schedules/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata/schedules: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			props.ReplayScheduled(t, props.PoolTarget{Name: "pool", Open: props.OpenPool}, string(script))
			props.ReplayScheduled(t, props.PoolTarget{Name: "plain", Open: openPlain(broken.None)}, string(script))
		})
	}
}
